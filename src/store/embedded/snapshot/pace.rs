//! How fast a walk goes: as fast as it can, but not at the cost of those who wait for an answer.
//!
//! A walk that never pauses, and a caller on the same machine who takes all it gives, keep two
//! processors busy. Where there are no more, whoever wakes to answer a small call waits for as long as
//! the system lets a thread run: some milliseconds, which is ten times what the call takes. A lower
//! priority does not help, since the system lets that thread run for as long. So a walk that has to
//! wait for a processor while answers are given rests after each slice: then neither it nor its caller
//! ever runs for long.

use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::telemetry;

/// How long a walk is watched before it is judged.
const WINDOW: Duration = Duration::from_millis(10);

/// Who has waited for more than one part in so many of the time would be in the way of others.
const DELAYED_SHARE: u32 = 5;

/// So many answers a second are traffic; less is probes and scrapes.
const ANSWERS_PER_SECOND: u64 = 50;

/// A walk that rests does so for this long before it is watched again: the times at full speed are
/// then one in a hundred.
const RESTS_FOR: Duration = Duration::from_secs(1);

/// A rest is so many times as long as the slice before it took of a processor,
const REST: u32 = 4;
/// and at most this.
const REST_MAX: Duration = Duration::from_millis(5);

/// The pace of one walk.
pub(super) struct Pace {
    last: Moment,
    /// Since the window began: what passed, but for waiting for the caller, and what of it was work.
    passed: Duration,
    worked: Duration,
    /// How many answers there had been when they were last counted, and when that was.
    answers: u64,
    counted: Instant,
    rests_until: Option<Instant>,
}

/// Three clocks of a thread.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: Instant,
    /// How long it has had a processor.
    worked: Duration,
    /// How long it has waited for its caller.
    waited: Duration,
}

impl Moment {
    fn of_this_thread(waited: Duration) -> Moment {
        let worked = clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default();
        Moment { now: Instant::now(), worked, waited }
    }
}

impl Pace {
    /// The pace of a walk that begins on this thread.
    pub(super) fn new() -> Pace {
        Pace::since(Moment::of_this_thread(Duration::ZERO), telemetry::answers())
    }

    fn since(last: Moment, answers: u64) -> Pace {
        let (passed, worked) = (Duration::ZERO, Duration::ZERO);
        Pace { last, passed, worked, answers, counted: last.now, rests_until: None }
    }

    /// After a slice: lets others go first. All in all the walk has waited for its caller for `waited`.
    pub(super) fn rest(&mut self, waited: Duration) {
        match self.judge(Moment::of_this_thread(waited), telemetry::answers) {
            Some(rest) => sleep(rest),
            None => yield_now(),
        }
        self.last = Moment::of_this_thread(waited);
    }

    /// How long to rest after the slice that ended at `moment`.
    fn judge(&mut self, moment: Moment, answers: impl FnOnce() -> u64) -> Option<Duration> {
        let Moment { now, worked, waited } = moment;
        let worked = worked.saturating_sub(self.last.worked);
        let rest = (worked * REST).min(REST_MAX);
        if self.rests_until.is_some_and(|end| now < end) {
            return Some(rest);
        }
        let waited = waited.saturating_sub(self.last.waited);
        self.passed += now.saturating_duration_since(self.last.now).saturating_sub(waited);
        self.worked += worked;
        if self.passed < WINDOW {
            return None;
        }
        let is_delayed = self.passed.saturating_sub(self.worked) > self.passed / DELAYED_SHARE;
        (self.passed, self.worked) = (Duration::ZERO, Duration::ZERO);
        let is_in_the_way = self.is_traffic(now, answers()) && is_delayed;
        self.rests_until = is_in_the_way.then(|| now + RESTS_FOR);
        is_in_the_way.then_some(rest)
    }

    /// Whether there were answers enough since they were last counted.
    fn is_traffic(&mut self, now: Instant, answers: u64) -> bool {
        let millis = now.saturating_duration_since(self.counted).as_millis();
        let given = answers.saturating_sub(self.answers);
        (self.answers, self.counted) = (answers, now);
        u128::from(given) * 1_000 > millis * u128::from(ANSWERS_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(1);

    /// A walk in slices of a millisecond on a clock of its own.
    struct Walk {
        pace: Pace,
        moment: Moment,
        answers: u64,
    }

    impl Walk {
        fn new() -> Walk {
            let (worked, waited) = (Duration::ZERO, Duration::ZERO);
            let moment = Moment { now: Instant::now(), worked, waited };
            Walk { pace: Pace::since(moment, 7), moment, answers: 7 }
        }

        /// A slice that had to wait so long for a processor and for its caller, and meanwhile so many
        /// answers.
        fn slice(&mut self, delayed: Duration, waited: Duration, answers: u64) -> Option<Duration> {
            self.moment.now += SLICE + delayed + waited;
            self.moment.worked += SLICE;
            self.moment.waited += waited;
            self.answers += answers;
            let rest = self.pace.judge(self.moment, || self.answers);
            self.moment.now += rest.unwrap_or_default();
            self.pace.last = self.moment;
            rest
        }

        fn rests(&mut self, delayed: Duration, waited: Duration, answers: u64) -> bool {
            (0..20).any(|_| self.slice(delayed, waited, answers).is_some())
        }
    }

    #[test]
    fn a_walk_rests_where_it_is_delayed_and_others_are_answered() {
        let (none, long) = (Duration::ZERO, Duration::from_millis(1));
        assert!(Walk::new().rests(long, none, 1));
        assert!(Walk::new().rests(long, long, 1));
        for (delayed, waited, answers) in [(long, none, 0), (none, none, 9), (none, long * 9, 9)] {
            assert!(
                !Walk::new().rests(delayed, waited, answers),
                "{delayed:?} {waited:?} {answers}"
            );
        }
    }

    #[test]
    fn a_rest_is_longer_than_the_slice_and_ends_where_it_is_not_needed() {
        let mut walk = Walk::new();
        assert!(walk.rests(SLICE, Duration::ZERO, 1));
        let begun = walk.moment.now;
        while let Some(rest) = walk.slice(Duration::ZERO, Duration::ZERO, 1) {
            assert_eq!(rest, SLICE * REST);
        }
        let rested = walk.moment.now - begun;
        assert!(rested >= RESTS_FOR - REST_MAX && rested <= RESTS_FOR + REST_MAX, "{rested:?}");
        assert!(!walk.rests(Duration::ZERO, Duration::ZERO, 1), "there are processors enough");
    }

    #[test]
    fn answers_are_traffic_only_while_they_are_given() {
        let mut walk = Walk::new();
        assert!(!walk.rests(Duration::ZERO, Duration::ZERO, 9));
        // What was given in the windows before does not count.
        assert!((0..30).all(|_| walk.slice(SLICE, Duration::ZERO, 0).is_none()));
    }

    #[test]
    fn who_rests_sleeps() {
        let mut pace = Pace::new();
        pace.rests_until = Some(Instant::now() + RESTS_FOR * 60);
        let worked = || Moment::of_this_thread(Duration::ZERO).worked;
        let end = worked() + SLICE;
        while worked() < end {}
        let begun = Instant::now();
        pace.rest(Duration::ZERO);
        assert!(begun.elapsed() >= SLICE * REST, "{:?}", begun.elapsed());
    }
}

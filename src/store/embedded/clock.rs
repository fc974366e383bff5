//! The one clock: wall time that never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::UnixMillis;

/// A source of moments for everything above and below the store.
///
/// Between two calls of [`Clock::anchor`] it runs on the monotonic clock, so a leap of the wall
/// clock moves nothing at once. A wall clock set back never un-expires an entry: the clock stands
/// still instead. One set forward is followed at the next anchor.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
struct Source {
    started: Instant,
    /// Unix milliseconds at `started`, by the last anchor.
    origin: AtomicU64,
    /// The latest moment handed out.
    latest: AtomicU64,
    /// Whether time moves only by hand.
    manual: bool,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Clock {
        let clock = Clock::starting_at(UnixMillis::ZERO, false);
        clock.anchor();
        clock
    }

    /// A clock that stands at `now` until it is moved, for tests.
    #[must_use]
    pub fn manual(now: UnixMillis) -> Clock {
        Clock::starting_at(now, true)
    }

    fn starting_at(now: UnixMillis, manual: bool) -> Clock {
        Clock(Arc::new(Source {
            started: Instant::now(),
            origin: AtomicU64::new(now.as_millis()),
            latest: AtomicU64::new(now.as_millis()),
            manual,
        }))
    }

    /// The present moment; never earlier than one handed out before.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        let source = &*self.0;
        if source.manual {
            return UnixMillis::from_millis(source.latest.load(Ordering::Acquire));
        }
        let measured = source.origin.load(Ordering::Relaxed) + elapsed_millis(source.started);
        // Most calls fall into a millisecond already handed out: they write nothing shared.
        let latest = source.latest.load(Ordering::Relaxed);
        if measured <= latest {
            return UnixMillis::from_millis(latest);
        }
        UnixMillis::from_millis(source.latest.fetch_max(measured, Ordering::Relaxed).max(measured))
    }

    /// Takes over the wall clock's opinion; called each second. Returns by how many milliseconds
    /// the wall clock has run ahead (positive) or fallen back (negative) since the last call.
    pub fn anchor(&self) -> i64 {
        let source = &*self.0;
        if source.manual {
            return 0;
        }
        let origin = wall_millis().saturating_sub(elapsed_millis(source.started));
        let before = source.origin.swap(origin, Ordering::Relaxed);
        i64::try_from(origin).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
    }

    /// Makes sure that no later moment is before `moment`: what the log has seen stays past.
    pub fn raise(&self, moment: UnixMillis) {
        self.0.latest.fetch_max(moment.as_millis(), Ordering::AcqRel);
    }

    /// Moves a manual clock by `millis`.
    ///
    /// # Panics
    /// On a clock that is not manual.
    pub fn advance(&self, millis: u64) {
        assert!(self.0.manual, "only a manual clock is moved by hand");
        self.0.latest.fetch_add(millis, Ordering::AcqRel);
    }
}

fn elapsed_millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall_millis() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::system();
        let later = UnixMillis::from_millis(clock.now().as_millis() + 60_000);
        clock.raise(later);
        assert_eq!(clock.now(), later, "it stands still until the wall clock has caught up");
        clock.anchor();
        assert!(clock.now() >= later);
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(UnixMillis::from_millis(5));
        assert_eq!(clock.now(), UnixMillis::from_millis(5));
        clock.advance(2);
        assert_eq!(clock.clone().now(), UnixMillis::from_millis(7));
    }
}

//! Which keys of a namespace are used most, from a sample.
//!
//! The first operations of each second are all counted, so that a little traffic is told exactly.
//! Of the others one in [`INTERVAL`] is, on average, and counts for as many: at distances by
//! chance, or a pattern that repeats would be seen at one place of it only. What is counted lies in
//! two windows, the one under way and the one before it.
//!
//! A namespace that nobody uses has no gauge, and one that is not used any more loses it. Gauges
//! are no part of what a namespace is charged: there are at most [`GAUGES_MAX`] in a store, each
//! with two sketches of a bounded size.

mod sketch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;

use crate::model::{Cause, Change, Mutation, UnixMillis};
use crate::store::{HotKey, HotKeys};
pub(super) use sketch::Access;
use sketch::Sketch;

/// One in so many operations is counted, where there are many: then a count costs less than a
/// nanosecond for each operation.
const INTERVAL: u32 = 64;

/// So many operations of each second are all counted.
const WHOLE_MAX: u32 = 64;
const SECOND_MILLIS: u64 = 1_000;

/// How long a window is; what is told is of one to two of them.
const WINDOW_MILLIS: u64 = 30_000;

/// Most gauges in a store: one has 20 KiB with keys of usual length, and 80 KiB at most. A namespace
/// that meets this limit is not sampled until another one has come to rest.
const GAUGES_MAX: usize = 4_096;

/// How the keys of one namespace are used.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// When the next operations are all counted again.
    due: UnixMillis,
    /// How many of them are still to come.
    whole: u32,
    /// The operation that is counted next, where not all are: 1 is the very next.
    skip: u32,
    gauge: Option<Box<Gauge>>,
}

/// Places for the gauges of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges(Arc<AtomicUsize>);

#[derive(Debug)]
struct Gauge {
    hasher: RandomState,
    /// The state of a xorshift generator; never zero.
    random: u64,
    current: Window,
    last: Option<Window>,
    _place: Place,
}

#[derive(Debug)]
struct Window {
    begun: UnixMillis,
    sketch: Sketch,
}

/// One gauge's place, free again when dropped.
#[derive(Debug)]
struct Place(Gauges);

impl Heat {
    /// Notes that `count` keys, which are `keys`, are used at `now`.
    #[inline]
    pub(super) fn note<'k>(
        &mut self,
        access: Access,
        count: usize,
        keys: impl Iterator<Item = &'k str>,
        now: UnixMillis,
        gauges: &Gauges,
    ) {
        // No request has more than some thousand keys.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if now < self.due && self.whole == 0 && self.skip > count {
            self.skip -= count;
        } else {
            self.sample(access, count, keys, now, gauges);
        }
    }

    /// Forgets everything if it has not been used for as long as it can tell of.
    pub(super) fn rest(&mut self, now: UnixMillis) {
        if self.gauge.is_some() && now.millis_since(self.due) >= 2 * WINDOW_MILLIS {
            *self = Heat::default();
        }
    }

    /// The keys used most, at most `most` of them.
    pub(super) fn hottest(&mut self, most: usize, now: UnixMillis) -> HotKeys {
        match &mut self.gauge {
            Some(gauge) => gauge.hottest(most, now),
            None => HotKeys::default(),
        }
    }

    #[cold]
    #[inline(never)]
    fn sample<'k>(
        &mut self,
        access: Access,
        count: u32,
        mut keys: impl Iterator<Item = &'k str>,
        now: UnixMillis,
        gauges: &Gauges,
    ) {
        if now >= self.due {
            self.due = UnixMillis::from_millis(now.as_millis() + SECOND_MILLIS);
            self.begin(now, gauges);
        }
        let Some(gauge) = &mut self.gauge else {
            self.skip = u32::MAX;
            return;
        };
        let mut left = count;
        while left > 0 {
            if self.whole > 0 {
                let Some(key) = keys.next() else { return };
                gauge.add(key, access, 1);
                (self.whole, left) = (self.whole - 1, left - 1);
            } else if self.skip > left {
                self.skip -= left;
                return;
            } else {
                let Some(key) = keys.nth(self.skip as usize - 1) else { return };
                gauge.add(key, access, u64::from(INTERVAL));
                left -= self.skip;
                self.skip = gauge.distance();
            }
        }
    }

    /// Begins a second.
    fn begin(&mut self, now: UnixMillis, gauges: &Gauges) {
        if self.gauge.is_none()
            && let Some(place) = gauges.take()
        {
            let mut gauge = Gauge::new(RandomState::new(), now, place);
            self.skip = gauge.distance();
            self.gauge = Some(Box::new(gauge));
        }
        if let Some(gauge) = &mut self.gauge {
            self.whole = WHOLE_MAX;
            gauge.turn(now);
        }
    }
}

impl Gauge {
    fn new(hasher: RandomState, now: UnixMillis, place: Place) -> Gauge {
        let random = hasher.hash_one(now.as_millis()) | 1;
        let current = Window { begun: now, sketch: Sketch::default() };
        Gauge { hasher, random, current, last: None, _place: place }
    }

    fn add(&mut self, key: &str, access: Access, weight: u64) {
        self.current.sketch.add(self.hasher.hash_one(key), key, access, weight);
    }

    /// How far the next operation is that is counted: [`INTERVAL`] on average.
    fn distance(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let choice = (self.random >> 32) % u64::from(2 * INTERVAL - 1);
        1 + u32::try_from(choice).expect("it is less than twice the interval")
    }

    /// Begins another window if the one under way is over.
    fn turn(&mut self, now: UnixMillis) {
        let age = now.millis_since(self.current.begun);
        if age < WINDOW_MILLIS {
            return;
        }
        let mut sketch = self.last.take().map(|last| last.sketch).unwrap_or_default();
        sketch.clear();
        if age < 2 * WINDOW_MILLIS {
            let end = UnixMillis::from_millis(self.current.begun.as_millis() + WINDOW_MILLIS);
            let over = std::mem::replace(&mut self.current, Window { begun: end, sketch });
            self.last = Some(over);
        } else {
            self.current = Window { begun: now, sketch };
        }
    }

    fn hottest(&mut self, most: usize, now: UnixMillis) -> HotKeys {
        self.turn(now);
        let windows = || self.last.iter().chain([&self.current]);
        let begun = windows().map(|window| window.begun).next().unwrap_or(now);
        // Before the first operation there was none: what began just now may be told of a second.
        let window = Duration::from_millis(now.millis_since(begun).max(SECOND_MILLIS));
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for one in windows().flat_map(|window| window.sketch.counted()) {
            let (reads, writes) = sums.entry(&one.key).or_default();
            *reads += one.reads;
            *writes += one.writes;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, (reads, writes))| std::cmp::Reverse(reads + writes));
        let rate = |count: u64| per_second(count, window);
        let keys = sums.into_iter().take(most).map(|(key, (reads, writes))| HotKey {
            key: key.to_owned(),
            reads_per_second: rate(reads),
            writes_per_second: rate(writes),
        });
        HotKeys { keys: keys.collect(), window }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; above 2^53 one more does not matter")]
fn per_second(count: u64, window: Duration) -> f64 {
    count as f64 / window.as_secs_f64()
}

impl Gauges {
    fn take(&self) -> Option<Place> {
        let more = |taken: usize| (taken < GAUGES_MAX).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The key that a caller has changed by `mutation`; none where the store did so by itself.
pub(super) fn written<'m>(mutation: &'m Mutation<'_>) -> Option<&'m str> {
    match &mutation.change {
        Change::Set { key, .. }
        | Change::Touch { key, .. }
        | Change::Remove { key, cause: Cause::Deleted } => Some(key),
        Change::Remove { cause: Cause::Expired | Cause::Evicted, .. } | Change::Clear => None,
    }
}

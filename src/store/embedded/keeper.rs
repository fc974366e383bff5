//! The thread that looks after everything nobody asks for: time, space, sweeps, compaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::namespace::Namespace;
use super::shared::Shared;
use crate::engine::{Engine, Garbage};
use crate::model::Durability;

/// How often the keeper looks around.
const ROUND: Duration = Duration::from_millis(50);

/// How often the wall clock and the disk are asked.
const SECOND: Duration = Duration::from_secs(1);

/// Bytes of records that one turn may move together; a fraction of a millisecond.
const DEFRAGMENT_BYTES: usize = 256 << 10;

/// Slices of one kind of work in one round, so that no namespace keeps the others waiting.
const SLICES_MAX: usize = 64;

/// A leap of the wall clock worth a line in the log.
const LEAP_MILLIS: i64 = 1_000;

/// A log this much larger than what lives in it is compacted, whatever the number of records.
const SLACK_BYTES: u64 = 128 << 20;

/// After a failed compaction: a minute, and twice as long each time, up to about an hour.
const BACKOFF_MILLIS: u64 = 60_000;
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

/// The keeper's bell, and what was left for it to throw away.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    rung: Condvar,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    stop: bool,
    engines: Vec<Engine>,
}

/// When things were done last.
#[derive(Debug)]
pub(super) struct Rounds {
    second: Instant,
    swept: Option<Instant>,
}

impl Rounds {
    /// Everything is due in an interval from now.
    pub(super) fn begun() -> Rounds {
        let now = Instant::now();
        Rounds { second: now, swept: Some(now) }
    }

    /// A sweep is due now.
    #[cfg(test)]
    pub(super) fn due() -> Rounds {
        Rounds { second: Instant::now(), swept: None }
    }
}

impl Keeper {
    /// Drops `engine` on the keeper's thread.
    pub(super) fn discard(&self, engine: Engine) {
        self.desk.lock().engines.push(engine);
    }

    /// Begins the next round now.
    pub(super) fn wake(&self) {
        self.rung.notify_one();
    }

    pub(super) fn stop(&self) {
        self.desk.lock().stop = true;
        self.rung.notify_one();
    }

    pub(super) fn run(&self, shared: &Arc<Shared>) {
        let mut rounds = Rounds::begun();
        while self.pause() {
            shared.keep(&mut rounds);
        }
    }

    /// Waits for the next round; false: there is none.
    fn pause(&self) -> bool {
        let mut desk = self.desk.lock();
        if !desk.stop {
            self.rung.wait_for(&mut desk, ROUND);
        }
        let engines = std::mem::take(&mut desk.engines);
        let stop = desk.stop;
        drop(desk);
        drop(engines);
        !stop
    }
}

impl Shared {
    /// One round.
    pub(super) fn keep(self: &Arc<Self>, rounds: &mut Rounds) {
        if rounds.second.elapsed() >= SECOND {
            rounds.second = Instant::now();
            self.keep_time_and_space();
        }
        let cleanup = self.settings.read().cleanup_interval;
        let sweeping = rounds.swept.is_none_or(|swept| swept.elapsed() >= cleanup);
        let mut is_swept = true;
        for namespace in self.registry.all() {
            is_swept &= !sweeping || self.sweep(&namespace);
            self.keep_namespace(&namespace);
        }
        if sweeping {
            // What is left over is swept in the next round, not after the next interval.
            rounds.swept = is_swept.then(Instant::now);
        }
        repeat(|| self.shrink());
        if self.wants_compaction() {
            self.compactor.start(self);
        }
    }

    fn keep_time_and_space(&self) {
        let leap = self.clock.anchor();
        if leap.abs() >= LEAP_MILLIS {
            tracing::warn!(leap_ms = leap, "the wall clock was set");
        }
        self.log.maintain(self.clock.now());
    }

    /// Removes what has expired; false if there is more of it than one round's share.
    fn sweep(&self, namespace: &Namespace) -> bool {
        repeat(|| namespace.enter().is_some_and(|mut turn| turn.sweep(self)))
    }

    fn keep_namespace(&self, namespace: &Namespace) {
        let now = self.clock.now();
        repeat(|| {
            namespace.enter().is_some_and(|mut turn| {
                turn.state.heat.rest(now);
                turn.shed(self)
            })
        });
        repeat(|| namespace.enter().is_some_and(|mut turn| turn.log_image(self)));
        repeat(|| {
            namespace.enter().is_some_and(|mut turn| turn.state.engine.defragment(DEFRAGMENT_BYTES))
        });
        let take = || namespace.enter().and_then(|mut turn| turn.state.engine.take_garbage());
        // Dropped here, outside the turn.
        while let Some(garbage) = take() {
            drop::<Garbage>(garbage);
        }
    }

    /// Whether the log has become worth writing anew.
    fn wants_compaction(&self) -> bool {
        if self.compactor.is_running() || self.log.is_full() || self.commit.has_failed() {
            return false;
        }
        let stats = self.log.stats();
        let (age, failures) = self.compactor.since_last(self.clock.now());
        if failures > 0 && age < BACKOFF_MILLIS << (failures - 1).min(BACKOFF_DOUBLINGS_MAX) {
            return false;
        }
        // Copied: no namespace may be entered while the settings are held.
        let (interval, records_max) = {
            let settings = self.settings.read();
            (settings.compaction_interval, settings.wal_records_max)
        };
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let records = stats.records_since_compaction;
        if records > 0 && age >= interval {
            return true;
        }
        if records < records_max && stats.bytes <= SLACK_BYTES {
            return false;
        }
        let (keys, bytes) = self.logged();
        (records >= records_max && records / 2 >= keys) || stats.bytes > 2 * bytes + SLACK_BYTES
    }

    /// Keys and bytes of what a log written anew would hold: what is only in memory is not in it.
    fn logged(&self) -> (u64, u64) {
        self.registry.all().iter().fold((0, 0), |(keys, bytes), namespace| {
            match namespace.enter().filter(|turn| turn.durability() != Durability::Memory) {
                Some(turn) => {
                    let usage = turn.usage();
                    (keys + usage.keys, bytes + usage.bytes)
                }
                None => (keys, bytes),
            }
        })
    }
}

/// Does `slice` until it has nothing more to do, or its share of the round is over; true: the
/// former.
fn repeat(mut slice: impl FnMut() -> bool) -> bool {
    for _ in 0..SLICES_MAX {
        if !slice() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

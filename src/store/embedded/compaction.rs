//! The log written anew, beside the traffic: what stands, instead of how it came to be.

use std::borrow::Cow;
use std::sync::Arc;
use std::thread::{JoinHandle, yield_now};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::namespace::Namespace;
use super::shared::{Shared, spawn};
use crate::engine::ImageCursor;
use crate::model::{Durability, Fact, UnixMillis};
use crate::telemetry;
use crate::wal::{self, Compaction};

/// Bytes of entries written in one turn; a fraction of a millisecond.
const SLICE_BYTES: usize = 128 << 10;

/// Who compacts, and when it was tried last.
#[derive(Debug)]
pub(super) struct Compactor {
    /// Those who wait for one watch this.
    ended: watch::Sender<Ended>,
    running: Mutex<Running>,
}

/// The compactions so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    count: u64,
    /// Whether the last one succeeded.
    pub(super) well: bool,
}

#[derive(Debug)]
struct Running {
    thread: Option<JoinHandle<()>>,
    now: bool,
    last_tried: UnixMillis,
    /// Failures since the last success.
    failures: u32,
}

impl Compactor {
    pub(super) fn new(now: UnixMillis) -> Compactor {
        let running = Running { thread: None, now: false, last_tried: now, failures: 0 };
        Compactor { ended: watch::Sender::new(Ended::default()), running: Mutex::new(running) }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.lock().now
    }

    /// Milliseconds since the last compaction was begun, and how many have failed since one
    /// succeeded.
    pub(super) fn since_last(&self, now: UnixMillis) -> (u64, u32) {
        let running = self.running.lock();
        (now.millis_since(running.last_tried), running.failures)
    }

    /// Begins a compaction on a thread of its own. Returns whether this call did, and what tells
    /// of the end of the one that runs.
    pub(super) fn start(&self, shared: &Arc<Shared>) -> (bool, watch::Receiver<Ended>) {
        let mut running = self.running.lock();
        let mut ended = self.ended.subscribe();
        ended.mark_unchanged();
        let start = !running.now && !shared.is_stopping();
        if start {
            running.last_tried = shared.clock.now();
            let shared = Arc::clone(shared);
            running.thread = spawn("pykv-compaction", move || shared.compact()).ok();
            running.now = running.thread.is_some();
        }
        (start && running.now, ended)
    }

    /// Waits for the thread that compacts, if there is one.
    pub(super) fn join(&self) {
        let thread = self.running.lock().thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the compaction panicked");
        }
    }

    fn end(&self, succeeded: bool) {
        let mut running = self.running.lock();
        running.now = false;
        running.failures = if succeeded { 0 } else { running.failures.saturating_add(1) };
        self.ended.send_modify(|ended| *ended = Ended { count: ended.count + 1, well: succeeded });
    }
}

impl Shared {
    fn compact(&self) {
        let begun = Instant::now();
        let outcome = self.try_compact();
        match &outcome {
            Ok(true) => {
                telemetry::compaction_seconds(begun.elapsed());
                let bytes = self.log.stats().bytes;
                tracing::info!(elapsed = ?begun.elapsed(), bytes, "the log was compacted");
            }
            Ok(false) => {}
            Err(error) => {
                telemetry::compaction_failed();
                tracing::error!(error = %error, "the log could not be compacted");
            }
        }
        self.compactor.end(outcome.is_ok());
    }

    /// False if the store is closing; then the log stays as it is.
    fn try_compact(&self) -> Result<bool, wal::Error> {
        let mut compaction = self.log.compaction(self.clock.now())?;
        let (dropped, namespaces) = self.registry.image();
        if let Some(dropped) = dropped {
            compaction.write(&dropped)?;
        }
        for namespace in &namespaces {
            let reached = self.write_definition(namespace, &mut compaction)?;
            if !self.write_entries(namespace, &mut compaction)? {
                return Ok(false);
            }
            // Again: what was changed meanwhile is among the entries and comes in the log behind.
            reached.iter().try_for_each(|reached| compaction.write(reached))?;
        }
        // Read last: what is persisted later is in the log behind the snapshot.
        if let Some(text) = self.persisted() {
            compaction.write(&Fact::Settings(Cow::Owned(text)))?;
        }
        compaction.finish(self.clock.now())?;
        Ok(true)
    }

    /// Returns the word on how far its versions had come, where there is one.
    fn write_definition(
        &self,
        namespace: &Namespace,
        compaction: &mut Compaction,
    ) -> Result<Option<Fact<'static>>, wal::Error> {
        let Some(turn) = namespace.enter() else { return Ok(None) };
        let (definition, reservation) = (turn.definition().clone(), turn.reservation());
        // Where nothing is logged, nothing can be said of what comes behind.
        let is_logged = turn.durability() != Durability::Memory && turn.state.imaging.is_none();
        let reached = is_logged.then(|| turn.reached());
        drop(turn);
        compaction.write(&Fact::Defined(Cow::Owned(definition)))?;
        compaction.write(&reservation)?;
        reached.iter().try_for_each(|reached| compaction.write(reached))?;
        Ok(reached)
    }

    fn write_entries(
        &self,
        namespace: &Namespace,
        compaction: &mut Compaction,
    ) -> Result<bool, wal::Error> {
        let mut cursor = Some(ImageCursor::default());
        while let Some(from) = cursor {
            if self.is_stopping() {
                return Ok(false);
            }
            let Some(turn) = namespace.enter() else { return Ok(true) };
            if turn.durability() == Durability::Memory {
                return Ok(true);
            }
            cursor = turn.image(from, SLICE_BYTES, self.clock.now(), &mut |mutation| {
                let mutations = Cow::Borrowed(std::slice::from_ref(mutation));
                compaction.gather(&Fact::Changed { namespace: namespace.id, mutations });
            });
            drop(turn);
            compaction.flush_if_due()?;
            // The lock is not fair; this gives whoever waits for it a chance.
            yield_now();
        }
        Ok(true)
    }
}

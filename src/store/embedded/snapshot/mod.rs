//! Snapshots that leave and come back: each on a thread of its own, with a [`pipe`] to its caller.
//!
//! # How it works
//! An [`mod@export`] takes all turns of its namespaces at once, places a cut in each engine and lets go;
//! then it walks, slice by slice, at a [`pace`] that leaves others their processors. It does not wait for
//! its caller for long: what he does not take goes through an [`outlet`] into a file without a name.
//! A [`mod@restore`] gathers what arrives, sorted by the order of writes (`sorter`), and only when the
//! file has proved whole checks what could stand against it (`check`) and applies it (`apply`), a turn
//! at a time.
//!
//! # Why
//! Disks are waited for and locks are held here, and neither may happen on a worker. A file of
//! any size passes through a few megabytes of memory.
//!
//! # Invariants
//! Two turns at once are held by nobody else. Nothing is changed for a file that is not whole. Whoever
//! goes away leaves no cut, no thread and no file.
//!
//! # Not here
//! What the bytes mean: `wal::archive`. Keeping an engine's cut: `engine`.

mod apply;
mod check;
mod export;
mod outlet;
mod pace;
mod pipe;
mod restore;
mod sorter;

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::shared::{Shared, spawn};
use crate::store::Error;

pub use export::EmbeddedExport;
pub(super) use export::export;
pub use restore::EmbeddedRestore;
pub(super) use restore::restore;

/// The exports and restores that are under way.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Vec<Running>>);

/// One of them.
struct Running {
    stop: Box<dyn Fn() + Send>,
    thread: JoinHandle<()>,
}

impl Snapshots {
    /// Runs `work` on a thread of its own; `stop` ends its conversation with the caller.
    ///
    /// Errors: `Stopped`; `Overloaded` if the system has no thread to give.
    fn start(
        &self,
        shared: &Arc<Shared>,
        stop: impl Fn() + Send + 'static,
        work: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<(), Error> {
        let mut running = self.0.lock();
        if shared.is_stopping() {
            return Err(Error::Stopped);
        }
        running.retain(|one| !one.thread.is_finished());
        let own = Arc::clone(shared);
        let thread = spawn("pykv-snapshot", move || work(&own)).map_err(|error| {
            tracing::error!(%error, "cannot start a thread for a snapshot");
            Error::Overloaded { retry_after: super::shared::BACKLOG_RETRY }
        })?;
        running.push(Running { stop: Box::new(stop), thread });
        Ok(())
    }

    /// Ends all of them, and waits until they have ended. The store is stopping: none begins any more.
    pub(super) fn stop(&self) {
        let running = std::mem::take(&mut *self.0.lock());
        for one in &running {
            (one.stop)();
        }
        for one in running {
            if one.thread.join().is_err() {
                tracing::error!("a snapshot panicked");
            }
        }
    }
}

#[cfg(test)]
impl Snapshots {
    /// How many are under way.
    pub(super) fn running(&self) -> usize {
        self.0.lock().iter().filter(|one| !one.thread.is_finished()).count()
    }
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Snapshots").field(&self.0.lock().len()).finish()
    }
}

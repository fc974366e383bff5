//! The store in this process: engines, one log for all of them, and the threads that look after both.
//!
//! # How it works
//! A namespace is an actor without a thread: whoever brings a command takes a *turn* under its lock
//! (`turn`), in which the engine rules, the log takes the facts and the engine applies them. The
//! caller then waits, outside the lock, until the facts are as safe as the namespace asks
//! (`commit`). The verbs are in `door`; those of a pipeline come together in one turn (`run`). What a
//! turn has changed is remembered for those who [`watch`]. [`keeper`] sweeps, relieves and triggers;
//! [`compaction`] writes the log anew beside the traffic, a [`snapshot`] leaves or comes in beside it;
//! [`heat`] samples which keys are used most;
//! [`loading`] brings back what the log remembers; [`budget`] shares out the memory.
//!
//! # Why
//! Sending a command to a thread of the store's own would cost more than the command. A lock per
//! namespace lets tenants work beside each other, and one log lets them share a sync.
//!
//! # Invariants
//! Under a namespace's lock nothing waits and no file is touched. What is appended is applied before
//! the lock is given back, or the process ends. A version that somebody has seen is never given to
//! another change, not even after a power failure. Locks are taken in the order registry,
//! namespace, log.
//!
//! # Not here
//! Rules about entries: `engine`. Files: `wal`. What a verb means: [`Store`](super::Store).

mod budget;
mod clock;
mod commit;
mod compaction;
mod deletion;
mod door;
mod heat;
mod keeper;
mod loading;
mod namespace;
mod reach;
mod registry;
mod run;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod turn;
mod watch;
mod window;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::{Mutex, RwLock};

pub use clock::Clock;
pub use snapshot::{EmbeddedExport, EmbeddedRestore};
#[cfg(test)]
pub(crate) use tests::unstarted;
pub use watch::Watcher;

use super::{Error, Settings};
use crate::telemetry::{self, StoreSample};
use crate::wal;
use shared::Shared;

/// What an embedded store is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log is, and how it uses the disk.
    pub log: wal::Config,
    /// Most namespaces there may be.
    pub namespaces_max: usize,
    /// In force until others are applied.
    pub settings: Settings,
}

/// Turns the settings configured, and the text last persisted, into those to be put in force; or
/// says why it cannot.
pub type Restore<'f> = dyn Fn(Settings, &[u8]) -> Result<Settings, String> + 'f;

/// Why a store does not begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The system has no thread to give.
    #[error("cannot start a thread of the store")]
    Thread(#[from] std::io::Error),
    /// The settings that were kept cannot be put in force.
    #[error("{0}")]
    Settings(String),
}

/// The store in this process. The last handle to go closes it.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    namespaces_max: usize,
    settings: RwLock<Settings>,
    /// What was found on disk, until [`Embedded::replay`] takes it.
    recovery: Mutex<Option<wal::Recovery>>,
    /// How much of it is replayed, as the bits of a number from 0 to 1.
    progress: AtomicU32,
    /// There once the log is replayed.
    shared: OnceLock<Arc<Shared>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Embedded {
    /// Takes possession of the log's directory. Every verb answers [`Error::StartingUp`] until
    /// [`Embedded::replay`] is done.
    ///
    /// Errors: the directory is in use, damaged, of a newer format or not writable; nothing in it
    /// was changed.
    pub fn open(config: Config, clock: Clock) -> Result<Embedded, wal::Error> {
        let recovery = wal::open(&config.log)?;
        Ok(Embedded(Arc::new(Inner {
            clock,
            namespaces_max: config.namespaces_max,
            settings: RwLock::new(config.settings),
            recovery: Mutex::new(Some(recovery)),
            progress: AtomicU32::new(0),
            shared: OnceLock::new(),
            threads: Mutex::default(),
        })))
    }

    /// Replays the log and begins to serve; blocks for as long as that takes.
    ///
    /// Errors: the log is damaged, and nothing was changed; or `restore` has refused.
    ///
    /// # Panics
    /// When called a second time.
    pub fn replay(&self, restore: &Restore<'_>) -> Result<wal::Report, ReplayError> {
        let inner = &*self.0;
        let recovery = inner.recovery.lock().take().expect("a log is replayed once");
        let progress = |done: f32| inner.progress.store(done.to_bits(), Ordering::Relaxed);
        let history_events = inner.settings.read().default_rules.watch_history_events;
        let (loaded, log, report) = loading::load(recovery, history_events, progress)?;
        inner.clock.raise(report.wall);
        telemetry::replay_seconds(report.elapsed);
        telemetry::torn_tail_bytes(report.torn_bytes);
        let settings = match &loaded.persisted {
            Some(text) => {
                restore(inner.settings.read().clone(), text).map_err(ReplayError::Settings)?
            }
            None => inner.settings.read().clone(),
        };
        *inner.settings.write() = settings.clone();
        let shared = Shared::new(inner.clock.clone(), log, settings, inner.namespaces_max, loaded);
        *inner.threads.lock() = vec![shared.spawn_log_thread()?, shared.spawn_keeper()?];
        assert!(inner.shared.set(shared).is_ok(), "a log is replayed once");
        Ok(report)
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Resolves with the reason when the log can no longer be trusted: the process must end, and
    /// the next start recovers. Never resolves before the log is replayed.
    pub async fn failure(&self) -> String {
        match self.0.shared.get() {
            Some(shared) => shared.commit.failure().await,
            None => std::future::pending().await,
        }
    }

    /// What the store holds, for whoever scrapes.
    #[must_use]
    pub fn sample(&self) -> StoreSample {
        match self.0.shared.get() {
            Some(shared) => shared.sample(),
            None => StoreSample {
                replay_progress: f64::from(self.progress()),
                memory_limit_bytes: self.0.settings.read().total_bytes_max,
                ..StoreSample::default()
            },
        }
    }

    /// Refuses everything from now on, brings what was written to disk and gives the directory
    /// back. Calling it again does nothing.
    ///
    /// Errors: the last sync failed; what was acknowledged is there, what waited may not be.
    pub fn close(&self) -> Result<(), wal::Error> {
        self.0.close()
    }

    fn shared(&self) -> Result<&Arc<Shared>, Error> {
        match self.0.shared.get() {
            Some(shared) if shared.is_stopping() => Err(Error::Stopped),
            Some(shared) => Ok(shared),
            None => Err(Error::StartingUp { progress: self.progress() }),
        }
    }

    fn progress(&self) -> f32 {
        f32::from_bits(self.0.progress.load(Ordering::Relaxed))
    }
}

impl Inner {
    fn close(&self) -> Result<(), wal::Error> {
        let threads = std::mem::take(&mut *self.threads.lock());
        let Some(shared) = self.shared.get().filter(|_| !threads.is_empty()) else { return Ok(()) };
        shared.stop();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        shared.log.close(self.clock.now())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = %error, "cannot close the log");
        }
    }
}

//! What all namespaces have in common.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::budget::Budget;
use super::clock::Clock;
use super::commit::{Commit, Ticket};
use super::compaction::Compactor;
use super::heat::Gauges;
use super::keeper::Keeper;
use super::loading::Loaded;
use super::namespace::Namespace;
use super::registry::Registry;
use super::snapshot::Snapshots;
use super::watch::ring_all;
use crate::model::{Fact, NamespaceName};
use crate::store::{Error, LogInfo, Settings};
use crate::telemetry::{NamespaceSample, StoreSample};
use crate::wal::{Log, Lsn};

/// Most bytes that may wait to be written: a disk that cannot keep up is not hidden in memory.
const BACKLOG_BYTES_MAX: u64 = 64 << 20;

/// When a caller that met a full backlog should come back.
pub(super) const BACKLOG_RETRY: Duration = Duration::from_millis(100);

/// Everything that the store's turns and threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) log: Arc<Log>,
    pub(super) commit: Arc<Commit>,
    pub(super) budget: Budget,
    pub(super) registry: Registry,
    pub(super) compactor: Compactor,
    pub(super) keeper: Keeper,
    pub(super) snapshots: Snapshots,
    pub(super) gauges: Gauges,
    pub(super) settings: RwLock<Settings>,
    /// As in the settings, where every write looks.
    read_only: AtomicBool,
    stopping: AtomicBool,
    /// The text of the layer above; held while it is appended.
    persisted: Mutex<Option<Vec<u8>>>,
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        log: Log,
        settings: Settings,
        namespaces_max: usize,
        loaded: Loaded,
    ) -> Arc<Shared> {
        let log = Arc::new(log);
        let now = clock.now();
        let shared = Arc::new(Shared {
            commit: Commit::new(Arc::clone(&log), settings.flush_interval),
            budget: Budget::new(settings.total_bytes_max),
            registry: Registry::new(namespaces_max, loaded.next_id, loaded.last_dropped),
            compactor: Compactor::new(now),
            keeper: Keeper::default(),
            snapshots: Snapshots::default(),
            gauges: Gauges::default(),
            read_only: AtomicBool::new(settings.read_only),
            settings: RwLock::new(settings),
            stopping: AtomicBool::new(false),
            persisted: Mutex::new(loaded.persisted),
            clock,
            log,
        });
        for resident in loaded.namespaces {
            shared.registry.adopt(&shared, resident);
        }
        shared.registry.ensure_default(&shared);
        shared
    }

    /// Appends `fact`. The caller holds the lock of whatever the fact is about.
    pub(super) fn append(&self, fact: &Fact<'_>) -> Lsn {
        let lsn = self.log.append(fact, self.clock.now());
        self.commit.appended();
        lsn
    }

    /// Whether the log can take a write now.
    pub(super) fn may_log(&self) -> Result<(), Error> {
        if self.commit.has_failed() {
            return Err(Error::LogFailed);
        }
        if self.log.is_full() {
            return Err(Error::DiskFull);
        }
        // In this order: what is written later may be more than what was appended before.
        let written = self.log.written();
        if self.log.appended().saturating_sub(written) > BACKLOG_BYTES_MAX {
            return Err(Error::Overloaded { retry_after: BACKLOG_RETRY });
        }
        Ok(())
    }

    /// Whether a logged write may be made now.
    pub(super) fn may_write(&self) -> Result<(), Error> {
        self.may_change()?;
        self.may_log()
    }

    /// Whether anything may be changed now, logged or not.
    pub(super) fn may_change(&self) -> Result<(), Error> {
        if self.read_only.load(Ordering::Relaxed) { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// The namespace of this name; none if it does not exist, which a read takes for empty where a
    /// write would make it.
    pub(super) fn find(&self, name: &NamespaceName) -> Result<Option<Arc<Namespace>>, Error> {
        match self.registry.find(name) {
            Some(namespace) => Ok(Some(namespace)),
            None if self.settings.read().auto_create_namespaces => Ok(None),
            None => Err(Error::NamespaceNotFound(name.as_str().to_owned())),
        }
    }

    /// The namespace of this name, which must exist.
    pub(super) fn existing(&self, name: &NamespaceName) -> Result<Arc<Namespace>, Error> {
        let missing = || Error::NamespaceNotFound(name.as_str().to_owned());
        self.registry.find(name).ok_or_else(missing)
    }

    /// The namespace of this name, made if it may be.
    pub(super) fn find_or_make(&self, name: &NamespaceName) -> Result<Arc<Namespace>, Error> {
        match self.find(name)? {
            Some(namespace) => Ok(namespace),
            None => self.registry.create_on_write(self, name),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks every thread of the store to end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        ring_all(self);
        self.keeper.stop();
        self.compactor.join();
        self.snapshots.stop();
        self.commit.stop();
    }

    pub(super) fn spawn_log_thread(self: &Arc<Self>) -> io::Result<thread::JoinHandle<()>> {
        let commit = Arc::clone(&self.commit);
        spawn("pykv-log", move || commit.run())
    }

    pub(super) fn spawn_keeper(self: &Arc<Self>) -> io::Result<thread::JoinHandle<()>> {
        let shared = Arc::clone(self);
        spawn("pykv-keeper", move || shared.keeper.run(&shared))
    }

    /// Puts `settings` in force.
    pub(super) fn apply_settings(&self, settings: Settings) {
        self.read_only.store(settings.read_only, Ordering::Relaxed);
        self.budget.set_limit(settings.total_bytes_max);
        self.commit.set_interval(settings.flush_interval);
        *self.settings.write() = settings;
        for namespace in self.registry.all() {
            if let Some(mut turn) = namespace.enter() {
                turn.refresh_rules(self);
            }
        }
        self.keeper.wake();
    }

    /// Appends the text of the layer above.
    pub(super) fn persist(&self, text: &[u8]) -> Ticket {
        let mut persisted = self.persisted.lock();
        *persisted = Some(text.to_vec());
        Ticket::Durable(self.append(&Fact::Settings(text.into())))
    }

    pub(super) fn persisted(&self) -> Option<Vec<u8>> {
        self.persisted.lock().clone()
    }

    pub(super) fn log_info(&self) -> LogInfo {
        let stats = self.log.stats();
        LogInfo {
            records: stats.records_since_compaction,
            bytes: stats.bytes,
            last_compaction: stats.last_compaction,
            compaction_running: self.compactor.is_running(),
        }
    }

    pub(super) fn sample(&self) -> StoreSample {
        let stats = self.log.stats();
        let namespaces = self.registry.all();
        let namespaces = namespaces.iter().filter_map(|namespace| {
            let turn = namespace.enter()?;
            let (stats, rules) = (turn.stats(), turn.state.engine.rules().clone());
            drop(turn);
            Some(NamespaceSample {
                limit_keys: rules.keys_max,
                limit_bytes: rules.bytes_max,
                name: stats.namespace,
                keys: stats.usage.keys,
                bytes: stats.usage.bytes,
                hits: stats.hits,
                misses: stats.misses,
                sets: stats.sets,
                deletes: stats.deletes,
                expirations: stats.expirations,
                evictions: stats.evictions,
                quota_rejections: stats.quota_rejections,
                rate_limit_rejections: stats.rate_limit_rejections,
                watches: stats.active_watches,
            })
        });
        StoreSample {
            namespaces: namespaces.collect(),
            log_bytes: stats.bytes,
            log_records: stats.records_since_compaction,
            waiting_writes: self.commit.waiting() as u64,
            memory_used_bytes: self.budget.used(),
            memory_limit_bytes: self.budget.limit(),
            ready: !self.is_stopping(),
            replay_progress: 1.0,
            read_only: self.may_write().is_err(),
        }
    }
}

/// A thread without which the store would be half dead: if it panics, the process ends, and the
/// next start recovers.
pub(super) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let guarded = || {
        let _guard = AbortOnPanic;
        work();
    };
    thread::Builder::new().name(name.to_owned()).spawn(guarded)
}

/// Ends the process where a panic would leave things apart that belong together.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

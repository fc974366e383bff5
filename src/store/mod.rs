//! The door to data: what every store must do, whoever stands behind it.
//!
//! # How it works
//! [`Store`] is batch-first and asynchronous, so that an engine in this process and one across a
//! network fit behind the same verbs. [`embedded`] is the one in this process.
//!
//! # Why
//! Services, gateway and tests speak to this door only; nothing above it can tell, or needs to
//! tell, how data is kept. What a store cannot keep it says in [`Capabilities`].
//!
//! # Invariants
//! An answer leaves only when it is as safe as its namespace asks. The three ways in which a write
//! can fail are kept apart: not executed, outcome unknown, refused.
//!
//! # Not here
//! Rules of one namespace: `engine`. Files: `wal`. Status codes: `service`.

#[cfg(test)]
mod conformance;
pub mod embedded;
mod error;
mod info;
mod snapshot;
mod step;
mod watch;

use std::future::Future;

pub use crate::engine::{
    Command, Condition, Entry, Expiration, Found, Outcome, Quota, Reading, Refusal, Scan, Seen,
    View,
};
pub use error::{Error, SnapshotError, WatchError};
pub use info::{
    Capabilities, Compacted, HotKey, HotKeys, LogInfo, NamespaceInfo, NamespaceSpec,
    NamespaceStats, Page, Settings, StoreStats, Usage,
};
pub use step::{Answer, Operation, Step};

pub use snapshot::{
    Export, PIECE_BYTES_MAX, Piece, Restore, RestoreMode, RestoreOptions, Restored, SnapshotSummary,
};
pub use watch::{Delivery, Event, EventKind, Filter, Start, Values, WatchOrder, Watching};

use crate::model::{Key, Keys, NamespaceName};

/// Most bytes of values that one answer carries. No response message is larger, and what cannot be
/// sent should not be gathered.
pub const VALUES_BYTES_MAX: usize = 4 << 20;

/// Commands on one namespace that are ruled upon at one moment.
#[derive(Debug)]
pub struct Batch {
    /// In order; later ones see what earlier ones did.
    pub commands: Vec<Command>,
    /// All or none.
    pub atomic: bool,
}

/// What came of a [`Batch`].
#[derive(Debug)]
pub struct Written {
    /// The commands, handed back so that answers can name their keys without a copy.
    pub commands: Vec<Command>,
    /// One for each command, in order.
    pub outcomes: Vec<Result<Outcome, Refusal>>,
    /// False only where the batch was atomic and something stood against it.
    pub committed: bool,
}

/// What every store does. Cloning is cheap: a clone is another handle to the same store.
///
/// Any verb can fail with [`Error::StartingUp`], [`Error::Stopped`] and, where it names a namespace
/// that does not exist (and, for writes, may not be created), [`Error::NamespaceNotFound`]. A read of
/// a namespace that does not exist while creation on first use is on finds nothing.
pub trait Store: Clone + Send + Sync + 'static {
    /// A watch under way.
    type Watching: Watching;

    /// A copy on its way out.
    type Export: Export;
    /// A copy on its way in.
    type Restore: Restore;

    /// What this store can keep of the API's promises.
    fn capabilities(&self) -> Capabilities;

    /// One entry.
    fn get(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        view: View,
    ) -> impl Future<Output = Result<Option<Entry>, Error>> + Send;

    /// Entries for `keys`, in their order, all seen at one moment.
    ///
    /// Errors: [`Error::TooMuch`] where their values have more than [`VALUES_BYTES_MAX`] bytes.
    fn get_many(
        &self,
        namespace: &NamespaceName,
        keys: &Keys,
        view: View,
    ) -> impl Future<Output = Result<Found, Error>> + Send;

    /// Rules on a batch, and answers when what was changed is as safe as the namespace asks.
    fn write(
        &self,
        namespace: &NamespaceName,
        batch: Batch,
    ) -> impl Future<Output = Result<Written, Error>> + Send;

    /// Does `steps` in their order, each as the verb of its name would, and answers when all of it
    /// is as safe as its namespace asks. What one step fails of does not touch the others.
    ///
    /// There is one answer for each step done: at least the first, and as many as have about
    /// [`VALUES_BYTES_MAX`] bytes of values. Steps behind those were not done and can be brought
    /// again. Everything is done in as few turns as possible, so whoever calls bounds what it brings.
    fn run(&self, steps: &mut [Step]) -> impl Future<Output = Vec<Result<Answer, Error>>> + Send;

    /// Entries by key order.
    fn scan(
        &self,
        namespace: &NamespaceName,
        scan: Scan,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// How many live entries have keys that start with `prefix`; an empty one counts all.
    fn count(
        &self,
        namespace: &NamespaceName,
        prefix: &str,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Begins to watch; a namespace that does not exist yet, but may be made by a first write, is
    /// waited for.
    ///
    /// Errors: [`WatchError::HistoryLost`], [`WatchError::VersionInFuture`].
    fn watch(
        &self,
        namespace: &NamespaceName,
        order: WatchOrder,
    ) -> impl Future<Output = Result<Self::Watching, Error>> + Send;

    /// Deletes, in slices, what starts with `prefix`; returns how many entries went.
    fn delete_prefix(
        &self,
        namespace: &NamespaceName,
        prefix: &str,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Makes a namespace.
    fn create_namespace(
        &self,
        name: &NamespaceName,
        spec: NamespaceSpec,
    ) -> impl Future<Output = Result<NamespaceInfo, Error>> + Send;

    /// Changes a namespace by `edit`, which may be called more than once. A given `etag` must be
    /// the current one. With `allow_missing` a missing namespace is made first.
    fn update_namespace(
        &self,
        name: &NamespaceName,
        etag: Option<&str>,
        allow_missing: bool,
        edit: impl Fn(&mut NamespaceSpec) + Send,
    ) -> impl Future<Output = Result<NamespaceInfo, Error>> + Send;

    /// Describes a namespace.
    fn namespace(
        &self,
        name: &NamespaceName,
    ) -> impl Future<Output = Result<NamespaceInfo, Error>> + Send;

    /// Namespaces whose names start with `prefix` and come after `after`, by name, at most `limit`.
    fn namespaces(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<NamespaceInfo>, Error>> + Send;

    /// Deletes a namespace; returns how many entries went with it.
    fn delete_namespace(
        &self,
        name: &NamespaceName,
        force: bool,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Empties a namespace in constant time; returns how many entries went.
    fn clear_namespace(
        &self,
        name: &NamespaceName,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Counters of one namespace.
    fn namespace_stats(
        &self,
        name: &NamespaceName,
    ) -> impl Future<Output = Result<NamespaceStats, Error>> + Send;

    /// The keys of a namespace that are used most, most used first, at most `most` of them: an
    /// estimate, of the last minute at most.
    fn hot_keys(
        &self,
        name: &NamespaceName,
        most: usize,
    ) -> impl Future<Output = Result<HotKeys, Error>> + Send;

    /// Counters of the store, and of each namespace by name.
    fn stats(&self) -> impl Future<Output = Result<StoreStats, Error>> + Send;

    /// Starts a compaction of the log, if none is running; with `wait` answers when it has ended.
    fn compact(&self, wait: bool) -> impl Future<Output = Result<Compacted, Error>> + Send;

    /// Begins to copy these namespaces, or all where none is named, as they are at one moment over
    /// all of them.
    fn export_snapshot(
        &self,
        namespaces: &[NamespaceName],
    ) -> impl Future<Output = Result<Self::Export, Error>> + Send;

    /// Begins to take in a copy. Fails with what would refuse a write.
    fn restore_snapshot(
        &self,
        options: RestoreOptions,
    ) -> impl Future<Output = Result<Self::Restore, Error>> + Send;

    /// The settings in force.
    fn settings(&self) -> Settings;

    /// Puts new settings in force, at once.
    fn apply_settings(&self, settings: Settings);

    /// Keeps a text of the layer above across restarts; the last one holds.
    fn persist(&self, text: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;

    /// The text last kept.
    fn persisted(&self) -> Option<Vec<u8>>;
}

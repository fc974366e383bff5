//! Everything that can stand between a caller and an answer.

use std::time::Duration;

use super::Refusal;
use crate::model::Version;

/// Why there is no answer. The text is for people; which status a variant becomes is decided in
/// `service`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nothing was changed: one command of an atomic batch was refused.
    #[error("operation {index}: {refusal}")]
    Refused {
        /// Which command.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// There is no such namespace, and it is not created on first use.
    #[error("there is no namespace {0:?}")]
    NamespaceNotFound(String),
    /// The name is taken.
    #[error("the namespace {0:?} exists already")]
    NamespaceExists(String),
    /// It has entries, and `force` was not given.
    #[error("the namespace {0:?} is not empty")]
    NamespaceNotEmpty(String),
    /// The default namespace cannot be deleted.
    #[error("the namespace \"default\" cannot be deleted")]
    NamespaceProtected,
    /// The etag given is not the current one.
    #[error("the namespace was changed by another; read it again")]
    EtagMismatch,
    /// There are as many namespaces as there may be.
    #[error("there are already {limit} namespaces")]
    TooManyNamespaces {
        /// Most there may be.
        limit: usize,
    },
    /// More operations in a second than the policy allows.
    #[error("the namespace's rate limit is reached")]
    RateLimited {
        /// When there is room again.
        retry_after: Duration,
    },
    /// The values asked for have more bytes than one answer may.
    #[error("the answer would be larger than {limit_bytes} bytes: ask for less at once")]
    TooMuch {
        /// Most it may have.
        limit_bytes: usize,
    },
    /// More is queued than there may be; nothing was executed.
    #[error("the server is overloaded")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The settings refuse all writes.
    #[error("the server takes no writes at the moment")]
    ReadOnly,
    /// The log's disk is full; nothing was executed.
    #[error("the disk of the log is full; reads go on, writes resume when there is room")]
    DiskFull,
    /// The log cannot be written; nothing was executed.
    #[error("the log cannot be written")]
    LogFailed,
    /// The log failed while the write was under way.
    #[error("the log failed while the write was under way: it may or may not have happened")]
    OutcomeUnknown,
    /// A watch cannot begin, or cannot go on.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A snapshot cannot be restored.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log is being replayed.
    #[error("the log is being replayed")]
    StartingUp {
        /// How much of it is done, 0 to 1.
        progress: f32,
    },
    /// The store is closing or closed; nothing was executed.
    #[error("the server is shutting down")]
    Stopped,
}

/// Why a watch cannot begin or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// What happened after the version to begin after is not known any more.
    #[error("changes are only known after version {}", oldest.0)]
    HistoryLost {
        /// The oldest version to begin after.
        oldest: Version,
    },
    /// The version to begin after is not one of this namespace yet.
    #[error("the namespace has not reached version {}", version.0)]
    VersionInFuture {
        /// As asked for.
        version: Version,
    },
    /// The watcher took so long that what comes next is not known any more.
    #[error("the reader of this watch is too slow: what comes next is not kept any more")]
    Lagging {
        /// The last version up to which it was told everything; `None`: there is none.
        last: Option<Version>,
    },
}

/// Why a snapshot cannot be restored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// A file is not a snapshot, or not a whole one. Nothing was changed.
    #[error("the snapshot is damaged at offset {offset}: {expected}")]
    Damaged {
        /// Where, in bytes of the file.
        offset: u64,
        /// What was expected there.
        expected: String,
    },
    /// A later server has written it. Nothing was changed.
    #[error("the snapshot has format {found}, this server reads up to {supported}")]
    Newer {
        /// The format it has.
        found: u32,
        /// The newest that can be read.
        supported: u32,
    },
    /// Names were asked for that are not in the snapshot. Nothing was changed.
    #[error("the snapshot has no namespace {}", quoted(.0))]
    NotInside(Vec<String>),
    /// Several namespaces of a snapshot would become one. Nothing was changed.
    #[error("several namespaces of the snapshot would become one")]
    RenamesCollide(Vec<(String, Vec<String>)>),
    /// A namespace would refuse an entry of a snapshot.
    #[error("namespace {namespace:?}: {refusal}")]
    Refused {
        /// Where it would go.
        namespace: String,
        /// Why not.
        refusal: Refusal,
    },
    /// A restore ended in the middle; repeating it does no harm.
    #[error("the restore ended after {restored} entries, and may be repeated: {cause}")]
    CutShort {
        /// Entries that were written.
        restored: u64,
        /// Why it ended.
        cause: Box<Error>,
    },
}

/// Names for a sentence: the first few of them.
fn quoted(names: &[String]) -> String {
    const NAMES_MAX: usize = 5;
    let mut words: Vec<String> =
        names.iter().take(NAMES_MAX).map(|name| format!("{name:?}")).collect();
    if names.len() > NAMES_MAX {
        words.push(format!("and {} others", names.len() - NAMES_MAX));
    }
    words.join(", ")
}

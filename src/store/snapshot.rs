//! Copies of namespaces that leave the store and come back: what is asked, what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use bytes::Bytes;

use super::Error;
use crate::model::{NamespaceName, UnixMillis};

/// A copy on its way out. When it is dropped, everything that was done for it ends.
pub trait Export: Send + 'static {
    /// The next bytes of the file, at most [`PIECE_BYTES_MAX`]; at the end, what the file holds.
    ///
    /// Errors: [`Error::DiskFull`] or [`Error::LogFailed`] where there is no room for what the
    /// caller has not taken yet; [`Error::Stopped`]. Nothing follows.
    fn next(&mut self) -> impl Future<Output = Result<Piece, Error>> + Send;
}

/// A copy on its way in. Dropped before [`Restore::finish`], it changes nothing; dropped while that
/// is waited for, it ends between two turns.
pub trait Restore: Send + 'static {
    /// Takes the next bytes of the file; waits while more is in hand than there should be.
    ///
    /// Errors: the file is found to be none, or there is no room for it. Nothing was changed.
    fn push(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Error>> + Send;

    /// Says that the file is complete, and answers when what it holds is there, as safe as each
    /// namespace asks.
    ///
    /// Errors: [`SnapshotError::CutShort`](super::SnapshotError::CutShort) where something was changed, any other where nothing was.
    fn finish(self) -> impl Future<Output = Result<Restored, Error>> + Send;
}

/// Most bytes of one [`Piece`]: some tens of microseconds of whoever hands it on, so that it holds up
/// nobody.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Something of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// There are no more.
    End(SnapshotSummary),
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Namespaces in it.
    pub namespaces: u64,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was the state of the store.
    pub moment: UnixMillis,
}

/// What a restore does about what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// Clears each namespace first.
    Replace,
    /// The snapshot's entries win, others stay.
    Overwrite,
    /// The live entries win, missing ones are added.
    SkipExisting,
}

/// What to restore, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What to do about what is there.
    pub mode: RestoreMode,
    /// Only these, by their names in the file; empty: all.
    pub namespaces: BTreeSet<NamespaceName>,
    /// Under other names: from that in the file to the new one.
    pub renames: BTreeMap<NamespaceName, NamespaceName>,
    /// Check and count, change nothing.
    pub validate_only: bool,
}

/// What came of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// What the file holds.
    pub summary: SnapshotSummary,
    /// Entries written; of a check, that would have been.
    pub restored: u64,
    /// Entries left out because a live one was there.
    pub skipped: u64,
    /// Entries left out because they had expired.
    pub expired: u64,
}

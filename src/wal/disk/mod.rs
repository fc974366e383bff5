//! What the log needs of an operating system: one flat directory of files.
//!
//! # How it works
//! [`Disk`] and [`File`] name every call that can fail, once and without retries. `real` passes
//! them on; `sim`, in tests only, keeps them in memory and plays power cuts and failing calls.
//!
//! # Why
//! What happens when the seventh call of a rotation fails, or when the power goes between a rename
//! and the sync of its directory, can only be tested where every call can be replaced.
//!
//! # Invariants
//! Nothing else in the package opens a file of the log. A name is a plain file name, never a path.
//!
//! # Not here
//! Retries, messages, meaning: `directory`.

#[cfg(test)]
mod content;
pub(super) mod real;
#[cfg(test)]
pub(super) mod sim;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// Whether a file is opened to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// Whether a lock keeps everyone out or only those who would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Exclusive,
    Shared,
}

/// Keeps a lock for as long as it lives.
pub(super) trait Guard: Debug + Send + Sync {}

/// A directory.
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes an empty file, also where there was one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file that exists.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;
    /// The names in it, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Gives a file another name, in place of whatever had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file out of the directory.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Locks the file `name`; `None`: another process has it. An exclusive lock makes the file.
    fn lock(&self, name: &str, sharing: Sharing) -> io::Result<Option<Box<dyn Guard>>>;
    /// Bits that nobody outside can guess.
    fn random(&self) -> u64;
}

/// An open file.
pub(super) trait File: Debug + Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    /// Reads up to `into.len()` bytes at `offset`; zero at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of `from` at `offset`, and says how much.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize>;
    /// Returns when content and length survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Reserves space so that the file is `bytes` long, zeros where nothing was written.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

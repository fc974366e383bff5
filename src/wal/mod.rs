//! The write-ahead log of all namespaces: facts in, the same facts back after a restart.
//!
//! # How it works
//! [`open`] takes the lock and hands out a [`Recovery`], which only reads; [`Recovery::finish`] makes
//! it a [`Log`], which only appends. `log` gathers records in memory, `writer` seals and writes
//! them, `keeper` syncs, moves the fence and changes segments; `compaction` replaces old segments by a
//! snapshot. The bytes are drawn in `format`; the facts inside them in `payload`; what is done about
//! a log that is not whole is the table in `ruling`. `inspect` and `repair` are the operator's tools.
//! [`archive`] is the form in which a snapshot leaves the server; a [`Spool`] is room beside the log.
//!
//! ```text
//! LOCK   MANIFEST   FENCE   00000007.snapshot   00000007.segment   00000008.segment   BALLAST
//!           │         │             ▲                   ▲ closed           ▲ last
//!           │         └─ how far ───┼───────────────────┼──────────────────┘
//!           └──────── names ────────┴───────────────────┘
//! ```
//!
//! # Why
//! "Cut at the first bad record" loses acknowledged data to a single flipped bit. What was synced is
//! remembered in the fence, so a tear (lawful, cut off) and damage (refused) can be told apart. One
//! log for all namespaces means one sync for all who wait.
//!
//! # Invariants
//! A record is one fact, whole or not there. Records come back in the order of their appends, without
//! a gap: what survives is a prefix, and it includes everything up to [`Log::durable`]. Nothing is
//! written to a segment before a durable manifest names it. After a failed sync the log does nothing
//! any more. A refusal changes nothing on disk. Files whose names are not ours are never touched.
//! No text of a client is part of a file name.
//!
//! # Not here
//! What facts mean: `engine`. When to sync, whom to wake, the clock: `store`. Everything here is
//! synchronous, and the time is an argument.

pub mod archive;
mod aside;
mod compaction;
mod cursor;
mod definition;
mod directory;
mod disk;
mod error;
mod fence;
mod first;
mod format;
mod inspect;
mod keeper;
mod log;
mod manifest;
mod payload;
mod reader;
mod record;
mod recovery;
mod repair;
mod ruling;
mod shared;
mod space;
mod spool;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::path::PathBuf;

pub use compaction::Compaction;
pub use error::{Error, Kind};
pub use inspect::{Item, Verified, dump, verify};
pub use log::{Log, Stats};
pub use recovery::{Recovery, Report, open};
pub use repair::{Repaired, repair};
pub use ruling::{Case, Damage};
pub use spool::Spool;

/// A position in the log: bytes appended since it was opened. It only grows; zero is before
/// everything.
pub type Lsn = u64;

/// Where the log lives and how much room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the log; made at the first start.
    pub dir: PathBuf,
    /// A segment that has grown to this many bytes is followed by the next one.
    pub segment_bytes: u64,
    /// With fewer free bytes on the disk than this the log is full.
    pub free_bytes_min: u64,
    /// With this many free bytes it stops being full.
    pub free_bytes_resume: u64,
}

impl Config {
    /// The defaults, in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            free_bytes_min: 32 << 20,
            free_bytes_resume: 64 << 20,
        }
    }
}

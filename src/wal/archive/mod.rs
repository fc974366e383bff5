//! An archive: a snapshot that leaves the server, as a file that explains itself.
//!
//! # How it works
//! [`Writer`] turns definitions and entries into bytes, [`Reader`] is fed bytes as they arrive and
//! gives the same back; neither touches a file. Server and tools share them. Numbers are little
//! endian, `v`, times and texts are as in the log (`payload`, `definition`), and so are the records:
//! their head is seeded with the file's salt, their body continues the record before, and the first
//! continues the header (`format`).
//!
//! ```text
//! archive   header 64 │ record │ record ... │ record with the footer, and nothing behind
//! header    magic 8 "PYKVSNAP" │ format 4 │ salt 4 │ moment 8 │ zero 36 │ checksum 4
//! payload   kind 1 │ by kind:
//!   1 definition   of a namespace, numbered 1, 2, 3 ... in this file; all before the first entry
//!   2 entries      namespace v │ entry, entry ...      (to the end of the payload)
//!   3 footer       namespaces 8 │ records before 8 │ entries 8
//! entry     flags 1 │ version v │ written 6 │ deadline 6 if flag 1 │ key bytes v │ value bytes v │ key │ value
//! ```
//!
//! # Why
//! The log's own snapshot will not do: it belongs to one directory, names what was dropped, and changes
//! whenever the log does. An archive has a format number of its own, and many entries to a record: the
//! log's form would cost 40 bytes an entry.
//!
//! # Invariants
//! No byte is unchecked, and none may be missing or too many. Lengths are believed only when their
//! checksum holds and they are within bounds; memory is bounded by [`RECORD_BYTES_MAX`], whatever a
//! file claims. What is given out keeps the limits of the model. The order of entries means nothing.
//!
//! # Not here
//! Which entries, and what becomes of them: `store`. Where the bytes go: `store`, `service`, `cli`.

mod entry;
mod error;
mod header;
mod reader;
mod writer;

pub use entry::Entry;
pub use error::{Error, Wrong};
pub use reader::{Item, Reader};
pub use writer::Writer;

use crate::model::UnixMillis;

/// The format written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// Most bytes of a record: a value of 3 MiB and a key of 4 KiB behind a record that was nearly full.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// Most namespaces in an archive: as many as a server may be set up for.
pub const NAMESPACES_MAX: usize = 1 << 20;

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The format it has.
    pub format: u32,
    /// When it was the state of the server.
    pub moment: UnixMillis,
    /// Namespaces in it.
    pub namespaces: u64,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

const DEFINITION: u8 = 1;
const ENTRIES: u8 = 2;
const FOOTER: u8 = 3;

/// What stands in the last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Footer {
    namespaces: u64,
    records: u64,
    entries: u64,
}

//! What is wrong with an archive, and where.

use std::fmt;

use super::super::record::Fault;

/// Why bytes are not an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are damaged, cut short, or something else altogether.
    #[error("the snapshot is damaged at offset {offset}: {wrong}")]
    Damaged {
        /// Where, in bytes of the file: the beginning of what does not hold.
        offset: u64,
        /// What was expected there.
        wrong: Wrong,
    },
    /// They were written by a later version.
    #[error("the snapshot has format {found}, this program reads up to {supported}")]
    Newer {
        /// The format it claims.
        found: u32,
        /// The newest that is read here.
        supported: u32,
    },
}

/// What was expected, and what was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not begin as a snapshot does.
    Magic,
    /// It is a file of the log, not one that was exported.
    LogFile,
    /// The checksum of the header fails.
    Header {
        /// As calculated.
        expected: u32,
        /// As written.
        found: u32,
    },
    /// The checksum in front of a record fails.
    RecordHead {
        /// As calculated.
        expected: u32,
        /// As written.
        found: u32,
    },
    /// The checksum over a record and the one before it fails.
    RecordBody {
        /// As calculated.
        expected: u32,
        /// As written.
        found: u32,
    },
    /// A record has another's number.
    RecordNumber {
        /// The next one.
        expected: u64,
        /// As written.
        found: u64,
    },
    /// A record is longer than any is written.
    RecordLength,
    /// The checksums hold, and the content is none that is ever written.
    Content {
        /// What was expected.
        expected: &'static str,
    },
    /// It ends before its footer.
    CutShort,
    /// It goes on behind its footer.
    GoesOn,
}

impl Wrong {
    pub(super) fn of_fault(fault: Fault) -> Wrong {
        match fault {
            Fault::Head { expected, found } => Wrong::RecordHead { expected, found },
            Fault::Body { expected, found } => Wrong::RecordBody { expected, found },
            Fault::Sequence { expected, found } => Wrong::RecordNumber { expected, found },
            // What a header says of a record that is longer than any.
            Fault::Short | Fault::End => Wrong::RecordLength,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sums = |what: &str, expected: u32, found: u32| {
            write!(f, "expected the checksum {expected:08x} {what}, found {found:08x}")
        };
        match *self {
            Wrong::Magic => f.write_str("expected the header of a snapshot"),
            Wrong::LogFile => {
                f.write_str("expected the header of a snapshot, found a file of the log")
            }
            Wrong::Header { expected, found } => sums("of the header", expected, found),
            Wrong::RecordHead { expected, found } => sums("of a record's header", expected, found),
            Wrong::RecordBody { expected, found } => sums("of a record", expected, found),
            Wrong::RecordNumber { expected, found } => {
                write!(f, "expected record {expected}, found record {found}")
            }
            Wrong::RecordLength => {
                write!(f, "expected a record of at most {} bytes", super::RECORD_BYTES_MAX)
            }
            Wrong::Content { expected } => write!(f, "expected {expected}"),
            Wrong::CutShort => f.write_str("expected more: the file is cut short"),
            Wrong::GoesOn => f.write_str("expected the end of the file"),
        }
    }
}

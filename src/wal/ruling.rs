//! What recovery decides when the log is not whole: the table, and the message for the operator.
//!
//! A power cut may leave any part of what was not yet synced, in any order: such a *tear* is lawful,
//! was promised to nobody, and is cut off. Everything else is *damage*: something acknowledged may be
//! lost, so the log refuses and changes nothing. The two look alike in the bytes; what tells them
//! apart is F, how far the last segment is *known* to have been durable: the highest of the fence
//! file, the manifest, and the fence in any later record whose salted header holds. D is the first
//! offset where no record can be read.
//!
//! | case | what the reader meets | decision |
//! |---|---|---|
//! | `Whole` | only zeros, or nothing, from D on; F <= D | go on at D |
//! | `Torn` | other bytes from D on; F <= D | keep them aside, cut at D, go on |
//! | `BelowFence` | D < F, the fence file says so | refuse |
//! | `ShortOfFence` | the file ends before F | refuse |
//! | `ProvenByRecord` | D < F, a later record says so | refuse |
//! | `ClosedDamaged` | a record of a closed segment cannot be read, or its end is not the manifest's | refuse |
//! | `ClosedShort` | a closed segment or snapshot ends before the manifest says | refuse |
//! | `SnapshotDamaged` | a record of the snapshot cannot be read, or its footer disagrees | refuse |
//! | `HeaderDamaged` | the header of a segment or snapshot fails its checksum | refuse |
//! | `ForeignFile` | a sound header of another store, number, role or place in the chain | refuse |
//! | `FileMissing` | the manifest names a file that is not there | refuse |
//! | `ManifestMissing` | files of a log without a manifest, and not a first start cut short | refuse |
//! | `ManifestDamaged` | the manifest fails its checksum or contradicts itself | refuse |
//! | `ManifestBehind` | fence or segments are of a later state than the manifest | refuse |
//! | `FenceMissing` | no fence file | refuse |
//! | `FenceDamaged` | neither slot of the fence holds | refuse |
//! | `ForeignFence` | the fence is of another store | refuse |
//! | `Undecodable` | all checksums hold and the payload is no fact | refuse |
//!
//! Later records whose fence is at or below D prove nothing: sectors reach the disk in any order.
//! One case stays open: damage to what was synced last, less than a second before a power cut, is
//! ruled a tear where neither the fence file nor a later record had followed yet.

use std::fmt;
use std::path::{Path, PathBuf};

use super::record::Fault;

/// A row of the table that ends in "refuse".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table above says what each means, in the words of `meaning`")]
pub enum Case {
    BelowFence,
    ShortOfFence,
    ProvenByRecord,
    ClosedDamaged,
    ClosedShort,
    SnapshotDamaged,
    HeaderDamaged,
    ForeignFile,
    FileMissing,
    ManifestMissing,
    ManifestDamaged,
    ManifestBehind,
    FenceMissing,
    FenceDamaged,
    ForeignFence,
    Undecodable,
}

impl Case {
    fn meaning(self) -> &'static str {
        match self {
            Case::BelowFence => "what was known to be durable cannot be read",
            Case::ShortOfFence => "the file ends before what was known to be durable",
            Case::ProvenByRecord => "a later record proves that this was durable",
            Case::ClosedDamaged => "a closed segment is not as it was closed",
            Case::ClosedShort => "the file is shorter than the manifest says",
            Case::SnapshotDamaged => "the snapshot is not as it was written",
            Case::HeaderDamaged => "the header fails its checksum",
            Case::ForeignFile => "the file belongs to another place or another store",
            Case::FileMissing => "the manifest names this file and it is not there",
            Case::ManifestMissing => "there are files of a log and no manifest",
            Case::ManifestDamaged => "the manifest fails its checksum or contradicts itself",
            Case::ManifestBehind => "the manifest is older than the other files",
            Case::FenceMissing => "the fence is not there",
            Case::FenceDamaged => "no slot of the fence holds",
            Case::ForeignFence => "the fence belongs to another store",
            Case::Undecodable => "the checksums hold and the content has no meaning",
        }
    }
}

/// Damage: where, what, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The row of the table.
    pub case: Case,
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// The sequence number expected there, where records are concerned.
    pub sequence: Option<u64>,
    /// Checksums expected and found, where one failed.
    pub checksums: Option<(u32, u32)>,
    /// Records beyond whose headers are sound, where they were counted.
    pub beyond: Option<u64>,
    /// The command to run next.
    pub next: String,
}

impl Damage {
    /// Damage of a whole file of `directory` that only a backup mends.
    pub(super) fn of_file(case: Case, path: PathBuf, directory: &Path) -> Damage {
        let directory_text = directory.display();
        let next = format!("restore a backup, then pykv wal verify --data-dir {directory_text}");
        Damage { case, path, offset: 0, sequence: None, checksums: None, beyond: None, next }
    }

    /// Damage in a segment, at `offset`; the next step is a cut there, if the loss is accepted.
    pub(super) fn of_segment(
        case: Case,
        path: PathBuf,
        directory: &Path,
        segment: u32,
        offset: u64,
    ) -> Damage {
        let directory = directory.display();
        let next = format!(
            "pykv wal repair --data-dir {directory} --truncate {segment}:{offset} --accept-loss"
        );
        Damage { case, path, offset, sequence: None, checksums: None, beyond: None, next }
    }

    /// The same, with what was expected where the reader stopped.
    pub(super) fn stopped_by(mut self, fault: Fault, sequence: u64) -> Damage {
        self.sequence = Some(sequence);
        self.checksums = match fault {
            Fault::Head { expected, found } | Fault::Body { expected, found } => {
                Some((expected, found))
            }
            Fault::End | Fault::Short | Fault::Sequence { .. } => None,
        };
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { case, path, offset, .. } = self;
        write!(f, "{} is damaged at offset {offset}: {}", path.display(), case.meaning())?;
        write!(f, " ({case:?}")?;
        if let Some(sequence) = self.sequence {
            write!(f, "; sequence {sequence}")?;
        }
        if let Some((expected, found)) = self.checksums {
            write!(f, "; checksum {found:08x}, expected {expected:08x}")?;
        }
        if let Some(beyond) = self.beyond {
            write!(f, "; {beyond} records beyond can be read")?;
        }
        write!(f, "); nothing was changed; next: {}", self.next)
    }
}

/// What the reader met in the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// D: the first offset where no record can be read.
    pub(super) readable_to: u64,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
    /// Behind the last byte from D on that is not zero; D if there is none.
    pub(super) used_to: u64,
    /// The highest fence in a record at or beyond D whose header holds; zero if there is none.
    pub(super) fence_beyond: u64,
    /// How far fence file and manifest know the segment to be durable.
    pub(super) fence: u64,
}

/// What is to be done about the end of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Whole,
    Torn,
    Refuse(Case),
}

/// The upper five rows of the table.
pub(super) fn rule(seen: &Observed) -> Ruling {
    if seen.file_bytes < seen.fence {
        Ruling::Refuse(Case::ShortOfFence)
    } else if seen.readable_to < seen.fence {
        Ruling::Refuse(Case::BelowFence)
    } else if seen.readable_to < seen.fence_beyond {
        Ruling::Refuse(Case::ProvenByRecord)
    } else if seen.readable_to < seen.used_to {
        Ruling::Torn
    } else {
        Ruling::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_ruled_as_the_table_says() {
        let check = |(fence, file_bytes, used_to, fence_beyond), expected: Ruling| {
            let seen = Observed { readable_to: 100, file_bytes, used_to, fence_beyond, fence };
            assert_eq!(rule(&seen), expected, "{seen:?}");
        };
        check((64, 100, 100, 0), Ruling::Whole);
        check((100, 900, 100, 0), Ruling::Whole);
        check((64, 900, 180, 0), Ruling::Torn);
        check((100, 900, 180, 100), Ruling::Torn);
        check((101, 900, 180, 0), Ruling::Refuse(Case::BelowFence));
        check((101, 100, 100, 0), Ruling::Refuse(Case::ShortOfFence));
        check((100, 900, 180, 101), Ruling::Refuse(Case::ProvenByRecord));
    }
}

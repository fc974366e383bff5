//! The bytes on disk, format 2. Every number is little endian.
//!
//! ```text
//! segment   ┌────────┬────────┬────────┬────────┬─ ─ ─ ─ ─ ─ ─ ─
//! (snapshot)│ header │ record │ record │ record │ zeros, reserved
//!           └────────┴────────┴────────┴────────┴─ ─ ─ ─ ─ ─ ─ ─
//!           0        64       each a multiple of 8 bytes long
//!
//! header    magic 8 │ format 4 │ salt 4 │ store 16 │ number 4 │ role 4 │
//!           first sequence 8 │ chain before 4 │ zero 8 │ checksum 4
//!
//! record    ┌─────────┬──────────┬────────────┬─────────┬────────┬────────┬─────────┬───────┐
//!           │ magic 4 │ length 4 │ sequence 8 │ fence 8 │ head 4 │ body 4 │ payload │ zeros │
//!           └─────────┴──────────┴────────────┴─────────┴────────┴────────┴─────────┴───────┘
//!           0         4          8            16        24       28       32        to 8
//! ```
//!
//! | field | why it is there |
//! |---|---|
//! | salt | random per file, the seed of every `head`: a client cannot store bytes that pass as a record |
//! | store | random per directory: a file of another store is told apart |
//! | number | the one in the file's name: files that were swapped are told apart |
//! | chain before | the `body` of the last record of the segment before; checks that none is missing |
//! | length | of the payload, without padding; believed only when `head` holds and it fits the file |
//! | sequence | exactly one more than that of the record before, also across segments |
//! | fence | how far this segment was durable when the record was written: whatever fails below was lost, not torn |
//! | head | CRC-32C of bytes 0 to 24, seeded with the salt |
//! | body | CRC-32C of `head`, the `body` before, payload and padding: records cannot move or be left out |
//!
//! The `body` before the first record of a file is the checksum of the file's header. No byte of a
//! file before the end of its last record is unchecked. A snapshot is a file of the same form whose
//! sequence begins at 1 and whose last record is a footer. What is in a payload: `payload`.
//!
//! The format changes only with a new number: [`FORMAT`] is what is written, and everything from 1
//! to it is read. A file of a later format is refused, never guessed at. A log whose last segment is
//! of an earlier one goes on in a new segment, so that a file holds only what its number promises.
//!
//! | format | what it brought |
//! |---|---|
//! | 1 | |
//! | 2 | the fact `reached` |

use super::ruling::Case;

/// The format written, and the newest that is read.
pub(super) const FORMAT: u32 = 2;
/// Bytes of the header of a segment or snapshot.
pub(super) const HEADER_BYTES: u64 = 64;
/// Bytes of the header of a record.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// Largest payload. One operation is one record: a batch is at most 4 MiB on the wire, and the
/// evictions it causes name keys of at most 4 KiB.
pub(super) const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const MAGIC: [u8; 8] = *b"PYKVLOG\0";

/// What a file of records is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A part of the log.
    Segment,
    /// The state at a moment, as facts.
    Snapshot,
}

/// The first 64 bytes of a segment or snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// [`FORMAT`] in what is written.
    pub(super) format: u32,
    pub(super) role: Role,
    pub(super) salt: u32,
    pub(super) store: u128,
    pub(super) number: u32,
    pub(super) first_sequence: u64,
    pub(super) chain_before: u32,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; 64] {
        let role: u32 = match self.role {
            Role::Segment => 1,
            Role::Snapshot => 2,
        };
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.number.to_le_bytes());
        bytes[36..40].copy_from_slice(&role.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.chain_before.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header. Errors: `Header` if its checksum fails, `Format` if it is of a later one.
    pub(super) fn decode(bytes: &[u8; 64]) -> Result<FileHeader, Unreadable> {
        if bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(Unreadable::Damaged(Case::HeaderDamaged));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        let role = match u32_at(bytes, 36) {
            1 => Role::Segment,
            2 => Role::Snapshot,
            _ => return Err(Unreadable::Damaged(Case::HeaderDamaged)),
        };
        Ok(FileHeader {
            format,
            role,
            salt: u32_at(bytes, 12),
            store: u128_at(bytes, 16),
            number: u32_at(bytes, 32),
            first_sequence: u64_at(bytes, 40),
            chain_before: u32_at(bytes, 48),
        })
    }

    /// The chain that the first record of the file continues.
    pub(super) fn chain(&self) -> u32 {
        u32_at(&self.encode(), 60)
    }
}

/// Why bytes that should be one of our structures are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged(Case),
    /// Of this later format.
    Newer(u32),
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array_at(bytes, at))
}

/// Whether `bytes` begin as a segment or a snapshot of the log does.
pub(super) fn is_of_the_log(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// A length of something in memory; this program runs where those have 64 bits.
pub(super) fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("lengths in memory fit the address space")
}

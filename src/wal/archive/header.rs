//! The first 64 bytes of an archive.

use super::{Error, FORMAT, Wrong};
use crate::model::UnixMillis;
use crate::wal::format::{HEADER_BYTES, is_of_the_log, u32_at, u64_at};
use crate::wal::record::Position;

const MAGIC: [u8; 8] = *b"PYKVSNAP";

/// Where the checksum stands, and what it is over.
const CHECKSUM_AT: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) salt: u32,
    pub(super) moment: UnixMillis,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.moment.as_millis().to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; 64]) -> Result<Header, Error> {
        let damaged = |wrong| Err(Error::Damaged { offset: 0, wrong });
        if is_of_the_log(bytes) {
            return damaged(Wrong::LogFile);
        }
        if bytes[..8] != MAGIC {
            return damaged(Wrong::Magic);
        }
        let expected = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        let found = u32_at(bytes, CHECKSUM_AT);
        if expected != found {
            return damaged(Wrong::Header { expected, found });
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(Error::Newer { found: format, supported: FORMAT });
        }
        let moment = UnixMillis::from_millis(u64_at(bytes, 16));
        let header = Header { format, salt: u32_at(bytes, 12), moment };
        // What is not used is zero, and what is used has one form.
        if header.encode() != *bytes || format == 0 {
            return damaged(Wrong::Content { expected: "a header of format 1" });
        }
        Ok(header)
    }

    /// Where the first record belongs.
    pub(super) fn start(&self) -> Position {
        let chain = u32_at(&self.encode(), CHECKSUM_AT);
        Position { salt: self.salt, chain, sequence: 1, offset: HEADER_BYTES }
    }
}

/// Whether `bytes` could be the beginning of an archive; for a refusal as soon as it is certain.
pub(super) fn may_begin_with(bytes: &[u8]) -> bool {
    let known = bytes.len().min(MAGIC.len());
    bytes[..known] == MAGIC[..known]
}

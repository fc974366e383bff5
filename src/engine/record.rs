//! The bytes of one entry: a packed header, the key, the value.

use std::borrow::Cow;

use crate::model::{Change, Mutation, UnixMillis, Version};

/// Bytes in front of the key.
pub(super) const HEADER_BYTES: usize = 28;
/// Records begin at multiples of this, so that a location needs three bits less.
pub(super) const GRANULE_BYTES: usize = 8;
/// A deadline field that says "never"; no [`UnixMillis`] reaches it.
const NEVER: u64 = (1 << 48) - 1;

/// What stands in front of key and value.
///
/// Shape, little-endian: slot 4, version 7, written 6, deadline 6, key length 2, value length 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The slot that points here; a record whose slot points elsewhere is garbage.
    pub(super) slot: u32,
    pub(super) version: Version,
    pub(super) written: UnixMillis,
    pub(super) deadline: Option<UnixMillis>,
    pub(super) key_bytes: usize,
    pub(super) value_bytes: usize,
}

/// An entry where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) version: Version,
    pub(super) written: UnixMillis,
    pub(super) deadline: Option<UnixMillis>,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Bytes that a record of this key and value takes, rounded up to a granule.
pub(super) const fn footprint(key_bytes: usize, value_bytes: usize) -> usize {
    (HEADER_BYTES + key_bytes + value_bytes).next_multiple_of(GRANULE_BYTES)
}

impl Header {
    /// Bytes that the whole record takes.
    pub(super) const fn footprint(&self) -> usize {
        footprint(self.key_bytes, self.value_bytes)
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let deadline = self.deadline.map_or(NEVER, UnixMillis::as_millis);
        bytes[0..4].copy_from_slice(&self.slot.to_le_bytes());
        bytes[4..11].copy_from_slice(&self.version.0.to_le_bytes()[..7]);
        bytes[11..17].copy_from_slice(&self.written.as_millis().to_le_bytes()[..6]);
        bytes[17..23].copy_from_slice(&deadline.to_le_bytes()[..6]);
        bytes[23..25].copy_from_slice(&self.key_bytes.to_le_bytes()[..2]);
        bytes[25..28].copy_from_slice(&self.value_bytes.to_le_bytes()[..3]);
        bytes
    }

    /// Reads the header that `bytes` begins with.
    #[inline]
    pub(super) fn decode(bytes: &[u8]) -> Header {
        let bytes = bytes.first_chunk::<HEADER_BYTES>().expect("a record begins with a header");
        let deadline = number(bytes, 17, 6);
        Header {
            slot: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            version: Version(number(bytes, 4, 7)),
            written: UnixMillis::from_millis(number(bytes, 11, 6)),
            deadline: (deadline != NEVER).then(|| UnixMillis::from_millis(deadline)),
            key_bytes: usize::from(u16::from_le_bytes([bytes[23], bytes[24]])),
            value_bytes: u32::from_le_bytes([bytes[25], bytes[26], bytes[27], 0]) as usize,
        }
    }
}

impl<'a> Record<'a> {
    /// Reads the record that `bytes` begins with.
    #[inline]
    pub(super) fn decode(bytes: &'a [u8]) -> Record<'a> {
        let header = Header::decode(bytes);
        let (key, rest) = bytes[HEADER_BYTES..].split_at(header.key_bytes);
        Record {
            version: header.version,
            written: header.written,
            deadline: header.deadline,
            key,
            value: &rest[..header.value_bytes],
        }
    }

    /// The key as text.
    pub(super) fn key_text(&self) -> &'a str {
        std::str::from_utf8(self.key).expect("keys are stored from text")
    }

    /// The mutation that makes this entry again.
    pub(super) fn as_mutation(&self) -> Mutation<'a> {
        let change = Change::Set {
            key: Cow::Borrowed(self.key_text()),
            value: Cow::Borrowed(self.value),
            deadline: self.deadline,
            written: self.written,
        };
        Mutation { version: self.version, change }
    }

    /// Whether the entry can still be read at `now`.
    #[inline]
    pub(super) fn is_live(&self, now: UnixMillis) -> bool {
        self.deadline.is_none_or(|deadline| deadline > now)
    }
}

/// The little-endian number of `len` bytes, at most eight, at `at`; both are constants after
/// inlining, so this becomes one load and one mask.
#[inline]
fn number(bytes: &[u8; HEADER_BYTES], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word) & ((1 << (8 * len)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let check = |header: Header| {
            let mut bytes = header.encode().to_vec();
            bytes.resize(header.footprint(), 0);
            assert_eq!(Header::decode(&bytes), header);
        };
        let low = Header {
            slot: 0,
            version: Version(1),
            written: UnixMillis::ZERO,
            deadline: None,
            key_bytes: 1,
            value_bytes: 0,
        };
        check(low);
        check(Header {
            slot: u32::MAX - 1,
            version: Version::MAX,
            written: UnixMillis::MAX,
            deadline: Some(UnixMillis::MAX),
            key_bytes: 4096,
            value_bytes: 3 << 20,
        });
        check(Header { deadline: Some(UnixMillis::ZERO), ..low });
    }
}

//! Records: begun by whoever appends, sealed by whoever writes, checked by whoever reads.
//!
//! An appender only copies a payload behind an unfinished header, under the lock of the buffer. What
//! depends on the file and on order (sequence, fence, checksums) is filled in just before the
//! bytes are written. So appending stays short, and the log may move on to another segment at any
//! record.

use super::format::{ALIGNMENT, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, u32_at, u64_at};

const MAGIC: [u8; 4] = *b"\xc5KVr";

/// Starts a record at the end of `buffer`; returns where. The payload is to be appended.
pub(super) fn begin(buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    start
}

/// Ends the record that began at `start`, whose payload is the rest of `buffer`.
///
/// # Panics
/// On a payload above the maximum: the limits of requests exclude it.
pub(super) fn end(buffer: &mut Vec<u8>, start: usize) {
    let payload_bytes = buffer.len() - start - RECORD_HEADER_BYTES;
    assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "a record of {payload_bytes} bytes");
    let length = u32::try_from(payload_bytes).expect("checked above");
    buffer[start..start + 4].copy_from_slice(&MAGIC);
    buffer[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    buffer.resize(start + whole_bytes(payload_bytes), 0);
}

/// Bytes of a record with header and padding.
pub(super) fn whole_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Where a file stands: what the next record must continue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Of the file.
    pub(super) salt: u32,
    /// The `body` of the record before.
    pub(super) chain: u32,
    /// Of the next record.
    pub(super) sequence: u64,
    /// Where the next record begins.
    pub(super) offset: u64,
}

/// Seals every record in `records`, which will be written at `position.offset`, and moves
/// `position` behind them.
pub(super) fn seal(records: &mut [u8], position: &mut Position, fence: u64) {
    let mut rest = records;
    while !rest.is_empty() {
        let payload_bytes = u32_at(rest, 4) as usize;
        let (record, behind) = rest.split_at_mut(whole_bytes(payload_bytes));
        record[8..16].copy_from_slice(&position.sequence.to_le_bytes());
        record[16..24].copy_from_slice(&fence.to_le_bytes());
        let head = crc32c::crc32c_append(position.salt, &record[..24]);
        record[24..28].copy_from_slice(&head.to_le_bytes());
        let body = body_checksum(head, position.chain, &record[RECORD_HEADER_BYTES..]);
        record[28..32].copy_from_slice(&body.to_le_bytes());
        position.chain = body;
        position.sequence += 1;
        position.offset += record.len() as u64;
        rest = behind;
    }
}

fn body_checksum(head: u32, chain: u32, padded_payload: &[u8]) -> u32 {
    let before = (u64::from(chain) << 32) | u64::from(head);
    crc32c::crc32c_append(crc32c::crc32c(&before.to_le_bytes()), padded_payload)
}

/// Why there is no record where one could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file ends here.
    End,
    /// Fewer bytes are left than a header or the record has.
    Short,
    /// The header's checksum fails.
    Head { expected: u32, found: u32 },
    /// The checksum of header, payload and the record before fails.
    Body { expected: u32, found: u32 },
    /// A sound header with another record's number.
    Sequence { expected: u64, found: u64 },
}

/// A record's header whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) payload_bytes: usize,
    pub(super) sequence: u64,
    pub(super) fence: u64,
    head: u32,
    body: u32,
}

impl Header {
    /// Reads a header at the start of `bytes`, at least [`RECORD_HEADER_BYTES`].
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Result<Header, Fault> {
        let (expected, found) = (crc32c::crc32c_append(salt, &bytes[..24]), u32_at(bytes, 24));
        if bytes[..4] != MAGIC || expected != found {
            return Err(Fault::Head { expected, found });
        }
        let payload_bytes = u32_at(bytes, 4) as usize;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Fault::Short);
        }
        Ok(Header {
            payload_bytes,
            sequence: u64_at(bytes, 8),
            fence: u64_at(bytes, 16),
            head: found,
            body: u32_at(bytes, 28),
        })
    }

    /// Bytes of the record with header and padding.
    pub(super) fn whole_bytes(&self) -> usize {
        whole_bytes(self.payload_bytes)
    }

    /// Checks the rest of the record against what came before it; returns the new chain.
    pub(super) fn check(&self, record: &[u8], position: &Position) -> Result<u32, Fault> {
        if self.sequence != position.sequence {
            let expected = position.sequence;
            return Err(Fault::Sequence { expected, found: self.sequence });
        }
        let expected = body_checksum(self.head, position.chain, &record[RECORD_HEADER_BYTES..]);
        if expected == self.body {
            Ok(expected)
        } else {
            Err(Fault::Body { expected, found: self.body })
        }
    }
}

/// Whether a header could begin with these bytes: a quick test before the checksum.
pub(super) fn may_begin_at(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Position = Position { salt: 7, chain: 9, sequence: 5, offset: 64 };

    /// Two records, sealed, and where the first ends.
    fn history(payloads: [&[u8]; 2]) -> (Vec<u8>, usize) {
        let mut records = Vec::new();
        let mut ends = Vec::new();
        for payload in payloads {
            let start = begin(&mut records);
            records.extend_from_slice(payload);
            end(&mut records, start);
            ends.push(records.len());
        }
        seal(&mut records, &mut START.clone(), 64);
        (records, ends[0])
    }

    /// How many of the records hold, and why not the next.
    fn check(mut records: &[u8]) -> (u64, Option<Fault>) {
        let mut position = START;
        while !records.is_empty() {
            let read = Header::decode(records, position.salt).and_then(|header| {
                let chain = header.check(&records[..header.whole_bytes()], &position)?;
                Ok((header.whole_bytes(), chain))
            });
            match read {
                Ok((bytes, chain)) => {
                    position = Position { chain, sequence: position.sequence + 1, ..position };
                    records = &records[bytes..];
                }
                Err(fault) => return (position.sequence - START.sequence, Some(fault)),
            }
        }
        (position.sequence - START.sequence, None)
    }

    #[test]
    fn a_record_holds_only_behind_the_one_it_was_written_behind() {
        let (one, cut) = history([b"first", b"second"]);
        let (two, _) = history([b"other", b"second"]);
        assert_eq!(check(&one), (2, None));
        let mixed = [&one[..cut], &two[cut..]].concat();
        assert!(matches!(check(&mixed), (1, Some(Fault::Body { .. }))));
        let repeated = [&one[..cut], &one[..cut]].concat();
        assert_eq!(check(&repeated), (1, Some(Fault::Sequence { expected: 6, found: 5 })));
        assert_eq!(check(&one[cut..]), (0, Some(Fault::Sequence { expected: 5, found: 6 })));
    }

    #[test]
    fn padding_is_checked_too() {
        let (mut records, cut) = history([b"first", b"second"]);
        records[cut - 1] = 1;
        assert!(matches!(check(&records), (0, Some(Fault::Body { .. }))));
    }
}

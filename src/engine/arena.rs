//! Where the bytes lie: chunks filled front to back, emptied by moving what is left.

use super::record::{GRANULE_BYTES, HEADER_BYTES, Header, Record};
use super::slots::Slots;

/// Largest chunk that records share, in bytes. Offsets in it take 15 bits of a location. A chunk of
/// 1 MiB costs 7 % more under mimalloc; this size costs nothing.
const CHUNK_BYTES_MAX: usize = 1 << 18;
/// Smallest one: what a namespace of a few entries occupies.
const CHUNK_BYTES_MIN: usize = 4096;
const OFFSET_BITS: u32 = (CHUNK_BYTES_MAX / GRANULE_BYTES).trailing_zeros();
/// A chunk is an eighth of what is alive, and a record above an eighth of a chunk gets one of its
/// own: then the rest that a chunk cannot use stays small.
const SHARE: usize = 8;
/// Bytes examined for each byte of garbage made. At one eighth of garbage the emptiest chunk is at
/// most seven eighths full, so that eight bytes examined free one at least.
const BYTES_EXAMINED_PER_FREED: usize = 8;

struct Chunk {
    bytes: Vec<u8>,
    /// Bytes of records that are not garbage.
    live: usize,
}

/// The records of a namespace. A location is a chunk's number and, in granules, an offset in it.
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// Numbers of chunks that are gone.
    vacant: Vec<u32>,
    /// The chunk being filled.
    open: Option<u32>,
    /// The chunk being emptied, and how far that has come.
    emptied: Option<(u32, usize)>,
    /// Bytes in all chunks.
    filled: usize,
    /// Bytes of records that are not garbage.
    live: usize,
    /// Bytes still to examine for the garbage made so far.
    debt: usize,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena {
            chunks: Vec::new(),
            vacant: Vec::new(),
            open: None,
            emptied: None,
            filled: 0,
            live: 0,
            debt: 0,
        }
    }

    /// Writes a record and says where it is.
    pub(super) fn push(&mut self, header: &Header, key: &[u8], value: &[u8]) -> u64 {
        let encoded = header.encode();
        self.append(header.footprint(), &[&encoded, key, value])
    }

    #[inline]
    pub(super) fn record(&self, location: u64) -> Record<'_> {
        let (chunk, offset) = split(location);
        Record::decode(&self.chunks[chunk].bytes[offset..])
    }

    /// A record as it lies there, padding included.
    pub(super) fn bytes(&self, location: u64) -> &[u8] {
        let (chunk, offset) = split(location);
        let bytes = &self.chunks[chunk].bytes[offset..];
        &bytes[..Header::decode(bytes).footprint()]
    }

    pub(super) fn header(&self, location: u64) -> Header {
        let (chunk, offset) = split(location);
        Header::decode(&self.chunks[chunk].bytes[offset..])
    }

    /// Something of the record's first lines, to bring them into the cache.
    #[inline]
    pub(super) fn peek(&self, location: u64) -> u8 {
        let (chunk, offset) = split(location);
        let bytes = &self.chunks[chunk].bytes;
        // Most records lie in two or three lines, and the value is needed as well.
        let beyond = |far: usize| bytes.get(offset + far).copied().unwrap_or_default();
        bytes[offset] ^ beyond(64) ^ beyond(128)
    }

    /// Replaces header and value of a record that keeps key and footprint; `None`: the value stays.
    pub(super) fn overwrite(&mut self, location: u64, header: &Header, value: Option<&[u8]>) {
        let (chunk, offset) = split(location);
        let bytes = &mut self.chunks[chunk].bytes[offset..offset + header.footprint()];
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        if let Some(value) = value {
            let from = HEADER_BYTES + header.key_bytes;
            bytes[from..from + value.len()].copy_from_slice(value);
        }
    }

    /// Makes garbage of a record.
    pub(super) fn free(&mut self, location: u64) {
        let size = self.header(location).footprint();
        let (chunk, _) = split(location);
        self.debt = self.debt.saturating_add(size * BYTES_EXAMINED_PER_FREED);
        self.forget(chunk, size);
        if self.chunks[chunk].live == 0 {
            self.release(chunk);
        }
    }

    /// Moves records out of the emptiest chunk until `budget` bytes were examined, as long as more
    /// than an eighth is garbage. Returns whether there is more to do.
    pub(super) fn compact(&mut self, slots: &mut Slots, budget: usize) -> bool {
        let mut left = budget;
        while left > 0 {
            let Some((chunk, offset)) = self.emptied.or_else(|| self.emptiest()) else {
                self.debt = 0;
                return false;
            };
            self.emptied = Some((chunk, offset));
            left = self.empty(chunk, offset, left, slots);
        }
        true
    }

    /// What the garbage made so far asks for, at most `budget` bytes; nothing to do costs nothing.
    pub(super) fn pay(&mut self, slots: &mut Slots, budget: usize) {
        if self.debt == 0 || (self.emptied.is_none() && !self.is_wasteful()) {
            return;
        }
        let share = self.debt.min(budget);
        self.debt -= share;
        self.compact(slots, share);
    }

    /// Bytes held, garbage included.
    #[cfg(test)]
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    fn is_wasteful(&self) -> bool {
        self.filled - self.live > (self.filled / 8).max(CHUNK_BYTES_MIN)
    }

    /// Examines up to `budget` bytes of `chunk` from `offset` on; returns the budget left.
    fn empty(&mut self, chunk: u32, offset: usize, budget: usize, slots: &mut Slots) -> usize {
        let (at, mut offset, mut left) = (chunk as usize, offset, budget);
        // Taken out meanwhile: what is moved goes to other chunks.
        let bytes = std::mem::take(&mut self.chunks[at].bytes);
        while left > 0 && offset < bytes.len() {
            let header = Header::decode(&bytes[offset..]);
            let size = header.footprint();
            let is_current =
                slots.is_used(header.slot) && slots.location(header.slot) == join(chunk, offset);
            if is_current {
                let location = self.append(size, &[&bytes[offset..offset + size]]);
                slots.set_location(header.slot, location);
                self.forget(at, size);
            }
            offset += size;
            left = left.saturating_sub(size);
        }
        let is_done = offset >= bytes.len();
        self.chunks[at].bytes = bytes;
        self.emptied = Some((chunk, offset));
        if is_done {
            assert!(self.chunks[at].live == 0, "every record of an emptied chunk was moved");
            self.release(at);
        }
        left
    }

    /// The closed chunk with the largest share of garbage, if emptying it is worth it.
    fn emptiest(&mut self) -> Option<(u32, usize)> {
        if !self.is_wasteful() {
            return None;
        }
        let garbage = |chunk: &Chunk| chunk.bytes.len() - chunk.live;
        let worst = (0_u32..).zip(&self.chunks).filter(|(_, chunk)| garbage(chunk) > 0).max_by(
            |(_, a), (_, b)| (garbage(a) * b.bytes.len()).cmp(&(garbage(b) * a.bytes.len())),
        )?;
        let number = worst.0;
        if self.open == Some(number) {
            self.open = None;
        }
        Some((number, 0))
    }

    fn append(&mut self, size: usize, parts: &[&[u8]]) -> u64 {
        let chunk = self.chunk_for(size);
        let bytes = &mut self.chunks[chunk as usize].bytes;
        let offset = bytes.len();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes.resize(offset + size, 0);
        self.chunks[chunk as usize].live += size;
        self.live += size;
        self.filled += size;
        join(chunk, offset)
    }

    /// A chunk with room for `size` bytes at its end.
    fn chunk_for(&mut self, size: usize) -> u32 {
        let wanted = (self.live / SHARE).next_power_of_two();
        let capacity = wanted.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        if size > capacity / SHARE {
            return self.add(size);
        }
        if let Some(open) = self.open {
            let bytes = &self.chunks[open as usize].bytes;
            if bytes.capacity() - bytes.len() >= size {
                return open;
            }
        }
        let chunk = self.add(capacity);
        self.open = Some(chunk);
        chunk
    }

    fn add(&mut self, capacity: usize) -> u32 {
        let chunk = Chunk { bytes: Vec::with_capacity(capacity), live: 0 };
        if let Some(number) = self.vacant.pop() {
            self.chunks[number as usize] = chunk;
            return number;
        }
        let number = u32::try_from(self.chunks.len()).expect("chunks fit a 25-bit number");
        assert!(number < 1 << (40 - OFFSET_BITS), "a namespace holds at most eight tebibytes");
        self.chunks.push(chunk);
        number
    }

    fn forget(&mut self, chunk: usize, size: usize) {
        self.chunks[chunk].live -= size;
        self.live -= size;
    }

    /// Gives back a chunk in which nothing is alive.
    fn release(&mut self, chunk: usize) {
        let number = u32::try_from(chunk).expect("chunks fit a 25-bit number");
        self.filled -= self.chunks[chunk].bytes.len();
        self.chunks[chunk].bytes = Vec::new();
        self.vacant.push(number);
        if self.open == Some(number) {
            self.open = None;
        }
        if self.emptied.is_some_and(|(emptied, _)| emptied == number) {
            self.emptied = None;
        }
    }
}

#[inline]
fn split(location: u64) -> (usize, usize) {
    let mask = (1 << OFFSET_BITS) - 1;
    let chunk = usize::try_from(location >> OFFSET_BITS).expect("chunks fit a 25-bit number");
    let offset = usize::try_from(location & mask).expect("offsets fit 15 bits");
    (chunk, offset * GRANULE_BYTES)
}

#[inline]
fn join(chunk: u32, offset: usize) -> u64 {
    u64::from(chunk) << OFFSET_BITS | (offset / GRANULE_BYTES) as u64
}

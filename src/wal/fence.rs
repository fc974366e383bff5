//! The fence: how far the log is known to be durable.
//!
//! ```text
//! FENCE     slot 0 at 0 │ slot 1 at 4096
//! slot      magic 4 │ checksum 4 │ store 8 │ count 8 │ generation 8 │ segment 4 │ clean 4 │
//!           offset 8 │ sequence 8 │ wall time 8
//! ```
//!
//! The two slots are written in turn, each only after a sync that succeeded: a fence never claims
//! more than is durable, and a cut while one is written leaves the other. The slot with the higher
//! count holds. They are 4096 bytes apart so that no sector holds both.

use super::Error;
use super::directory::{Directory, FENCE, Handle};
use super::disk::Access;
use super::format::{u32_at, u64_at};
use super::ruling::{Case, Damage};
use crate::model::UnixMillis;

const MAGIC: [u8; 4] = *b"KVFn";
const SLOT_BYTES: usize = 64;
const SLOTS_APART: u64 = 4096;

/// What is known to be durable, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// The lower half of the store's number.
    pub(super) store: u64,
    /// Of the manifest in force.
    pub(super) generation: u64,
    /// This segment is durable up to `offset`; those before it are closed.
    pub(super) segment: u32,
    pub(super) offset: u64,
    /// Of the last record that is durable; zero: there is none.
    pub(super) sequence: u64,
    /// The highest wall time seen.
    pub(super) wall: UnixMillis,
    /// Whether the log was closed here.
    pub(super) clean: bool,
}

impl Fence {
    fn encode(&self, count: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.store.to_le_bytes());
        bytes[16..24].copy_from_slice(&count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.segment.to_le_bytes());
        bytes[36..40].copy_from_slice(&u32::from(self.clean).to_le_bytes());
        bytes[40..48].copy_from_slice(&self.offset.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.wall.as_millis().to_le_bytes());
        let checksum = checksum(&bytes);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(u64, Fence)> {
        if bytes.len() < SLOT_BYTES || bytes[..4] != MAGIC || u32_at(bytes, 4) != checksum(bytes) {
            return None;
        }
        let fence = Fence {
            store: u64_at(bytes, 8),
            generation: u64_at(bytes, 24),
            segment: u32_at(bytes, 32),
            clean: u32_at(bytes, 36) != 0,
            offset: u64_at(bytes, 40),
            sequence: u64_at(bytes, 48),
            wall: UnixMillis::from_millis(u64_at(bytes, 56)),
        };
        Some((u64_at(bytes, 16), fence))
    }
}

/// Over everything but the checksum itself.
fn checksum(slot: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot[..4]), &slot[8..SLOT_BYTES])
}

/// The file that keeps the fence.
#[derive(Debug)]
pub(super) struct FenceFile {
    handle: Handle,
    /// Fences written to the store so far.
    count: u64,
}

impl FenceFile {
    /// Makes the file with a first fence and syncs it; its name is not durable yet.
    pub(super) fn create(directory: &Directory, fence: &Fence) -> Result<(), Error> {
        let handle = directory.create(FENCE)?;
        // The first fence goes into slot 1; slot 0 takes its space now, so that a full disk cannot stop a fence later.
        handle.write(&[0; SLOT_BYTES], 0)?;
        let mut file = FenceFile { handle, count: 0 };
        file.write(fence)
    }

    /// Reads the fence. Errors: damage.
    pub(super) fn load(directory: &Directory, access: Access) -> Result<(FenceFile, Fence), Error> {
        let damaged =
            |case| Error::from(Damage::of_file(case, directory.path_of(FENCE), directory.path()));
        let handle = directory.find(FENCE, access)?.ok_or_else(|| damaged(Case::FenceMissing))?;
        let mut newest: Option<(u64, Fence)> = None;
        for offset in [0, SLOTS_APART] {
            let mut slot = [0; SLOT_BYTES];
            let read = handle.read(&mut slot, offset)?;
            let found = Fence::decode(&slot[..read]);
            newest = [newest, found].into_iter().flatten().max_by_key(|(count, _)| *count);
        }
        let (count, fence) = newest.ok_or_else(|| damaged(Case::FenceDamaged))?;
        Ok((FenceFile { handle, count }, fence))
    }

    /// Writes and syncs `fence` into the slot not in force.
    ///
    /// Errors: the one in force stays so; after a failed sync the log must end.
    pub(super) fn write(&mut self, fence: &Fence) -> Result<(), Error> {
        let count = self.count + 1;
        self.handle.write(&fence.encode(count), (count % 2) * SLOTS_APART)?;
        self.handle.sync()?;
        self.count = count;
        Ok(())
    }
}

//! The content of a simulated file: what is there, and what a power cut may leave of it.

use std::collections::BTreeSet;

const SECTOR_BYTES: usize = 512;

/// Numbers that look random; the same for the same seed.
#[derive(Clone, Debug)]
pub(in crate::wal) struct Random(pub(in crate::wal) u64);

impl Random {
    pub(in crate::wal) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is above zero.
    pub(in crate::wal) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// True in `percent` of all cases.
    pub(in crate::wal) fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A file, in sectors of 512 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors that the next sync would keep.
    pub(super) dirty: BTreeSet<usize>,
}

impl Content {
    pub(super) fn touch(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector);
        }
    }

    pub(super) fn after_cut(&self, random: &mut Random, kept_percent: usize) -> Vec<u8> {
        let (short, long) =
            (self.now.len().min(self.durable.len()), self.now.len().max(self.durable.len()));
        let bytes = match random.below(3) {
            0 => self.durable.len(),
            1 => self.now.len(),
            _ => short + random.below(long - short + 1),
        };
        let mut after = self.durable.clone();
        after.resize(bytes, 0);
        for sector in &self.dirty {
            if random.is(kept_percent) {
                self.copy_sector(*sector, &mut after);
            }
        }
        after
    }

    fn copy_sector(&self, sector: usize, into: &mut [u8]) {
        let start = sector * SECTOR_BYTES;
        for at in start..(start + SECTOR_BYTES).min(into.len()) {
            into[at] = self.now.get(at).copied().unwrap_or(0);
        }
    }

    pub(super) fn sync(&mut self) {
        let mut durable = std::mem::take(&mut self.durable);
        durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.copy_sector(sector, &mut durable);
        }
        self.durable = durable;
    }
}

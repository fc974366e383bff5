//! The order of keys: slots in blocks, sorted by the keys they stand for.

/// Most slots in a block; a full one is split in two.
const BLOCK_SLOTS_MAX: usize = 512;
/// A block with fewer is joined with its neighbour if both fit well into one.
const BLOCK_SLOTS_MIN: usize = 96;

/// Four bytes and a part for each entry; keys are read where they lie.
///
/// It is built a few slots at a time: slots below `built` are in it, whatever happens to their
/// entries meanwhile, and the others come later.
pub(super) struct Index {
    blocks: Vec<Vec<u32>>,
    built: u32,
    is_complete: bool,
}

/// A place in the order; only good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    block: usize,
    at: usize,
}

impl Index {
    /// The index of nothing, not complete before [`Index::mark_built`] says so.
    pub(super) fn new() -> Index {
        Index { blocks: Vec::new(), built: 0, is_complete: false }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The first slot that was not looked at yet.
    pub(super) fn built(&self) -> u32 {
        self.built
    }

    /// Says that all slots below `built` are in, and, if `is_complete`, that these are all.
    pub(super) fn mark_built(&mut self, built: u32, is_complete: bool) {
        self.built = built;
        self.is_complete = is_complete;
    }

    /// Whether an entry in `slot` belongs into the index now.
    pub(super) fn covers(&self, slot: u32) -> bool {
        self.is_complete || slot < self.built
    }

    pub(super) fn insert<'a>(&mut self, slot: u32, key_of: impl Fn(u32) -> &'a [u8]) {
        let key = key_of(slot);
        let place = self.partition(&key_of, |other| other < key);
        if self.blocks.is_empty() {
            self.blocks.push(Vec::new());
        }
        // Between two blocks it goes to the end of the first.
        let place = match place.at {
            0 if place.block > 0 => {
                Place { block: place.block - 1, at: self.blocks[place.block - 1].len() }
            }
            _ => place,
        };
        let block = &mut self.blocks[place.block];
        if block.len() == block.capacity() {
            block.reserve_exact((block.len() / 4).max(4).min(BLOCK_SLOTS_MAX - block.len()));
        }
        block.insert(place.at, slot);
        if block.len() == BLOCK_SLOTS_MAX {
            // Keys that come in order leave full blocks behind.
            let is_last = place.at + 1 == block.len();
            let cut = if is_last { BLOCK_SLOTS_MAX - 8 } else { BLOCK_SLOTS_MAX / 2 };
            let rest = block.split_off(cut);
            block.shrink_to_fit();
            self.blocks.insert(place.block + 1, rest);
        }
    }

    /// Takes out `slot`, whose key is still readable.
    pub(super) fn remove<'a>(&mut self, slot: u32, key_of: impl Fn(u32) -> &'a [u8]) {
        let key = key_of(slot);
        let place = self.partition(&key_of, |other| other < key);
        let block = &mut self.blocks[place.block];
        let removed = block.remove(place.at);
        assert!(removed == slot, "the index is in the order of keys");
        let len = block.len();
        if len == 0 {
            self.blocks.remove(place.block);
        } else if len < BLOCK_SLOTS_MIN
            && let Some(next) = self.blocks.get(place.block + 1)
            && next.len() + len <= BLOCK_SLOTS_MAX / 2
        {
            let next = self.blocks.remove(place.block + 1);
            self.blocks[place.block].extend(next);
        }
    }

    /// The first place whose key is not `below`; `below` holds for a first part of the order.
    pub(super) fn partition<'a>(
        &self,
        key_of: impl Fn(u32) -> &'a [u8],
        below: impl Fn(&[u8]) -> bool,
    ) -> Place {
        // The block before the first one that begins beyond: the border lies in it or at its end.
        let beyond = self.blocks.partition_point(|block| below(key_of(block[0])));
        let Some(block) = beyond.checked_sub(1) else { return Place { block: 0, at: 0 } };
        let at = self.blocks[block].partition_point(|slot| below(key_of(*slot)));
        if at == self.blocks[block].len() {
            Place { block: beyond, at: 0 }
        } else {
            Place { block, at }
        }
    }

    /// Slots from `place` on, in order.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let blocks = self.blocks.get(place.block..).unwrap_or_default();
        blocks.iter().flatten().skip(place.at).copied()
    }

    /// How many slots lie between two places.
    pub(super) fn distance(&self, from: Place, to: Place) -> usize {
        let blocks = self.blocks.get(from.block..to.block).unwrap_or_default();
        (blocks.iter().map(Vec::len).sum::<usize>() + to.at).saturating_sub(from.at)
    }
}

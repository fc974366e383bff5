//! The numbers by which entries are known: where each lies, and when it was last used.

/// Slots in a page; pages never move, so growing copies nothing.
const PAGE_SLOTS: usize = 4096;
const PAGE_SHIFT: u32 = PAGE_SLOTS.trailing_zeros();
/// Ends the list of free slots.
const END: u64 = (1 << 40) - 1;
/// The largest stamp; stamp zero means that the slot is free.
pub(super) const STAMP_MAX: u64 = (1 << 40) - 1;

/// Ten bytes: 40 bits of location and 40 of stamp, in halves that need no padding.
#[derive(Clone, Copy)]
#[repr(C, packed(2))]
struct Slot {
    location_low: u32,
    stamp_low: u32,
    location_high: u8,
    stamp_high: u8,
}

/// All slots, and a list through the free ones.
///
/// An entry keeps its slot for as long as it lives, whatever is written to it and wherever its
/// bytes move. The location of a free slot is the number of the next free one.
pub(super) struct Slots {
    pages: Vec<Vec<Slot>>,
    /// Slots ever made; every number below is valid.
    len: u32,
    free: u64,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { pages: Vec::new(), len: 0, free: END }
    }

    /// One more than the highest slot ever handed out.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// A free slot, still marked as such: it is used from its first stamp on.
    pub(super) fn allocate(&mut self) -> u32 {
        if let Ok(slot) = u32::try_from(self.free)
            && self.free != END
        {
            self.free = self.location(slot);
            return slot;
        }
        let slot = self.len;
        // The last number stands for "none" in the hash table.
        assert!(slot < u32::MAX - 1, "a namespace holds at most four billion entries");
        let (page, _) = place(slot);
        if page == self.pages.len() {
            // The first page grows with its content, for the many namespaces with few entries.
            let capacity = if page == 0 { 4 } else { PAGE_SLOTS };
            self.pages.push(Vec::with_capacity(capacity));
        }
        self.pages[page].push(Slot {
            location_low: 0,
            stamp_low: 0,
            location_high: 0,
            stamp_high: 0,
        });
        self.len += 1;
        slot
    }

    pub(super) fn release(&mut self, slot: u32) {
        let next = self.free;
        self.set_stamp(slot, 0);
        self.set_location(slot, next);
        self.free = u64::from(slot);
    }

    #[inline]
    pub(super) fn location(&self, slot: u32) -> u64 {
        let (page, at) = place(slot);
        let slot = self.pages[page][at];
        u64::from(slot.location_high) << 32 | u64::from(slot.location_low)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of a 40-bit number")]
    pub(super) fn set_location(&mut self, slot: u32, location: u64) {
        debug_assert!(location < 1 << 40);
        let (page, at) = place(slot);
        let slot = &mut self.pages[page][at];
        slot.location_low = location as u32;
        slot.location_high = (location >> 32) as u8;
    }

    /// When the entry was last used, as a count of uses; zero for a free slot.
    #[inline]
    pub(super) fn stamp(&self, slot: u32) -> u64 {
        let (page, at) = place(slot);
        let slot = self.pages[page][at];
        u64::from(slot.stamp_high) << 32 | u64::from(slot.stamp_low)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a 40-bit number")]
    pub(super) fn set_stamp(&mut self, slot: u32, stamp: u64) {
        debug_assert!(stamp <= STAMP_MAX);
        let (page, at) = place(slot);
        let slot = &mut self.pages[page][at];
        slot.stamp_low = stamp as u32;
        slot.stamp_high = (stamp >> 32) as u8;
    }

    /// Whether an entry lives in `slot`.
    #[inline]
    pub(super) fn is_used(&self, slot: u32) -> bool {
        self.stamp(slot) != 0
    }

    /// The used ones among the slots from `from` up to, not including, `to`.
    pub(super) fn used(&self, from: u32, to: u32) -> impl Iterator<Item = u32> + '_ {
        (from..to.min(self.len)).filter(|slot| self.is_used(*slot))
    }
}

#[inline]
fn place(slot: u32) -> (usize, usize) {
    ((slot >> PAGE_SHIFT) as usize, slot as usize % PAGE_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_slot_is_handed_out_again_before_a_new_one() {
        let mut slots = Slots::new();
        for expected in 0..10_000 {
            assert_eq!(slots.allocate(), expected);
            slots.set_stamp(expected, STAMP_MAX - u64::from(expected));
            slots.set_location(expected, END - u64::from(expected));
        }
        slots.release(4097);
        slots.release(3);
        assert!(!slots.is_used(3));
        assert_eq!((slots.allocate(), slots.allocate(), slots.allocate()), (3, 4097, 10_000));
        assert_eq!(slots.stamp(9_999), STAMP_MAX - 9_999);
        assert_eq!(slots.location(9_999), END - 9_999);
        assert_eq!(std::mem::size_of::<Slot>(), 10);
    }
}

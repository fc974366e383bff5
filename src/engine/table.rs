//! The hash table: from a key's hash to its slot, eight bytes a place.

/// A place that was never taken.
const EMPTY: u64 = 0;
/// A place of the table before whose content has moved on; searches go past it.
const MOVED: u64 = u32::MAX as u64;
/// Places of the table before that each insertion moves.
const PLACES_MOVED: usize = 128;
const PLACES_MIN: usize = 8;
/// Most slots that room is made for at once: more is not zeroed in a turn.
const RESERVED_MAX: usize = 1 << 22;

/// Linear probing over words of 32 bits of hash and 32 bits of slot + 1.
///
/// A place follows from the hash by multiplication, so any number of places will do and growing
/// never looks at a key. It grows by a third at 85 % and moves a few places with each insertion:
/// no insertion waits for the whole table.
pub(super) struct Table {
    places: Vec<u64>,
    /// The table before growing or shrinking, up to `moved` already empty.
    before: Vec<u64>,
    moved: usize,
    len: usize,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { places: Vec::new(), before: Vec::new(), moved: 0, len: 0 }
    }

    /// The slot filed under `hash` for which `is_it` says yes.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        locate(&self.places, hash, 0, &mut is_it)
            .or_else(|| locate(&self.before, hash, self.moved, &mut is_it))
            .map(|(_, slot)| slot)
    }

    /// The first word of `hash`'s run, to bring its line into the cache.
    #[inline]
    pub(super) fn peek(&self, hash: u32) -> u64 {
        self.places.get(home(hash, self.places.len())).copied().unwrap_or(EMPTY)
    }

    /// Makes room for `more` slots at once, as far as that is likely to be needed.
    pub(super) fn reserve(&mut self, more: usize) {
        let wanted = self.len.saturating_add(more.min(RESERVED_MAX)) / 17 * 20 + PLACES_MIN;
        if self.before.is_empty() && wanted > self.places.len() {
            self.resize(wanted);
        }
    }

    /// Files `slot`, which must not be there yet.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        let limit = self.places.len() / 20 * 17;
        if self.len + 1 > limit.min(self.places.len().saturating_sub(1)) {
            let wanted = self.places.len() + self.places.len() / 3;
            self.resize(wanted.max(PLACES_MIN));
        }
        self.move_on(PLACES_MOVED);
        place(&mut self.places, word(hash, slot));
        self.len += 1;
    }

    /// Takes `slot` out.
    ///
    /// # Panics
    /// If it is not there.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let mut is_it = |found| found == slot;
        if let Some((at, _)) = locate(&self.places, hash, 0, &mut is_it) {
            close_gap(&mut self.places, at);
        } else {
            let found = locate(&self.before, hash, self.moved, &mut is_it);
            let (at, _) = found.expect("only filed slots are removed");
            self.before[at] = MOVED;
        }
        self.len -= 1;
        self.move_on(PLACES_MOVED);
        if self.before.is_empty() && self.places.len() > 64 && self.len < self.places.len() / 4 {
            self.resize(self.places.len() / 2);
        }
    }

    fn resize(&mut self, places: usize) {
        self.move_on(usize::MAX);
        self.before = std::mem::replace(&mut self.places, vec![EMPTY; places]);
        self.moved = 0;
    }

    /// Moves on up to `count` places of the table before.
    fn move_on(&mut self, count: usize) {
        if self.before.is_empty() {
            return;
        }
        let end = self.moved.saturating_add(count).min(self.before.len());
        for at in self.moved..end {
            let word = std::mem::replace(&mut self.before[at], MOVED);
            if word != EMPTY && word != MOVED {
                place(&mut self.places, word);
            }
        }
        self.moved = end;
        if end == self.before.len() {
            self.before = Vec::new();
        }
    }
}

fn word(hash: u32, slot: u32) -> u64 {
    u64::from(hash) << 32 | (u64::from(slot) + 1)
}

#[inline]
fn home(hash: u32, places: usize) -> usize {
    ((u128::from(hash) * places as u128) >> 32) as usize
}

/// Finds a slot by `hash` in `places`, of which the first `moved` have moved on.
#[inline]
fn locate(
    places: &[u64],
    hash: u32,
    moved: usize,
    is_it: &mut impl FnMut(u32) -> bool,
) -> Option<(usize, u32)> {
    if places.is_empty() {
        return None;
    }
    // A run that began among the moved places, or wraps around into them, goes on behind them.
    let mut at = home(hash, places.len()).max(moved);
    for _ in moved..places.len() {
        let word = places[at];
        if word == EMPTY {
            return None;
        }
        if (word >> 32) as u32 == hash && word & MOVED != MOVED {
            #[expect(clippy::cast_possible_truncation, reason = "the low half is the slot + 1")]
            let slot = (word as u32) - 1;
            if is_it(slot) {
                return Some((at, slot));
            }
        }
        at += 1;
        if at == places.len() {
            at = moved;
        }
    }
    None
}

/// Puts `word` into the first empty place of its run; there must be one in the table.
fn place(places: &mut [u64], word: u64) {
    let mut at = home((word >> 32) as u32, places.len());
    while places[at] != EMPTY {
        at = if at + 1 == places.len() { 0 } else { at + 1 };
    }
    places[at] = word;
}

/// Empties the place `gap`, and moves back what stood behind it only because it was taken.
fn close_gap(places: &mut [u64], gap: usize) {
    let len = places.len();
    let distance = |from: usize, to: usize| if to >= from { to - from } else { to + len - from };
    let (mut gap, mut at) = (gap, gap);
    loop {
        at = if at + 1 == len { 0 } else { at + 1 };
        let word = places[at];
        if word == EMPTY {
            break;
        }
        if distance(home((word >> 32) as u32, len), at) >= distance(gap, at) {
            places[gap] = word;
            gap = at;
        }
    }
    places[gap] = EMPTY;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The table against a map, growing and shrinking through several sizes; few hashes, so that
    /// runs are long and wrap around the end.
    #[test]
    fn what_was_filed_is_found_and_nothing_else() {
        for spread in [0x0101_0101_u32, 0xffff_fff1, 7] {
            let mut table = Table::new();
            let mut filed = BTreeSet::new();
            let hash_of = |slot: u32| (slot / 3).wrapping_mul(spread);
            let mut random = 12345_u32;
            for step in 0..6_000_u32 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let slot = (random >> 8) % 600;
                let grows = step % 3_000 < 1_500;
                let is_filed = filed.contains(&slot);
                if is_filed && (!grows || random.is_multiple_of(5)) {
                    filed.remove(&slot);
                    table.remove(hash_of(slot), slot);
                } else if !is_filed && grows {
                    filed.insert(slot);
                    table.insert(hash_of(slot), slot);
                }
                let found = table.find(hash_of(slot), |found| found == slot);
                assert_eq!(found, filed.contains(&slot).then_some(slot), "step {step}");
            }
            for slot in 0..600 {
                let found = table.find(hash_of(slot), |found| found == slot);
                assert_eq!(found, filed.contains(&slot).then_some(slot));
            }
        }
    }
}

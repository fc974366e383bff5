//! Who was used least recently: growing stamps, and candidates found by looking around.

use super::slots::{STAMP_MAX, Slots};

/// Up to this many slots are looked through at once.
const SLOTS_AT_ONCE: u32 = 4096;
/// Slots looked at for each eviction; candidates are a sixteenth of all entries, and the search for
/// new ones begins when half are left, so thirty-two would be just enough.
const SLOTS_PER_EVICTION: u32 = 64;
/// Slots looked at in a turn while the namespace only comes near its limit.
const SLOTS_PER_TURN: u32 = 256;
/// Stamps looked at to guess which one a sixteenth of the entries lies below.
const SAMPLE: u32 = 256;

/// A search for every entry with a stamp in (`horizon`, `through`].
struct Survey {
    through: u64,
    next_slot: u32,
    found: Vec<(u64, u32)>,
}

/// The order of use.
///
/// A use writes the next stamp into the entry's slot and nothing else. `candidates` holds every
/// entry whose stamp is at most `horizon`, so the smallest one that still bears the stamp it was
/// filed with is the least recently used of all: whoever is not filed was used later.
pub(super) struct Recency {
    next: u64,
    /// Largest stamp first.
    candidates: Vec<(u64, u32)>,
    horizon: u64,
    /// How many candidates the last search brought.
    supply: usize,
    survey: Option<Survey>,
    /// Evictions since the last look around.
    evictions: u32,
}

impl Recency {
    pub(super) fn new() -> Recency {
        Recency {
            next: 1,
            candidates: Vec::new(),
            horizon: 0,
            supply: 0,
            survey: None,
            evictions: 0,
        }
    }

    /// Marks the entry in `slot` as used just now.
    #[inline]
    pub(super) fn stamp(&mut self, slots: &mut Slots, slot: u32) {
        if self.next == STAMP_MAX {
            self.renumber(slots);
        }
        slots.set_stamp(slot, self.next);
        self.next += 1;
    }

    pub(super) fn count_eviction(&mut self) {
        self.evictions = self.evictions.saturating_add(1);
    }

    /// Whether evictions happened since the last look around.
    pub(super) fn is_evicting(&self) -> bool {
        self.evictions > 0
    }

    /// Looks a little further for candidates, if they run short.
    pub(super) fn look_around(&mut self, slots: &Slots) {
        while let Some((stamp, slot)) = self.candidates.last()
            && slots.stamp(*slot) != *stamp
        {
            self.candidates.pop();
        }
        let evictions = std::mem::take(&mut self.evictions);
        if self.survey.is_none() && self.candidates.len() > self.supply / 2 {
            return;
        }
        let budget =
            if slots.len() <= SLOTS_AT_ONCE || (self.candidates.is_empty() && evictions > 0) {
                u32::MAX
            } else {
                evictions.saturating_mul(SLOTS_PER_EVICTION).max(SLOTS_PER_TURN)
            };
        self.advance(slots, budget);
    }

    /// The least recently used entries, in order, for as long as the candidates last; then others
    /// are searched for on the spot.
    pub(super) fn oldest(&self) -> Oldest {
        Oldest { filed: self.candidates.len(), fetched: Vec::new(), at: 0, behind: self.horizon }
    }

    /// Gives all entries new stamps in the order of `rank`.
    pub(super) fn reorder(&mut self, slots: &mut Slots, mut rank: impl FnMut(u32) -> u64) {
        let mut order: Vec<(u64, u32)> =
            slots.used(0, slots.len()).map(|slot| (rank(slot), slot)).collect();
        order.sort_unstable();
        *self = Recency::new();
        for (_, slot) in order {
            slots.set_stamp(slot, self.next);
            self.next += 1;
        }
    }

    fn renumber(&mut self, slots: &mut Slots) {
        let stamps: Vec<u64> = (0..slots.len()).map(|slot| slots.stamp(slot)).collect();
        self.reorder(slots, |slot| stamps[slot as usize]);
    }

    fn advance(&mut self, slots: &Slots, budget: u32) {
        let through = self.guess(slots);
        let survey =
            self.survey.get_or_insert_with(|| Survey { through, next_slot: 0, found: Vec::new() });
        let end = survey.next_slot.saturating_add(budget).min(slots.len());
        for slot in survey.next_slot..end {
            let stamp = slots.stamp(slot);
            if stamp > self.horizon && stamp <= survey.through {
                survey.found.push((stamp, slot));
            }
        }
        survey.next_slot = end;
        if end == slots.len()
            && let Some(mut done) = self.survey.take()
        {
            done.found.sort_unstable_by(|a, b| b.cmp(a));
            self.supply = done.found.len();
            done.found.append(&mut self.candidates);
            self.candidates = done.found;
            self.horizon = done.through;
        }
    }

    /// A stamp that about a sixteenth of the entries lies below; below all of them in a small
    /// namespace.
    fn guess(&self, slots: &Slots) -> u64 {
        let latest = self.next - 1;
        if self.survey.is_some() || slots.len() <= SLOTS_AT_ONCE {
            return latest;
        }
        let step = slots.len() / SAMPLE;
        let first = u32::try_from(self.next % u64::from(step)).unwrap_or(0);
        let mut sample: Vec<u64> = (0..SAMPLE)
            .map(|n| slots.stamp(first + n * step))
            .filter(|stamp| *stamp > self.horizon)
            .collect();
        sample.sort_unstable();
        sample.get(sample.len() / 16).copied().unwrap_or(latest)
    }
}

/// Walks through entries from the least recently used one on, while nothing changes.
pub(super) struct Oldest {
    /// Candidates not yet seen; they are taken from the end.
    filed: usize,
    /// Entries behind the candidates, smallest stamp first.
    fetched: Vec<(u64, u32)>,
    at: usize,
    /// Every entry up to this stamp has been seen or is in `fetched`.
    behind: u64,
}

/// A place in an [`Oldest`], to come back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    filed: usize,
    at: usize,
}

impl Oldest {
    pub(super) fn mark(&self) -> Mark {
        Mark { filed: self.filed, at: self.at }
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        self.filed = mark.filed;
        self.at = mark.at;
    }

    /// The next entry.
    pub(super) fn next(&mut self, recency: &Recency, slots: &Slots) -> Option<u32> {
        while self.filed > 0 {
            self.filed -= 1;
            let (stamp, slot) = recency.candidates[self.filed];
            if slots.stamp(slot) == stamp {
                return Some(slot);
            }
        }
        if self.at == self.fetched.len() {
            self.fetch(slots);
        }
        let (_, slot) = self.fetched.get(self.at)?;
        self.at += 1;
        Some(*slot)
    }

    /// Finds the next entries by looking at all of them: what a turn does that needs more room
    /// than was prepared for. Each time it takes more of them, so a long walk stays cheap.
    fn fetch(&mut self, slots: &Slots) {
        let mut found: Vec<(u64, u32)> = (0..slots.len())
            .map(|slot| (slots.stamp(slot), slot))
            .filter(|(stamp, _)| *stamp > self.behind)
            .collect();
        let wanted = (1024 + self.fetched.len() * 3).min(found.len());
        if wanted < found.len() {
            found.select_nth_unstable(wanted);
            found.truncate(wanted);
        }
        found.sort_unstable();
        if let Some((stamp, _)) = found.last() {
            self.behind = *stamp;
        }
        self.fetched.append(&mut found);
    }
}

#[cfg(test)]
impl Recency {
    /// Moves on to just before the last stamp.
    pub(super) fn wear_out(&mut self) {
        self.next = STAMP_MAX - 3;
    }
}

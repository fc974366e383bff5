//! A cut: what was there at one moment, shown bit by bit while changes go on.
//!
//! A walk over the slots shows the entries where they stand. What is about to change before the walk
//! has come to it is saved as it was; a clear hands over all entries at once. So a cut costs memory
//! only for what changes while it is shown.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::Engine;
use super::entries::Entries;
use super::record::{Header, Record, footprint};
use crate::model::{Mutation, UnixMillis, Version};

/// What looking at a slot costs that shows nothing, in bytes of records shown in the same time.
const SLOT_BYTES: usize = 16;

/// Saved records are gathered in pieces, each as large as all before it, within these bounds: growing
/// copies nothing, and a namespace where little changes holds little.
const PIECE_BYTES_MIN: usize = 1 << 10;
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Names a cut of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutId(u64);

/// How far a cut has come.
pub(super) struct Cut {
    id: CutId,
    /// The last change that belongs to it.
    version: Version,
    /// Entries that had expired by then are no part of it.
    moment: UnixMillis,
    slots: Slots,
    saved: Saved,
    /// All entries, if they were cleared since; then there is nothing left to save.
    inherited: Option<Arc<Entries>>,
}

/// The slots that are still to be shown.
#[derive(Clone, Copy)]
struct Slots {
    next: u32,
    end: u32,
}

/// Entries as they were when the cut was made, which have changed since.
#[derive(Default)]
pub struct Saved(Vec<Vec<u8>>);

/// Entries that were cleared before they were shown: whoever has them shows them himself.
pub struct Heritage(Arc<Entries>, Remains);

/// What of a cut is in slots still to be shown.
#[derive(Clone, Copy)]
struct Remains {
    version: Version,
    moment: UnixMillis,
    slots: Slots,
}

/// What is left of a cut after a step.
#[derive(Debug)]
pub enum Rest {
    /// More, for another step.
    More,
    /// Nothing; the engine has forgotten the cut.
    Nothing,
    /// Everything left, to be shown without the engine, which has forgotten the cut.
    Elsewhere(Heritage),
}

impl Engine {
    /// Begins to keep what is live now, at `moment`, until it was shown by [`Engine::show`] or the
    /// cut is [dropped](Engine::drop_cut). Takes constant time.
    pub fn cut(&mut self, moment: UnixMillis) -> CutId {
        let id = CutId(self.next_cut);
        self.next_cut += 1;
        let slots = Slots { next: 0, end: self.entries.slots.len() };
        let (version, saved) = (self.version, Saved::default());
        self.cuts.push(Cut { id, version, moment, slots, saved, inherited: None });
        id
    }

    /// Shows `f` the next entries of `cut`, as facts with their own versions, about `budget_bytes`
    /// of them. Together with what is [saved](Saved::show) and [inherited](Heritage::show) each
    /// entry is shown exactly once, as it was when the cut was made.
    ///
    /// # Panics
    /// If there is no such cut.
    pub fn show(
        &mut self,
        cut: CutId,
        budget_bytes: usize,
        f: &mut dyn FnMut(&Mutation<'_>),
    ) -> (Saved, Rest) {
        let at = self.place_of(cut).expect("a cut is shown until nothing is left of it");
        let found = &mut self.cuts[at];
        let saved = mem::take(&mut found.saved);
        if let Some(entries) = found.inherited.take() {
            let heritage = Heritage(entries, found.remains());
            self.cuts.swap_remove(at);
            return (saved, Rest::Elsewhere(heritage));
        }
        let mut remains = found.remains();
        let is_over = remains.show(&self.entries, budget_bytes, f);
        found.slots = remains.slots;
        if is_over {
            self.cuts.swap_remove(at);
            return (saved, Rest::Nothing);
        }
        (saved, Rest::More)
    }

    /// Takes what was saved for `cut`, so that it does not pile up; nothing if the cut is over.
    pub fn take_saved(&mut self, cut: CutId) -> Saved {
        let at = self.place_of(cut);
        at.map(|at| mem::take(&mut self.cuts[at].saved)).unwrap_or_default()
    }

    /// Forgets `cut`. What it held is returned, to be dropped elsewhere: that may take long.
    pub fn drop_cut(&mut self, cut: CutId) -> impl Sized + use<> {
        self.place_of(cut).map(|at| self.cuts.swap_remove(at))
    }

    /// How many cuts it keeps.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.cuts.len()
    }

    /// Goes on with the cuts of `other`, an engine that is about to be given up.
    pub fn adopt_cuts(&mut self, other: &mut Engine) {
        if !other.cuts.is_empty() {
            let empty = Box::new(Entries::new());
            other.hand_over(empty);
            self.next_cut = self.next_cut.max(other.next_cut);
            self.cuts.append(&mut other.cuts);
        }
    }

    /// Puts `entries` in the place of those there are, which cuts still may need.
    pub(super) fn hand_over(&mut self, entries: Box<Entries>) -> Arc<Entries> {
        let old: Arc<Entries> = Arc::from(mem::replace(&mut self.entries, entries));
        for cut in self.cuts.iter_mut().filter(|cut| cut.inherited.is_none()) {
            cut.inherited = Some(Arc::clone(&old));
        }
        old
    }

    /// Saves the entry in `slot`, which is about to change, for the cuts that have not shown it.
    #[inline]
    pub(super) fn save(&mut self, slot: u32) {
        if !self.cuts.is_empty() {
            self.save_for_cuts(slot);
        }
    }

    fn save_for_cuts(&mut self, slot: u32) {
        let record = self.entries.record(slot);
        for cut in &mut self.cuts {
            if cut.inherited.is_none() && cut.remains().has(slot, &record) {
                let location = self.entries.slots.location(slot);
                cut.saved.push(self.entries.arena.bytes(location));
            }
        }
    }

    fn place_of(&self, cut: CutId) -> Option<usize> {
        self.cuts.iter().position(|found| found.id == cut)
    }
}

impl Cut {
    fn remains(&self) -> Remains {
        Remains { version: self.version, moment: self.moment, slots: self.slots }
    }
}

impl Remains {
    /// Whether the entry in `slot` is a part of the cut that has not been shown.
    fn has(&self, slot: u32, record: &Record<'_>) -> bool {
        (self.slots.next..self.slots.end).contains(&slot)
            && record.version <= self.version
            && record.is_live(self.moment)
    }

    /// Shows about `budget_bytes`; returns whether that was all.
    fn show(
        &mut self,
        entries: &Entries,
        budget_bytes: usize,
        f: &mut dyn FnMut(&Mutation<'_>),
    ) -> bool {
        let mut bytes = 0;
        while self.slots.next < self.slots.end {
            if bytes >= budget_bytes {
                return false;
            }
            let slot = self.slots.next;
            bytes += SLOT_BYTES;
            if entries.slots.is_used(slot) {
                let record = entries.record(slot);
                if self.has(slot, &record) {
                    f(&record.as_mutation());
                    bytes += footprint(record.key.len(), record.value.len());
                }
            }
            self.slots.next += 1;
        }
        true
    }
}

impl Saved {
    /// Shows all of it to `f`.
    pub fn show(&self, f: &mut dyn FnMut(&Mutation<'_>)) {
        for piece in &self.0 {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                f(&Record::decode(rest).as_mutation());
                rest = &rest[Header::decode(rest).footprint()..];
            }
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn push(&mut self, record: &[u8]) {
        let has_room = |piece: &&mut Vec<u8>| piece.capacity() - piece.len() >= record.len();
        match self.0.last_mut().filter(has_room) {
            Some(piece) => piece.extend_from_slice(record),
            None => {
                let usual = self.bytes().clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
                let mut piece = Vec::with_capacity(record.len().max(usual));
                piece.extend_from_slice(record);
                self.0.push(piece);
            }
        }
    }
}

impl Heritage {
    /// Shows `f` the next entries, about `budget_bytes` of them; returns whether that was all.
    pub fn show(&mut self, budget_bytes: usize, f: &mut dyn FnMut(&Mutation<'_>)) -> bool {
        self.1.show(&self.0, budget_bytes, f)
    }
}

impl fmt::Debug for Saved {
    /// Shows sizes only: keys and values are tenant data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saved({} bytes)", self.bytes())
    }
}

impl fmt::Debug for Heritage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heritage")
    }
}

//! The entries of a namespace with everything that finds them: the parts, kept in step.

use ahash::RandomState;

use super::arena::Arena;
use super::expiry::Expiry;
use super::index::Index;
use super::recency::Recency;
use super::record::{Header, Record, footprint};
use super::slots::Slots;
use super::table::Table;
use crate::model::{UnixMillis, Version};

/// What an entry costs beside its record, in bytes: 10 of slot, up to 12.6 in the hash table (8 at
/// the lowest load after growing), up to 5 for a deadline.
const BYTES_BESIDE_RECORD: u64 = 28;

/// What an entry is charged, in bytes.
pub(super) const fn charge(key_bytes: usize, value_bytes: usize) -> u64 {
    footprint(key_bytes, value_bytes) as u64 + BYTES_BESIDE_RECORD
}

/// An entry to be written, whole.
pub(super) struct Draft<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
    pub(super) deadline: Option<UnixMillis>,
    pub(super) written: UnixMillis,
    pub(super) version: Version,
}

/// All entries; slots name them.
pub(super) struct Entries {
    hasher: RandomState,
    pub(super) slots: Slots,
    pub(super) arena: Arena,
    pub(super) table: Table,
    pub(super) recency: Recency,
    pub(super) expiry: Expiry,
    pub(super) index: Option<Index>,
    /// Entries, expired ones that were not yet removed included.
    pub(super) keys: u64,
    /// What they are charged.
    pub(super) bytes: u64,
    /// How many of them have a deadline.
    mortal: usize,
}

impl Entries {
    pub(super) fn new() -> Entries {
        Entries {
            hasher: RandomState::new(),
            slots: Slots::new(),
            arena: Arena::new(),
            table: Table::new(),
            recency: Recency::new(),
            expiry: Expiry::new(),
            index: None,
            keys: 0,
            bytes: 0,
            mortal: 0,
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        (hasher.finish() >> 32) as u32
    }

    /// The slot of `key`, expired or not.
    #[inline]
    pub(super) fn find(&self, key: &str) -> Option<u32> {
        self.find_hashed(self.hash(key.as_bytes()), key)
    }

    #[inline]
    pub(super) fn find_hashed(&self, hash: u32, key: &str) -> Option<u32> {
        self.table.find(hash, |slot| self.record(slot).key == key.as_bytes())
    }

    /// The entry in `slot`, which must be in use.
    #[inline]
    pub(super) fn record(&self, slot: u32) -> Record<'_> {
        self.arena.record(self.slots.location(slot))
    }

    /// The deadline of the entry in `slot`, if there is an entry and it has one.
    pub(super) fn deadline(&self, slot: u32) -> Option<UnixMillis> {
        deadline_of(&self.slots, &self.arena, slot).map(|(deadline, _)| deadline)
    }

    /// What the entry in `slot` is charged.
    pub(super) fn charge(&self, slot: u32) -> u64 {
        let record = self.record(slot);
        charge(record.key.len(), record.value.len())
    }

    /// Writes an entry over the one in `slot`, or as a new one.
    pub(super) fn put(&mut self, slot: Option<u32>, draft: &Draft<'_>) {
        match slot {
            Some(slot) => self.replace(slot, draft),
            None => self.add(draft),
        }
    }

    /// Moves the deadline of the entry in `slot`.
    pub(super) fn touch(&mut self, slot: u32, deadline: Option<UnixMillis>, version: Version) {
        let location = self.slots.location(slot);
        let before = self.arena.header(location);
        let after = Header { deadline, version, ..before };
        self.arena.overwrite(location, &after, None);
        self.recency.stamp(&mut self.slots, slot);
        self.schedule(slot, before.deadline, deadline, after.written);
    }

    /// Removes the entry in `slot`.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(index) = &mut self.index
            && index.covers(slot)
        {
            index.remove(slot, |slot| self.arena.record(self.slots.location(slot)).key);
        }
        let record = self.record(slot);
        let hash = self.hash(record.key);
        let charge = charge(record.key.len(), record.value.len());
        let is_mortal = record.deadline.is_some();
        self.table.remove(hash, slot);
        self.arena.free(self.slots.location(slot));
        self.slots.release(slot);
        self.keys -= 1;
        self.bytes -= charge;
        self.mortal -= usize::from(is_mortal);
    }

    /// Adds up to `budget` slots to the order of keys; begins it if need be.
    pub(super) fn build_index(&mut self, budget: usize) {
        let index = self.index.get_or_insert_with(Index::new);
        if index.is_complete() {
            return;
        }
        let key_of = |slot| self.arena.record(self.slots.location(slot)).key;
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        let end = index.built().saturating_add(budget).min(self.slots.len());
        for slot in self.slots.used(index.built(), end) {
            index.insert(slot, key_of);
        }
        index.mark_built(end, end == self.slots.len());
    }

    fn add(&mut self, draft: &Draft<'_>) {
        let slot = self.slots.allocate();
        let (key, value) = (draft.key.as_bytes(), draft.value);
        let location = self.arena.push(&header(slot, draft), key, value);
        self.slots.set_location(slot, location);
        self.recency.stamp(&mut self.slots, slot);
        self.table.insert(self.hash(key), slot);
        if let Some(index) = &mut self.index
            && index.covers(slot)
        {
            index.insert(slot, |slot| self.arena.record(self.slots.location(slot)).key);
        }
        self.keys += 1;
        self.bytes += charge(key.len(), value.len());
        self.schedule(slot, None, draft.deadline, draft.written);
    }

    fn replace(&mut self, slot: u32, draft: &Draft<'_>) {
        let location = self.slots.location(slot);
        let before = self.arena.header(location);
        let after = header(slot, draft);
        if after.footprint() == before.footprint() {
            self.arena.overwrite(location, &after, Some(draft.value));
        } else {
            self.arena.free(location);
            let location = self.arena.push(&after, draft.key.as_bytes(), draft.value);
            self.slots.set_location(slot, location);
        }
        self.recency.stamp(&mut self.slots, slot);
        self.bytes -= charge(before.key_bytes, before.value_bytes);
        self.bytes += charge(after.key_bytes, after.value_bytes);
        self.schedule(slot, before.deadline, after.deadline, after.written);
    }

    /// Files the entry's new deadline, unless its reference of before still comes early enough.
    fn schedule(
        &mut self,
        slot: u32,
        before: Option<UnixMillis>,
        after: Option<UnixMillis>,
        from: UnixMillis,
    ) {
        self.mortal += usize::from(after.is_some());
        self.mortal -= usize::from(before.is_some());
        let Some(deadline) = after else { return };
        if before.is_none_or(|before| deadline < before) {
            self.expiry.file(slot, deadline, from);
        }
        let (slots, arena) = (&self.slots, &self.arena);
        self.expiry.tidy(self.mortal, slots.len(), |slot| deadline_of(slots, arena, slot));
    }

    /// Finds what has expired: afterwards `expiry.due()` names up to about `limit` such slots, all
    /// of them if `limit` is `usize::MAX`.
    pub(super) fn collect_expired(&mut self, now: UnixMillis, limit: usize) {
        let (slots, arena) = (&self.slots, &self.arena);
        let deadline = |slot| deadline_of(slots, arena, slot).map(|(deadline, _)| deadline);
        self.expiry.collect(now, limit, deadline);
    }
}

/// The deadline of the entry in `slot`, if it has one, and when it was written.
fn deadline_of(slots: &Slots, arena: &Arena, slot: u32) -> Option<(UnixMillis, UnixMillis)> {
    if !slots.is_used(slot) {
        return None;
    }
    let header = arena.header(slots.location(slot));
    header.deadline.map(|deadline| (deadline, header.written))
}

fn header(slot: u32, draft: &Draft<'_>) -> Header {
    Header {
        slot,
        version: draft.version,
        written: draft.written,
        deadline: draft.deadline,
        key_bytes: draft.key.len(),
        value_bytes: draft.value.len(),
    }
}

//! Reads of many: by the order of keys, and all of them for a snapshot.

use super::record::footprint;
use super::{Engine, Entry, View};
use crate::model::{Key, Mutation, UnixMillis};

/// Whether handing out a value is a use of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It counts as a hit and moves the entry to the end of the eviction order.
    Use,
    /// It leaves no trace: whoever copies everything uses nothing of it.
    Look,
}

/// A walk through entries by key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that start with this; empty: all.
    pub prefix: String,
    /// Only keys behind this one.
    pub start_after: Option<String>,
    /// At most this many entries; zero is taken as one.
    pub entries_max: usize,
    /// Stop before keys and values pass this many bytes (but return at least one entry).
    pub bytes_max: usize,
    /// How much of each entry.
    pub view: View,
    /// Whether this is a use.
    pub reading: Reading,
}

/// How far an [`Engine::image`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCursor {
    next_slot: u32,
}

impl Engine {
    /// Whether [`Engine::scan`] and [`Engine::count`] by prefix may be called.
    #[must_use]
    pub fn index_ready(&self) -> bool {
        self.entries.index.as_ref().is_some_and(|index| index.is_complete())
    }

    /// Puts up to `budget` more entries into the order of keys, and begins it if need be; about a
    /// microsecond each. Once complete it stays so. Changes may come between two steps.
    pub fn index_step(&mut self, budget: usize) {
        self.entries.build_index(budget);
    }

    /// The live entries that `scan` asks for, by key, and whether there are more of them.
    ///
    /// # Panics
    /// If the index is not ready.
    pub fn scan(&mut self, scan: &Scan, now: UnixMillis) -> (Vec<(Key, Entry)>, bool) {
        let entries = &mut *self.entries;
        let (slots, arena) = (&mut entries.slots, &entries.arena);
        let index = entries.index.as_ref().filter(|index| index.is_complete());
        let index = index.expect("the index is built before the first scan");
        let (prefix, after) = (scan.prefix.as_bytes(), scan.start_after.as_deref());
        let below = |key: &[u8]| key < prefix || after.is_some_and(|after| key <= after.as_bytes());
        let start = index.partition(|slot| arena.record(slots.location(slot)).key, below);
        let is_use = scan.view.is_use() && scan.reading == Reading::Use;
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut is_cut = false;
        for slot in index.from(start) {
            let record = arena.record(slots.location(slot));
            if !record.key.starts_with(prefix) {
                break;
            }
            if !record.is_live(now) {
                continue;
            }
            let value_bytes = if scan.view.is_use() { record.value.len() } else { 0 };
            bytes += record.key.len() + value_bytes;
            if !found.is_empty() && (found.len() >= scan.entries_max || bytes > scan.bytes_max) {
                is_cut = true;
                break;
            }
            let key = Key::parse(record.key_text().to_owned()).expect("stored keys were parsed");
            found.push((key, Entry::of(&record, scan.view)));
            if is_use {
                entries.recency.stamp(slots, slot);
            }
        }
        if is_use {
            self.count_hits(found.len() as u64);
        }
        (found, is_cut)
    }

    /// How many live entries have keys that start with `prefix`. Costs what has expired and was
    /// not removed yet, not what matches.
    ///
    /// # Panics
    /// If `prefix` is not empty and the index is not ready.
    pub fn count(&mut self, prefix: &str, now: UnixMillis) -> u64 {
        self.entries.collect_expired(now, usize::MAX);
        let entries = &*self.entries;
        let key_of = |slot| entries.record(slot).key;
        let prefix = prefix.as_bytes();
        let all = if prefix.is_empty() {
            entries.keys
        } else {
            let index = entries.index.as_ref().filter(|index| index.is_complete());
            let index = index.expect("the index is built before the first count by prefix");
            let first = index.partition(key_of, |key| key < prefix);
            let end = index.partition(key_of, |key| key < prefix || key.starts_with(prefix));
            index.distance(first, end) as u64
        };
        let expired = entries.expiry.due().filter(|slot| key_of(*slot).starts_with(prefix));
        all - expired.count() as u64
    }

    /// Shows `f` the entries that are live at `now`, as facts with their own versions, from
    /// `cursor` on, until about `budget_bytes` of records were shown. Returns where to go on, or
    /// `None` at the end.
    ///
    /// Changes may come between two calls: an entry that exists throughout is shown exactly once,
    /// as it is then.
    pub fn image(
        &self,
        cursor: ImageCursor,
        budget_bytes: usize,
        now: UnixMillis,
        f: &mut dyn FnMut(&Mutation<'_>),
    ) -> Option<ImageCursor> {
        let mut bytes = 0;
        for slot in self.entries.slots.used(cursor.next_slot, u32::MAX) {
            if bytes >= budget_bytes {
                return Some(ImageCursor { next_slot: slot });
            }
            let record = self.entries.record(slot);
            if !record.is_live(now) {
                continue;
            }
            f(&record.as_mutation());
            bytes += footprint(record.key.len(), record.value.len());
        }
        None
    }
}

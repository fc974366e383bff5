//! Facts: applied as they come, live or from the log.

use super::entries::{Draft, Entries};
use super::index::Index;
use super::{Engine, Garbage};
use crate::model::{Cause, Change, Mutation, Version};

impl Engine {
    /// Applies a fact, and raises the version to its own.
    ///
    /// It cannot fail. What stands and is as new as the fact, or newer, stays as it is: replaying
    /// a log over a snapshot that already has part of it changes nothing.
    pub fn apply(&mut self, mutation: &Mutation<'_>) {
        let version = mutation.version;
        self.in_order &= version > self.version;
        match &mutation.change {
            Change::Set { key, value, deadline, written } => {
                let (deadline, written) = (*deadline, *written);
                let slot = self.entries.find(key);
                if slot.is_none_or(|slot| self.is_older(slot, version)) {
                    if let Some(slot) = slot {
                        self.save(slot);
                    }
                    self.entries.put(slot, &Draft { key, value, deadline, written, version });
                    self.counters.sets += 1;
                }
            }
            Change::Touch { key, deadline } => {
                if let Some(slot) = self.find_older(key, version) {
                    self.save(slot);
                    self.entries.touch(slot, *deadline, version);
                }
            }
            Change::Remove { key, cause } => {
                if let Some(slot) = self.find_older(key, version) {
                    self.save(slot);
                    self.entries.remove(slot);
                    self.count_removal(*cause);
                }
            }
            Change::Clear => self.clear(version),
        }
        self.raise_version(version);
    }

    fn find_older(&self, key: &str, version: Version) -> Option<u32> {
        self.entries.find(key).filter(|slot| self.is_older(*slot, version))
    }

    fn is_older(&self, slot: u32, version: Version) -> bool {
        self.entries.record(slot).version < version
    }

    fn count_removal(&mut self, cause: Cause) {
        match cause {
            Cause::Deleted => self.counters.deletes += 1,
            Cause::Expired => self.counters.expirations += 1,
            Cause::Evicted => {
                self.counters.evictions += 1;
                self.entries.recency.count_eviction();
            }
        }
    }

    /// Forgets every entry older than `version`: all of them at once, except in a replay, where
    /// the snapshot may have brought newer ones.
    fn clear(&mut self, version: Version) {
        if self.version < version {
            let mut empty = Box::new(Entries::new());
            if self.index_ready() {
                let mut index = Index::new();
                index.mark_built(0, true);
                empty.index = Some(index);
            }
            let old = self.hand_over(empty);
            self.garbage.push(Garbage(old));
            return;
        }
        for slot in 0..self.entries.slots.len() {
            if self.entries.slots.is_used(slot) && self.is_older(slot, version) {
                self.save(slot);
                self.entries.remove(slot);
            }
        }
    }

    /// Makes the order of use the order of writing, as told by the versions; for the end of a
    /// recovery, which may have met the entries in any order.
    pub fn order_by_version(&mut self) {
        if std::mem::replace(&mut self.in_order, true) {
            // Each was stamped as it was written, and nothing has been read yet.
            return;
        }
        let Entries { recency, slots, arena, .. } = &mut *self.entries;
        let versions: Vec<u64> =
            (0..slots.len())
                .map(|slot| {
                    if slots.is_used(slot) {
                        arena.header(slots.location(slot)).version.0
                    } else {
                        0
                    }
                })
                .collect();
        recency.reorder(slots, |slot| versions[slot as usize]);
    }
}

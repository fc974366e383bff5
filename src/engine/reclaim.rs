//! Who has to go: the expired, and those used least recently. Facts only; nothing goes here.

use std::borrow::Cow;

use super::Engine;
use crate::model::{Cause, Change, Eviction, Mutation, UnixMillis, Version};

impl Engine {
    /// The removals of up to `limit` entries that have expired, with the versions after the present
    /// one. They are not applied: give each to [`Engine::apply`] before anything else changes.
    /// Fewer than `limit` does not mean that none are left: ask [`Engine::next_deadline`].
    #[must_use = "the entries stay until the facts are applied"]
    pub fn expire(&mut self, now: UnixMillis, limit: usize) -> Vec<Mutation<'static>> {
        self.entries.collect_expired(now, limit);
        let due: Vec<u32> = self.entries.expiry.due().take(limit).collect();
        self.removals(due, Cause::Expired)
    }

    /// A moment before which nothing expires; `None`: nothing has a deadline. Nothing may expire at
    /// that moment, either; after an [`Engine::expire`] then, it is a later one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.entries.expiry.next()
    }

    /// The removals that free at least `bytes`, or of `limit` entries: least recently used first,
    /// whatever the rules say of eviction. Not applied, as with [`Engine::expire`].
    #[must_use = "the entries stay until the facts are applied"]
    pub fn evict(&mut self, bytes: u64, limit: usize) -> Vec<Mutation<'static>> {
        self.oldest(0, bytes, limit)
    }

    /// The removals that bring the namespace below limits that were lowered, at most `limit` of
    /// them; none where the rules do not evict. Not applied, as with [`Engine::expire`].
    #[must_use = "the entries stay until the facts are applied"]
    pub fn overflow(&mut self, limit: usize) -> Vec<Mutation<'static>> {
        let above =
            |used: u64, limit: Option<u64>| limit.map_or(0, |limit| used.saturating_sub(limit));
        match self.rules.eviction {
            Eviction::None => Vec::new(),
            Eviction::Lru => {
                let keys = above(self.entries.keys, self.rules.keys_max);
                let bytes = above(self.entries.bytes, self.rules.bytes_max);
                self.oldest(keys, bytes, limit)
            }
        }
    }

    /// Removals of at least `keys` entries with at least `bytes` bytes, but at most `limit`.
    fn oldest(&mut self, keys: u64, bytes: u64, limit: usize) -> Vec<Mutation<'static>> {
        let entries = &*self.entries;
        let mut walk = entries.recency.oldest();
        let mut slots = Vec::new();
        let mut freed = 0;
        while slots.len() < limit && (freed < bytes || (slots.len() as u64) < keys) {
            let Some(slot) = walk.next(&entries.recency, &entries.slots) else { break };
            freed += entries.charge(slot);
            slots.push(slot);
        }
        self.removals(slots, Cause::Evicted)
    }

    fn removals(&self, slots: Vec<u32>, cause: Cause) -> Vec<Mutation<'static>> {
        let first = self.version.next();
        let number = |(n, slot): (u64, u32)| Mutation {
            version: Version(first.0 + n),
            change: Change::Remove {
                key: Cow::Owned(self.entries.record(slot).key_text().to_owned()),
                cause,
            },
        };
        (0..).zip(slots).map(number).collect()
    }
}

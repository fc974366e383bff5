//! One namespace as a pure state machine: rules on commands, applies facts, answers reads.
//!
//! # How it works
//! [`Engine::decide`] turns commands into outcomes and [`Mutation`](crate::model::Mutation)s and
//! changes nothing; the owner logs the mutations and gives each to [`Engine::apply`], which cannot fail and is also the path
//! of recovery. An entry is known by a slot. `slots` says where its record lies and when it was last
//! used; `arena` holds the records, key and value together, in chunks; `table` finds the slot of a
//! key; `expiry` files slots by deadline; `recency` finds those used least recently; `index`, built
//! when first asked for, has the order of keys. `entries` keeps these in step. `cut` shows what was
//! there at one moment while changes go on.
//!
//! # Why
//! Memory and cache misses are what an entry costs: a read touches the table, the slot and the
//! record, and writes only a stamp into the slot. Nothing points to a record but its slot, so
//! records can be moved and memory does not fragment. Growing, refiling, compaction and the search
//! for eviction candidates go in small steps, because a turn must be short.
//!
//! # Invariants
//! Applying a mutation again, or one older than what stands, changes nothing: an entry remembers
//! the version that wrote it. So a snapshot written while changes went on, followed by all changes
//! since it began, comes to the state that was. (A removed entry may come back for a moment while the
//! log is replayed; its removal follows in that same log.) Versions never go back. What has expired
//! is invisible, swept or not. Eviction is exact: whoever goes was used least recently.
//!
//! # Not here
//! Time, files, locks, other namespaces: `store`. How facts become bytes: `wal`.

mod apply;
mod arena;
mod command;
mod cut;
mod decide;
mod entries;
mod expiry;
mod found;
mod index;
mod ledger;
mod moment;
mod read;
mod recency;
mod reclaim;
mod record;
mod room;
mod scan;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use command::{Command, Condition, Decision, Entry, Expiration, Outcome, Quota, Refusal, View};
pub use cut::{CutId, Heritage, Rest, Saved};
pub use found::{Found, Seen};
pub use read::Standing;
pub use scan::{ImageCursor, Reading, Scan};

use crate::model::{Rules, Version};
use cut::Cut;
use entries::Entries;

/// Bytes of records examined in one [`Engine::ready`]; about 0.1 ms.
const READY_BYTES_MAX: usize = 256 << 10;

/// What a namespace holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries, including those expired and not yet removed.
    pub keys: u64,
    /// Bytes charged: for each entry its record (28 bytes, key and value, rounded up to 8) and 28
    /// bytes for slot, hash table and deadline. Memory held can be an eighth more: garbage.
    pub bytes: u64,
}

/// What was done since the engine was made; counts never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found an entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Entries written.
    pub sets: u64,
    /// Entries removed because a caller asked.
    pub deletes: u64,
    /// Entries removed because their time was up.
    pub expirations: u64,
    /// Entries removed to make room.
    pub evictions: u64,
}

/// Memory that is no longer needed; dropping it may take long, so drop it elsewhere.
pub struct Garbage(#[expect(dead_code, reason = "it is only there to be dropped")] Arc<Entries>);

/// A namespace.
pub struct Engine {
    rules: Rules,
    version: Version,
    /// Whether every change so far came with a higher version than the one before.
    in_order: bool,
    entries: Box<Entries>,
    garbage: Vec<Garbage>,
    /// Cuts that are not shown to their end; hardly ever any.
    cuts: Vec<Cut>,
    next_cut: u64,
    /// All counts but hits and misses, which stand below.
    counters: Counters,
    /// Atomic only because [`Engine::decide`], which changes nothing else, counts reads, too.
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Engine {
    /// An empty namespace under `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Engine {
        Engine {
            rules,
            version: Version::default(),
            in_order: true,
            entries: Box::new(Entries::new()),
            garbage: Vec::new(),
            cuts: Vec::new(),
            next_cut: 0,
            counters: Counters::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Changes the rules; entries beyond lowered limits stay until [`Engine::overflow`].
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What an entry is charged, in bytes: see [`Usage::bytes`].
    #[must_use]
    pub const fn charge(key_bytes: usize, value_bytes: usize) -> u64 {
        entries::charge(key_bytes, value_bytes)
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Makes sure that later changes get versions above `version`.
    pub fn raise_version(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    /// Prepares for so many more entries. Leaving it out costs time, no more.
    pub fn expect(&mut self, entries: u64) {
        self.entries.table.reserve(usize::try_from(entries).unwrap_or(usize::MAX));
    }

    /// Gets ready for a decision: looks for eviction candidates and compacts a bounded bit. Takes
    /// constant time when there is nothing to do. Leaving it out costs time, never correctness.
    pub fn ready(&mut self) {
        let is_near_limit = self.is_near_limit();
        let entries = &mut *self.entries;
        entries.arena.pay(&mut entries.slots, READY_BYTES_MAX);
        if is_near_limit || entries.recency.is_evicting() {
            entries.recency.look_around(&entries.slots);
        }
    }

    /// Moves records together while more than an eighth of the memory is garbage, looking at about
    /// `budget_bytes` of them; returns whether there is more to do.
    pub fn defragment(&mut self, budget_bytes: usize) -> bool {
        let entries = &mut *self.entries;
        entries.arena.compact(&mut entries.slots, budget_bytes)
    }

    /// What it holds now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { keys: self.entries.keys, bytes: self.entries.bytes }
    }

    /// What was done, replayed changes included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..self.counters
        }
    }

    /// Memory that a clear left behind, to be dropped by somebody else.
    pub fn take_garbage(&mut self) -> Option<Garbage> {
        self.garbage.pop()
    }

    /// Whether the last sixteenth below a limit has begun.
    fn is_near_limit(&self) -> bool {
        let near =
            |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit - limit / 16);
        near(self.entries.keys, self.rules.keys_max)
            || near(self.entries.bytes, self.rules.bytes_max)
    }
}

impl fmt::Debug for Engine {
    /// Shows sizes only: keys and values are tenant data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("version", &self.version)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Garbage")
    }
}

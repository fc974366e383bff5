//! Reads by key, alone and many at a time.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::found::Finding;
use super::record::Record;
use super::{Engine, Entry, Found, View};
use crate::model::{UnixMillis, Version};

/// Keys that are looked up side by side.
const GROUP_KEYS: usize = 32;

/// An entry, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is charged, in bytes.
    pub charge: u64,
    /// Whether it can be read.
    pub is_live: bool,
}

impl Entry {
    /// What `view` shows of an entry. The version is always there.
    pub(super) fn seen(
        view: View,
        value: &[u8],
        version: Version,
        deadline: Option<UnixMillis>,
        written: UnixMillis,
    ) -> Entry {
        let value_bytes = u32::try_from(value.len()).expect("a value has at most 3 MiB");
        let bare = Entry {
            value: Bytes::new(),
            value_bytes: 0,
            version,
            deadline: None,
            written: UnixMillis::ZERO,
        };
        match view {
            View::Key => bare,
            View::Metadata => Entry { value_bytes, deadline, written, ..bare },
            View::Value => Entry { value: Bytes::copy_from_slice(value), value_bytes, ..bare },
            View::Full => {
                let value = Bytes::copy_from_slice(value);
                Entry { value, value_bytes, version, deadline, written }
            }
        }
    }

    pub(super) fn of(record: &Record<'_>, view: View) -> Entry {
        Entry::seen(view, record.value, record.version, record.deadline, record.written)
    }
}

impl Engine {
    /// The entry of `key`, as `view` shows it. With a view that hands out the value this is a use:
    /// it counts as a hit or a miss and moves the entry to the end of the eviction order.
    pub fn get(&mut self, key: &str, view: View, now: UnixMillis) -> Option<Entry> {
        let hash = self.entries.hash(key.as_bytes());
        self.get_hashed(hash, key, view, now)
    }

    /// The entries of `keys`, in their order, each by its view as by [`Engine::get`]. Stops before
    /// the first one whose value would make all of them more than `values_bytes_max`; a single one
    /// may be more.
    ///
    /// What a read costs is waiting for memory. Keys are taken in groups, and each step (table,
    /// slot, record) is done for the whole group before the next, so that the waits overlap.
    pub fn get_many<'k>(
        &mut self,
        keys: impl Iterator<Item = (&'k str, View)>,
        now: UnixMillis,
        values_bytes_max: usize,
    ) -> Found {
        let mut finding = Finding::new(keys.size_hint().0, values_bytes_max);
        let (mut keys, mut hashed) = (keys, [(0, "", View::Key); GROUP_KEYS]);
        loop {
            let mut len = 0;
            for (place, (key, view)) in hashed.iter_mut().zip(&mut keys) {
                *place = (self.entries.hash(key.as_bytes()), key, view);
                len += 1;
            }
            let group = &hashed[..len];
            if group.is_empty() {
                return finding.finish();
            }
            let likely = self.warm_up(group.iter().map(|(hash, ..)| *hash));
            for ((hash, key, view), likely) in group.iter().zip(likely) {
                let slot = likely.and_then(|slot| self.confirm(slot, *hash, key));
                if self.find_into(&mut finding, slot, *view, now).is_break() {
                    return finding.finish();
                }
            }
            finding.expect_more();
        }
    }

    /// The entry of `key`, as `view` shows it; whatever that shows, it is no use of the entry.
    #[must_use]
    pub fn look(&self, key: &str, view: View, now: UnixMillis) -> Option<Entry> {
        let record = self.entries.record(self.entries.find(key)?);
        record.is_live(now).then(|| Entry::of(&record, view))
    }

    /// What stands under `key`, expired or not; no use of it.
    #[must_use]
    pub fn standing(&self, key: &str, now: UnixMillis) -> Option<Standing> {
        let slot = self.entries.find(key)?;
        let record = self.entries.record(slot);
        let charge = Engine::charge(record.key.len(), record.value.len());
        Some(Standing { charge, is_live: record.is_live(now) })
    }

    /// Touches the memory that looking up each of `keys` will need, group by group, so that the waits
    /// for it overlap. Leaving it out costs time, no more.
    pub fn warm_up_all<'k>(&self, mut keys: impl Iterator<Item = &'k str>) {
        let mut hashes = [0; GROUP_KEYS];
        loop {
            let mut len = 0;
            for (place, key) in hashes.iter_mut().zip(&mut keys) {
                *place = self.entries.hash(key.as_bytes());
                len += 1;
            }
            if len == 0 {
                return;
            }
            self.warm_up(hashes[..len].iter().copied());
        }
    }

    /// Touches the memory that looking up `group`, at most [`GROUP_KEYS`] of them, will need. Says for
    /// each which slot is likely to be its own: another one of the same hash, nearly never; none if
    /// there is none.
    #[inline]
    fn warm_up(
        &self,
        group: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> [Option<u32>; GROUP_KEYS] {
        let entries = &*self.entries;
        let mut sum = 0;
        for hash in group.clone() {
            sum ^= entries.table.peek(hash);
        }
        let mut likely = [None; GROUP_KEYS];
        for (slot, hash) in likely.iter_mut().zip(group.clone()) {
            *slot = entries.table.find(hash, |_| true);
        }
        let mut locations = [None; GROUP_KEYS];
        for (location, slot) in locations.iter_mut().zip(&likely[..group.len()]) {
            *location = slot.map(|slot| entries.slots.location(slot));
        }
        for location in locations[..group.len()].iter().flatten() {
            sum ^= u64::from(entries.arena.peek(*location));
        }
        black_box(sum);
        likely
    }

    /// The slot of `key`, which is likely to be `slot`: one of the same hash.
    #[inline]
    fn confirm(&self, slot: u32, hash: u32, key: &str) -> Option<u32> {
        match self.entries.record(slot).key == key.as_bytes() {
            true => Some(slot),
            false => self.entries.find_hashed(hash, key),
        }
    }

    #[inline]
    fn get_hashed(&mut self, hash: u32, key: &str, view: View, now: UnixMillis) -> Option<Entry> {
        let entries = &mut *self.entries;
        let slot = entries.find_hashed(hash, key);
        let found = slot.map(|slot| (slot, entries.record(slot)));
        let live = found.filter(|(_, record)| record.is_live(now));
        let entry = live.as_ref().map(|(_, record)| Entry::of(record, view));
        let live = live.map(|(slot, _)| slot);
        self.note_use(live, view);
        entry
    }

    /// Reads for a list what is in `slot`, if the key has one; breaks off if the list is full.
    #[inline]
    fn find_into(
        &mut self,
        finding: &mut Finding,
        slot: Option<u32>,
        view: View,
        now: UnixMillis,
    ) -> ControlFlow<()> {
        let entries = &*self.entries;
        let found = slot.map(|slot| (slot, entries.record(slot)));
        let live = match found.filter(|(_, record)| record.is_live(now)) {
            Some((_, record)) if finding.is_full_for(&record, view) => {
                return ControlFlow::Break(());
            }
            Some((slot, record)) => {
                finding.push(&record, view);
                Some(slot)
            }
            None => {
                finding.push_none();
                None
            }
        };
        self.note_use(live, view);
        ControlFlow::Continue(())
    }

    /// Counts a read that found the live entry in `slot`, or none.
    #[inline]
    fn note_use(&mut self, slot: Option<u32>, view: View) {
        if !view.is_use() {
            return;
        }
        let tally = if slot.is_some() { &mut self.hits } else { &mut self.misses };
        *tally.get_mut() += 1;
        if let Some(slot) = slot {
            let entries = &mut *self.entries;
            entries.recency.stamp(&mut entries.slots, slot);
        }
    }

    /// Counts `count` reads that found their entries.
    pub(super) fn count_hits(&self, count: u64) {
        self.hits.fetch_add(count, Ordering::Relaxed);
    }
}

//! Whose time is up: slots in buckets by deadline, finer the nearer it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::UnixMillis;

/// A bucket is at most this part of the time that was left when it was filed into, so an entry is
/// looked at a few times on its way and there are never more than some hundred buckets.
const BUCKETS_PER_SPAN: u64 = 16;
/// References looked at for each entry asked for; the others are filed into finer buckets.
const REFS_PER_DUE: usize = 4;
/// References beyond twice the entries that may be stale before all are filed anew.
const STALE_REFS_MAX: usize = 1024;
/// Slots filed anew with each filing while that goes on.
const SLOTS_REFILED: u32 = 64;

type Buckets = BTreeMap<u64, Vec<u32>>;

/// Slots by number.
pub(super) type Due<'a> = std::iter::Copied<std::collections::btree_set::Iter<'a, u32>>;

/// References to entries with a deadline.
///
/// Every such entry has at least one reference in a bucket that begins at or before its deadline,
/// or in `due`. A reference may be stale: nothing is taken out when an entry goes or gets a later
/// deadline; whoever reads a reference asks the entry. So moving a deadline back, again and again,
/// files nothing.
pub(super) struct Expiry {
    buckets: Buckets,
    /// Slots whose bucket has begun, with a deadline that was past when it was looked at.
    due: BTreeSet<u32>,
    refs: usize,
    /// While all are filed anew: the references of before, and the slots already filed.
    renewal: Option<Renewal>,
}

struct Renewal {
    before: Buckets,
    next_slot: u32,
}

impl Expiry {
    pub(super) fn new() -> Expiry {
        Expiry { buckets: Buckets::new(), due: BTreeSet::new(), refs: 0, renewal: None }
    }

    /// Files the entry in `slot`, of which `from` is a moment before its deadline.
    pub(super) fn file(&mut self, slot: u32, deadline: UnixMillis, from: UnixMillis) {
        let width = (deadline.millis_since(from) / BUCKETS_PER_SPAN).max(1);
        // Rounded down to a power of two: neighbours share buckets. A bucket begins after `from`
        // if the deadline does, so what is filed again at `now` is not met again at `now`.
        let width = 1 << width.ilog2();
        let bucket = self.buckets.entry(deadline.as_millis() / width * width).or_default();
        if bucket.len() == bucket.capacity() {
            bucket.reserve_exact((bucket.len() / 8).max(4));
        }
        bucket.push(slot);
        self.refs += 1;
    }

    /// Keeps stale references few: `live` entries have a deadline, `len` slots exist, and
    /// `deadline_of` tells an entry's deadline and when it was written.
    pub(super) fn tidy(
        &mut self,
        live: usize,
        len: u32,
        deadline_of: impl Fn(u32) -> Option<(UnixMillis, UnixMillis)>,
    ) {
        if self.renewal.is_none() {
            if self.refs <= 2 * live + STALE_REFS_MAX {
                return;
            }
            let before = std::mem::take(&mut self.buckets);
            self.refs = 0;
            self.renewal = Some(Renewal { before, next_slot: 0 });
        }
        let Some(mut renewal) = self.renewal.take() else { return };
        let end = renewal.next_slot.saturating_add(SLOTS_REFILED).min(len);
        for slot in renewal.next_slot..end {
            if let Some((deadline, from)) = deadline_of(slot) {
                self.file(slot, deadline, from);
            }
        }
        renewal.next_slot = end;
        if end < len {
            self.renewal = Some(renewal);
        }
    }

    /// A moment before which nothing expires.
    pub(super) fn next(&self) -> Option<UnixMillis> {
        if !self.due.is_empty() {
            return Some(UnixMillis::ZERO);
        }
        let before = self.renewal.as_ref().and_then(|renewal| renewal.before.keys().next());
        let first = self.buckets.keys().next().into_iter().chain(before).min();
        first.map(|start| UnixMillis::from_millis(*start))
    }

    /// Looks into the buckets that have begun, until `limit` slots are due or a few times as many
    /// references were looked at; `deadline_of` tells an entry's deadline. Afterwards
    /// [`Expiry::due`] has what was found. Returns whether nothing was left out.
    pub(super) fn collect(
        &mut self,
        now: UnixMillis,
        limit: usize,
        deadline_of: impl Fn(u32) -> Option<UnixMillis>,
    ) -> bool {
        // An entry that was due may have been written since. Only as many as are asked for are looked
        // at again: they have the lowest numbers, so they are the first of those due.
        let mut still_due = Vec::new();
        while still_due.len() < limit
            && let Some(slot) = self.due.pop_first()
        {
            match deadline_of(slot) {
                Some(deadline) if deadline <= now => still_due.push(slot),
                Some(deadline) => self.file(slot, deadline, now),
                None => {}
            }
        }
        self.due.extend(still_due);
        let mut looks = limit.saturating_mul(REFS_PER_DUE);
        while self.due.len() < limit && looks > 0 {
            let Some(slot) = self.take_begun(now) else { return true };
            self.look_at(slot, now, &deadline_of);
            looks -= 1;
        }
        false
    }

    /// Slots that were due at the last [`Expiry::collect`].
    pub(super) fn due(&self) -> Due<'_> {
        self.due.iter().copied()
    }

    /// All slots that may be due at `now`, some twice, some not due at all.
    pub(super) fn begun(&self, now: UnixMillis) -> impl Iterator<Item = u32> + '_ {
        let before = self.renewal.as_ref().map(|renewal| &renewal.before);
        let buckets = before.into_iter().chain([&self.buckets]);
        let begun = buckets.flat_map(move |buckets| buckets.range(..=now.as_millis()));
        self.due.iter().copied().chain(begun.flat_map(|(_, slots)| slots.iter().copied()))
    }

    fn look_at(
        &mut self,
        slot: u32,
        now: UnixMillis,
        deadline_of: &impl Fn(u32) -> Option<UnixMillis>,
    ) {
        match deadline_of(slot) {
            Some(deadline) if deadline <= now => {
                self.due.insert(slot);
            }
            Some(deadline) => self.file(slot, deadline, now),
            None => {}
        }
    }

    /// Takes one reference from a bucket that has begun.
    fn take_begun(&mut self, now: UnixMillis) -> Option<u32> {
        if let Some(renewal) = &mut self.renewal
            && let Some(slot) = take(&mut renewal.before, now)
        {
            return Some(slot);
        }
        let slot = take(&mut self.buckets, now)?;
        self.refs -= 1;
        Some(slot)
    }

    #[cfg(test)]
    pub(super) fn refs(&self) -> usize {
        self.refs
    }
}

fn take(buckets: &mut Buckets, now: UnixMillis) -> Option<u32> {
    loop {
        let mut first = buckets.first_entry()?;
        if *first.key() > now.as_millis() {
            return None;
        }
        match first.get_mut().pop() {
            Some(slot) => return Some(slot),
            None => first.remove(),
        };
    }
}

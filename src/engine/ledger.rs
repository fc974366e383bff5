//! The books of one decision: what the commands so far have changed.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::Refusal;
use super::entries::{Entries, charge};
use super::expiry::Due;
use super::recency::Oldest;
use crate::model::{Cause, Change, Mutation, Rules, UnixMillis, Version};

/// How the commands of a decision belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// There is only one, so nobody will ask what it changed.
    Single,
    /// Each for itself.
    Independent,
    /// All or none; none makes room at the cost of another.
    Atomic,
}

/// A value: where it lies, or as a command brought it.
#[derive(Clone, Debug)]
pub(super) enum Stored<'e> {
    Lying(&'e [u8]),
    Brought(Bytes),
}

impl Stored<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Stored::Lying(bytes) => bytes,
            Stored::Brought(bytes) => bytes,
        }
    }
}

/// An entry that can be read.
#[derive(Clone, Debug)]
pub(super) struct Live<'e> {
    pub(super) value: Stored<'e>,
    pub(super) version: Version,
    pub(super) deadline: Option<UnixMillis>,
    pub(super) written: UnixMillis,
}

/// What there is under a key.
#[derive(Debug)]
pub(super) struct Standing<'e> {
    pub(super) live: Option<Live<'e>>,
    /// Where it is in the engine, also if expired; `None` if this batch made it or removed it.
    pub(super) slot: Option<u32>,
    /// What it is charged, also if expired; zero: there is nothing.
    pub(super) charge: u64,
}

/// What became of a key.
pub(super) struct Changed<'e> {
    pub(super) live: Option<Live<'e>>,
    pub(super) charge: u64,
    /// Counts the changes: the order of use.
    pub(super) order: usize,
}

/// The books.
pub(super) struct Ledger<'e, 'c> {
    pub(super) entries: &'e Entries,
    pub(super) rules: &'e Rules,
    pub(super) now: UnixMillis,
    pub(super) scope: Scope,
    version: Version,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// What `bytes` may not pass for the sake of the process.
    pub(super) bytes_end: u64,
    pub(super) changes: HashMap<&'c str, Changed<'e>, ahash::RandomState>,
    /// Slots whose entries were changed or removed; they make no room any more.
    pub(super) claimed: HashSet<u32, ahash::RandomState>,
    pub(super) oldest: Oldest,
    pub(super) due: Due<'e>,
    /// Everything expired, looked up only before a refusal; and how far it was used.
    pub(super) overdue: Option<Vec<u32>>,
    pub(super) mutations: Vec<Mutation<'c>>,
}

impl<'e, 'c> Ledger<'e, 'c> {
    pub(super) fn new(
        entries: &'e Entries,
        rules: &'e Rules,
        version: Version,
        now: UnixMillis,
        scope: Scope,
        room: u64,
    ) -> Ledger<'e, 'c> {
        Ledger {
            entries,
            rules,
            now,
            scope,
            version,
            keys: entries.keys,
            bytes: entries.bytes,
            bytes_end: entries.bytes.saturating_add(room),
            changes: HashMap::default(),
            claimed: HashSet::default(),
            oldest: entries.recency.oldest(),
            due: entries.expiry.due(),
            overdue: None,
            mutations: Vec::new(),
        }
    }

    /// What there is under `key` after the commands so far.
    pub(super) fn look_up(&self, key: &str) -> Standing<'e> {
        if !self.changes.is_empty()
            && let Some(changed) = self.changes.get(key)
        {
            return Standing { live: changed.live.clone(), slot: None, charge: changed.charge };
        }
        let found = self.entries.find(key).filter(|slot| !self.is_claimed(*slot));
        let Some(slot) = found else { return Standing { live: None, slot: None, charge: 0 } };
        let record = self.entries.record(slot);
        let live = record.is_live(self.now).then_some(Live {
            value: Stored::Lying(record.value),
            version: record.version,
            deadline: record.deadline,
            written: record.written,
        });
        Standing { live, slot: Some(slot), charge: charge(record.key.len(), record.value.len()) }
    }

    /// Writes an entry, after making room for it.
    ///
    /// Errors: a limit stands against it; then nothing was changed.
    pub(super) fn set(
        &mut self,
        key: &'c str,
        standing: &Standing<'e>,
        value: &'c Bytes,
        deadline: Option<UnixMillis>,
    ) -> Result<Live<'e>, Refusal> {
        self.write(key, standing, Cow::Borrowed(value), deadline, || value.clone())
    }

    /// As [`Ledger::set`], for a value that no command brought.
    pub(super) fn set_text(
        &mut self,
        key: &'c str,
        standing: &Standing<'e>,
        text: String,
        deadline: Option<UnixMillis>,
    ) -> Result<Live<'e>, Refusal> {
        let value = Bytes::from(text.clone());
        self.write(key, standing, Cow::Owned(text.into_bytes()), deadline, || value)
    }

    fn write(
        &mut self,
        key: &'c str,
        standing: &Standing<'e>,
        value: Cow<'c, [u8]>,
        deadline: Option<UnixMillis>,
        brought: impl FnOnce() -> Bytes,
    ) -> Result<Live<'e>, Refusal> {
        let charge = charge(key.len(), value.len());
        self.make_room(key, standing, charge)?;
        self.keys += u64::from(standing.charge == 0);
        self.bytes = self.bytes - standing.charge + charge;
        let written = self.now;
        let version = self.push(Change::Set { key: Cow::Borrowed(key), value, deadline, written });
        let live = Live { value: Stored::Brought(brought()), version, deadline, written };
        self.note(key, standing.slot, Some(live.clone()), charge);
        Ok(live)
    }

    /// Moves the deadline of the live entry.
    pub(super) fn touch(
        &mut self,
        key: &'c str,
        standing: &Standing<'e>,
        live: &Live<'e>,
        deadline: Option<UnixMillis>,
    ) -> Live<'e> {
        let version = self.push(Change::Touch { key: Cow::Borrowed(key), deadline });
        let live = Live { version, deadline, ..live.clone() };
        self.note(key, standing.slot, Some(live.clone()), standing.charge);
        live
    }

    /// Removes the live entry for a caller.
    pub(super) fn remove(&mut self, key: &'c str, standing: &Standing<'e>) {
        self.keys -= 1;
        self.bytes -= standing.charge;
        self.push(Change::Remove { key: Cow::Borrowed(key), cause: Cause::Deleted });
        self.note(key, standing.slot, None, 0);
    }

    pub(super) fn push(&mut self, change: Change<'c>) -> Version {
        self.version = self.version.next();
        self.mutations.push(Mutation { version: self.version, change });
        self.version
    }

    fn note(&mut self, key: &'c str, slot: Option<u32>, live: Option<Live<'e>>, charge: u64) {
        if self.scope == Scope::Single {
            return;
        }
        self.claimed.extend(slot);
        let order = self.mutations.len();
        self.changes.insert(key, Changed { live, charge, order });
    }

    pub(super) fn is_claimed(&self, slot: u32) -> bool {
        !self.claimed.is_empty() && self.claimed.contains(&slot)
    }
}

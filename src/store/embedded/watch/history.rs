//! The last changes of a namespace, turn by turn, shared by everybody who watches it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Entry;
use crate::model::{Cause, Change, Mutation, UnixMillis, Version};
use crate::store::embedded::commit::Ticket;
use crate::store::{Event, EventKind, Values};

/// Most bytes that the history of one namespace holds: some seconds of a busy one. It counts as
/// memory of the namespace, and is the first to go where that is short.
const HISTORY_BYTES_MAX: usize = 8 << 20;

/// Events kept for those who watch now, where the policy keeps fewer or none.
const WATCHED_EVENTS_MIN: usize = 1_000;

/// What a turn costs beside its text, and an event beside its key and value, in bytes.
const TURN_BYTES: usize = 128;
const EVENT_BYTES: usize = 56;

/// What one turn changed, as a watcher would be told. Touches are no events, but have versions.
#[derive(Debug)]
pub(super) struct Past {
    /// The last version that the turn took, events or not.
    pub(super) last: Version,
    /// When it was.
    pub(super) at: UnixMillis,
    /// What must be waited for before anybody may hear of it.
    pub(super) ticket: Ticket,
    events: Box<[Noted]>,
    /// Keys and values, one behind the other: copied, because what a request brought is a part of a
    /// buffer many times as large.
    text: Bytes,
}

/// One event; key and value lie in the text of its turn.
#[derive(Clone, Copy, Debug)]
struct Noted {
    kind: EventKind,
    version: Version,
    deadline: Option<UnixMillis>,
    /// When the entry was written; of a removal, when that was logged.
    written: UnixMillis,
    key_at: u32,
    value_at: u32,
    end: u32,
}

impl Past {
    fn new(mutations: &[Mutation<'_>], at: UnixMillis, ticket: Ticket) -> Option<Past> {
        let last = mutations.last()?.version;
        let told = || mutations.iter().filter(|m| !matches!(m.change, Change::Touch { .. }));
        let mut text = Vec::with_capacity(told().map(text_bytes).sum());
        let events = told().map(|mutation| Noted::new(mutation, at, &mut text)).collect();
        Some(Past { last, at, ticket, events, text: text.into() })
    }

    /// What it costs, in bytes.
    pub(super) fn bytes(&self) -> usize {
        TURN_BYTES + self.events.len() * EVENT_BYTES + self.text.len()
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn version(&self, event: usize) -> Version {
        self.events[event].version
    }

    pub(super) fn kind(&self, event: usize) -> EventKind {
        self.events[event].kind
    }

    /// The key of an event; empty where all entries were cleared.
    pub(super) fn key(&self, event: usize) -> &str {
        let Noted { key_at, value_at, .. } = self.events[event];
        let key = &self.text[range(key_at, value_at)];
        std::str::from_utf8(key).expect("keys are noted from text")
    }

    /// What it costs to tell an event, about, in bytes.
    pub(super) fn event_bytes(&self, event: usize, values: Values) -> usize {
        let Noted { key_at, value_at, end, .. } = self.events[event];
        let told = match values {
            Values::Included => range(key_at, end),
            Values::Omitted => range(key_at, value_at),
        };
        EVENT_BYTES + told.len()
    }

    /// An event, for whoever is told.
    pub(super) fn event(&self, event: usize, values: Values) -> Event {
        let Noted { kind, version, deadline, written, value_at, end, .. } = self.events[event];
        let value = range(value_at, end);
        let value_bytes = end - value_at;
        let value = match values {
            Values::Included => self.text.slice(value),
            Values::Omitted => Bytes::new(),
        };
        let entry = Entry { value, value_bytes, version, deadline, written };
        Event { kind, key: self.key(event).to_owned(), entry, at: self.at }
    }
}

impl Noted {
    fn new(mutation: &Mutation<'_>, at_time: UnixMillis, text: &mut Vec<u8>) -> Noted {
        let (mut deadline, mut written) = (None, at_time);
        let (kind, key, value): (_, &str, &[u8]) = match &mutation.change {
            Change::Set { key, value, deadline: until, written: when } => {
                (deadline, written) = (*until, *when);
                (EventKind::Set, key, value)
            }
            Change::Remove { key, cause: Cause::Deleted } => (EventKind::Deleted, key, &[]),
            Change::Remove { key, cause: Cause::Expired } => (EventKind::Expired, key, &[]),
            Change::Remove { key, cause: Cause::Evicted } => (EventKind::Evicted, key, &[]),
            Change::Clear | Change::Touch { .. } => (EventKind::Cleared, "", &[]),
        };
        let key_at = at(text);
        text.extend_from_slice(key.as_bytes());
        let value_at = at(text);
        text.extend_from_slice(value);
        let version = mutation.version;
        Noted { kind, version, deadline, written, key_at, value_at, end: at(text) }
    }
}

fn text_bytes(mutation: &Mutation<'_>) -> usize {
    match &mutation.change {
        Change::Set { key, value, .. } => key.len() + value.len(),
        Change::Remove { key, .. } | Change::Touch { key, .. } => key.len(),
        Change::Clear => 0,
    }
}

fn at(text: &[u8]) -> u32 {
    u32::try_from(text.len()).expect("a turn changes less than four gibibytes")
}

fn range(from: u32, to: u32) -> Range<usize> {
    from as usize..to as usize
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::store::embedded) struct Keep {
    /// Events that the namespace's rules keep.
    pub(in crate::store::embedded) events: usize,
    /// Whether somebody watches.
    pub(in crate::store::embedded) is_watched: bool,
}

impl Keep {
    fn events_max(self) -> usize {
        if self.is_watched { self.events.max(WATCHED_EVENTS_MIN) } else { self.events }
    }
}

/// A part of the history.
#[derive(Debug)]
pub(super) struct Slice {
    /// Turns with something to tell, by order.
    pub(super) turns: Vec<Arc<Past>>,
    /// Everything up to this version is in `turns`, or had nothing to tell.
    pub(super) through: Version,
    /// What must be waited for before anybody may hear of it.
    pub(super) ticket: Ticket,
    /// Whether there is more.
    pub(super) more: bool,
}

/// The changes after `base`, without a gap, as far as they are kept.
#[derive(Debug)]
pub(in crate::store::embedded) struct History {
    turns: VecDeque<Arc<Past>>,
    /// Everything after this version is here.
    base: Version,
    /// The version of the last change.
    last: Version,
    /// Of the last turn, where that had nothing to tell.
    untold: Option<Ticket>,
    /// Versions strictly between these two may have been told by an earlier run and lost with it: who
    /// has one of them may know of changes that never were.
    holes: Vec<(Version, Version)>,
    events: usize,
    bytes: usize,
}

impl History {
    /// That of a namespace at `version`, of which nothing before is known.
    pub(in crate::store::embedded) fn new(version: Version) -> History {
        History {
            turns: VecDeque::new(),
            base: version,
            last: version,
            untold: None,
            holes: Vec::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Bytes held.
    pub(in crate::store::embedded) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The version of the last change.
    pub(in crate::store::embedded) fn last(&self) -> Version {
        self.last
    }

    /// Notes what a turn has changed.
    pub(in crate::store::embedded) fn push(
        &mut self,
        mutations: &[Mutation<'_>],
        at: UnixMillis,
        ticket: Ticket,
        keep: Keep,
    ) {
        let Some(last) = mutations.last() else { return };
        if keep.events_max() == 0 {
            self.skip_to(last.version);
            return;
        }
        self.last = last.version;
        match Past::new(mutations, at, ticket) {
            Some(past) if past.len() > 0 => {
                self.events += past.len();
                self.bytes += past.bytes();
                self.untold = None;
                self.turns.push_back(Arc::new(past));
                self.trim(keep);
            }
            Some(_) | None => self.untold = Some(ticket),
        }
    }

    /// Notes what the log remembers of a turn. What it tells again is skipped; where it leaves
    /// something out, the history begins anew, unless that is where a start went on behind the
    /// versions `reserved`.
    pub(in crate::store::embedded) fn replay(
        &mut self,
        mutations: &[Mutation<'_>],
        at: UnixMillis,
        keep: Keep,
        reserved: Version,
    ) {
        let Some(first) = mutations.first().map(|mutation| mutation.version) else { return };
        if first <= self.last {
            return;
        }
        let before = Version(first.0 - 1);
        if before == reserved.next() {
            self.leap_to(before);
        } else if before > self.last {
            self.skip_to(before);
        }
        self.push(mutations, at, Ticket::Now, keep);
    }

    /// Forgets everything; it goes on after `version`, unless it has come further.
    pub(in crate::store::embedded) fn skip_to(&mut self, version: Version) {
        *self = History::new(version.max(self.last));
    }

    /// Goes on at `version`, which nothing led to: those between were lost.
    pub(in crate::store::embedded) fn leap_to(&mut self, version: Version) {
        if version > self.last {
            self.holes.push((self.last, version));
            self.last = version;
        }
    }

    /// Notes a version that was taken without telling anybody anything.
    pub(in crate::store::embedded) fn pass(&mut self, version: Version, ticket: Ticket) {
        self.last = self.last.max(version);
        self.untold = Some(ticket);
    }

    /// Forgets the oldest turns until `bytes` are free, or all are gone; returns how many bytes went.
    pub(in crate::store::embedded) fn shed(&mut self, bytes: u64) -> u64 {
        let before = self.bytes;
        while ((before - self.bytes) as u64) < bytes && self.forget_oldest() {}
        (before - self.bytes) as u64
    }

    /// Where a watch may begin that wants everything after `version`; if not there, the oldest
    /// version where it may.
    pub(super) fn check(&self, version: Version) -> Result<(), Version> {
        if version < self.base {
            return Err(self.base);
        }
        let hole = self.holes.iter().find(|(from, to)| *from < version && version < *to);
        hole.map_or(Ok(()), |(_, to)| Err(*to))
    }

    /// What happened after `cursor`: whole turns, until they have `events_max` events or more.
    ///
    /// Errors: a part of that is not here any more.
    pub(super) fn after(&self, cursor: Version, events_max: usize) -> Result<Slice, Forgotten> {
        if cursor < self.base {
            return Err(Forgotten);
        }
        let from = self.turns.partition_point(|past| past.last <= cursor);
        let mut events = 0;
        let is_within = |past: &&Arc<Past>| {
            let is_within = events < events_max;
            events += past.len();
            is_within
        };
        let turns: Vec<_> = self.turns.range(from..).take_while(is_within).cloned().collect();
        let more = from + turns.len() < self.turns.len();
        let mut ticket = turns.iter().fold(Ticket::Now, |ticket, past| ticket.and(past.ticket));
        let through = match turns.last() {
            Some(past) if more => past.last,
            Some(_) | None => {
                ticket = ticket.and(self.untold.unwrap_or(Ticket::Now));
                self.last
            }
        };
        Ok(Slice { turns, through, ticket, more })
    }

    fn trim(&mut self, keep: Keep) {
        while self.events > keep.events_max() || self.bytes > HISTORY_BYTES_MAX {
            // The last turn stays, however large: those who watch now must be able to hear of it.
            if self.turns.len() < 2 || !self.forget_oldest() {
                return;
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(past) = self.turns.pop_front() else { return false };
        self.events -= past.len();
        self.bytes -= past.bytes();
        self.base = past.last;
        self.holes.retain(|(_, to)| *to > past.last);
        true
    }
}

/// A part of the history is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten;

//! The entries as they are, before what happens to them: with nothing lost, and nothing told twice.
//!
//! They are read in slices while others write. What was there when the watch began and has not been
//! written since is an initial entry. What was written since is left out: it comes as an event, which
//! waits in the outbox. (A version alone does not tell: a touch gives an entry a later one, and is
//! no event.)

use std::collections::HashSet;
use std::sync::Arc;

use super::desk::settled;
use super::outbox::{End, WAITING_INITIALLY};
use super::watcher::{Place, Seat, initial_event, sit_down};
use crate::engine::{Reading, Scan, View};
use crate::model::Version;
use crate::store::embedded::namespace::Turn;
use crate::store::embedded::shared::Shared;
use crate::store::{Error, Event, EventKind, Filter, Values, WatchError};

/// Entries and bytes of one slice; a fraction of a millisecond.
const SLICE_ENTRIES: usize = 256;
const SLICE_BYTES: usize = 256 << 10;

/// How far the initial entries have come.
#[derive(Debug)]
pub(super) struct Initial {
    place: Place,
    seat: Seat,
    next: Next,
    /// Keys asked for that were written since, as far as that has been looked at.
    written: HashSet<Box<str>, ahash::RandomState>,
    /// How far it has been looked at.
    seen: Version,
}

/// What is read next.
#[derive(Clone, Debug)]
enum Next {
    /// Single keys from this place of the filter on.
    Keys(usize),
    /// The prefix at this place of the filter, behind this key.
    Prefix(usize, Option<String>),
    End,
}

/// Some initial entries.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) is_last: bool,
}

impl Initial {
    /// Begins in this turn: `place` is at the last version.
    pub(super) fn new(
        shared: &Arc<Shared>,
        turn: &mut Turn<'_>,
        place: Place,
        filter: &Arc<Filter>,
    ) -> Initial {
        let seat = sit_down(shared, turn, &place, filter, place.cursor);
        seat.outbox.narrow(WAITING_INITIALLY);
        let next = if filter.keys().is_empty() { Next::Prefix(0, None) } else { Next::Keys(0) };
        let seen = place.cursor;
        Initial { place, seat, next, written: HashSet::default(), seen }
    }

    /// The place and the seat at which the watch goes on.
    pub(super) fn finish(self) -> (Place, Seat) {
        (self.place, self.seat)
    }

    /// Reads some more.
    pub(super) async fn page(
        &mut self,
        shared: &Arc<Shared>,
        filter: &Filter,
        values: Values,
    ) -> Result<Page, Error> {
        let (events, next, ticket) = loop {
            let namespace = Arc::clone(&self.place.namespace);
            let gone = || Error::NamespaceNotFound(namespace.name.as_str().to_owned());
            let slice = {
                let mut turn = namespace.enter().ok_or_else(gone)?;
                self.slice(shared, &mut turn, filter, values)?
            };
            match slice {
                Some(slice) => break slice,
                None => tokio::task::yield_now().await,
            }
        };
        settled(shared, ticket).await?;
        self.next = next;
        let is_last = matches!(self.next, Next::End);
        Ok(Page { events, is_last })
    }

    /// One slice, in a turn of its own; `None` while the order of keys is being built.
    fn slice(
        &mut self,
        shared: &Shared,
        turn: &mut Turn<'_>,
        filter: &Filter,
        values: Values,
    ) -> Result<Option<(Vec<Event>, Next, super::Ticket)>, Error> {
        if matches!(self.next, Next::Prefix(..)) && !turn.index() {
            return Ok(None);
        }
        self.look_at_writes(turn, filter)?;
        let view = match values {
            Values::Included => View::Full,
            Values::Omitted => View::Metadata,
        };
        let (found, next) = match &self.next {
            Next::Keys(from) => {
                let to = filter.keys().len().min(from + SLICE_ENTRIES);
                let mut found = Vec::new();
                for key in &filter.keys()[*from..to] {
                    found.extend(turn.look(shared, key, view).map(|entry| (key.clone(), entry)));
                }
                let next = match to < filter.keys().len() {
                    true => Next::Keys(to),
                    false => first_prefix(filter),
                };
                (found, next)
            }
            Next::Prefix(at, after) => {
                let prefix = filter.prefixes().get(*at).cloned().unwrap_or_default();
                let (entries_max, bytes_max) = (SLICE_ENTRIES, SLICE_BYTES);
                let (start_after, reading) = (after.clone(), Reading::Look);
                let scan = Scan { prefix, start_after, entries_max, bytes_max, view, reading };
                let (found, more, _) = turn.scan(shared, &scan);
                let last = found.last().map(|(key, _)| key.as_str().to_owned());
                let next = match more {
                    true => Next::Prefix(*at, last),
                    false if at + 1 < filter.prefixes().len() => Next::Prefix(at + 1, None),
                    false => Next::End,
                };
                (found, next)
            }
            Next::End => (Vec::new(), Next::End),
        };
        let events = found.into_iter().filter(|(key, entry)| {
            entry.version <= self.place.cursor || !self.written.contains(key.as_str())
        });
        let events = events.map(|(key, entry)| initial_event(key.into_string(), entry)).collect();
        Ok(Some((events, next, turn.seen_all(shared))))
    }

    /// Takes note of what was written since the last look.
    ///
    /// Errors: more happened than is kept, so nobody can say any more what was not written.
    fn look_at_writes(&mut self, turn: &mut Turn<'_>, filter: &Filter) -> Result<(), Error> {
        let lagging = Error::Watch(WatchError::Lagging { last: None });
        if self.seat.outbox.end().is_some_and(|end| matches!(end, End::Full(_))) {
            return Err(lagging);
        }
        let given_out = self.seat.desk.table.lock().cursor;
        let written = &mut self.written;
        let mut note = |past: &super::history::Past, event: usize| {
            if past.kind(event) == EventKind::Set && filter.matches(past.key(event)) {
                written.insert(past.key(event).into());
            }
        };
        self.seat.outbox.look_back(self.seen, |picked| {
            picked.events.iter().for_each(|event| note(&picked.past, *event as usize));
        });
        // What was not given out yet.
        let from = self.seen.max(given_out);
        let slice = turn.state.history.after(from, usize::MAX).map_err(|_| lagging)?;
        for past in &slice.turns {
            (0..past.len()).for_each(|event| note(past, event));
        }
        self.seen = slice.through;
        Ok(())
    }
}

#[cfg(test)]
impl Initial {
    /// How many keys it has noted as written.
    pub(super) fn written(&self) -> usize {
        self.written.len()
    }
}

fn first_prefix(filter: &Filter) -> Next {
    if filter.prefixes().is_empty() { Next::End } else { Next::Prefix(0, None) }
}

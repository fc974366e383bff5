//! One watcher: what it has been told, and where it looks for what comes next.

use std::future::poll_fn;
use std::sync::Arc;

use super::Counted;
use super::desk::{Desk, settled};
use super::history::{Forgotten, Past, Slice};
use super::initial::{Initial, Page};
use super::outbox::{End, Outbox, Picked, WAITING};
use crate::model::{NamespaceName, Version};
use crate::store::embedded::commit::Ticket;
use crate::store::embedded::namespace::{Namespace, Turn};
use crate::store::embedded::shared::Shared;
use crate::store::{
    Delivery, Error, Event, Filter, Start, Values, WatchError, WatchOrder, Watching,
};

/// Bytes of one delivery, about; a turn is delivered whole, however large.
const DELIVERY_BYTES: usize = 256 << 10;

/// Events that are read from the history at a time, or those of one turn that has more.
const EVENTS_AT_ONCE: usize = 1_024;

/// A watch under way.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    name: NamespaceName,
    filter: Arc<Filter>,
    values: Values,
    /// What must be waited for before anybody may hear of the version it began at.
    opening: Option<Ticket>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The namespace is not there yet.
    Unborn(Start),
    /// Entries as they are, before what happens to them.
    Initial(Box<Initial>),
    /// Reading the history.
    Behind(Place),
    /// At a desk.
    Seated(Place, Seat),
}

/// In which namespace, and up to where everything has been delivered.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) namespace: Arc<Namespace>,
    counted: Counted,
    pub(super) cursor: Version,
}

/// A seat at a desk, given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) desk: Arc<Desk>,
    pub(super) outbox: Arc<Outbox>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.leave(&self.outbox);
    }
}

impl Watcher {
    /// Begins to watch.
    ///
    /// Errors: the namespace does not exist and is not made on first use; what `order` wants to
    /// begin after is no longer here, or not there yet.
    pub(in crate::store::embedded) fn open(
        shared: &Arc<Shared>,
        name: &NamespaceName,
        order: WatchOrder,
    ) -> Result<Watcher, Error> {
        let WatchOrder { filter, start, values } = order;
        let mut watcher = Watcher {
            shared: Arc::clone(shared),
            name: name.clone(),
            filter: Arc::new(filter),
            values,
            opening: None,
            phase: Phase::Unborn(start),
        };
        match shared.find(name)? {
            Some(namespace) => watcher.begin(&namespace, start)?,
            None => match start {
                Start::After(version) if version > Version(0) => {
                    return Err(Error::Watch(WatchError::VersionInFuture { version }));
                }
                Start::After(_) | Start::Now | Start::Entries => {}
            },
        }
        Ok(watcher)
    }

    /// Takes its place in `namespace`.
    fn begin(&mut self, namespace: &Arc<Namespace>, start: Start) -> Result<(), Error> {
        let counted = Counted::new(namespace);
        let mut turn = namespace.enter().ok_or_else(|| self.gone())?;
        let last = turn.state.history.last();
        let cursor = match start {
            Start::Now | Start::Entries => last,
            Start::After(version) if version > last => {
                return Err(Error::Watch(WatchError::VersionInFuture { version }));
            }
            Start::After(version) => {
                turn.state
                    .history
                    .check(version)
                    .map_err(|oldest| Error::Watch(WatchError::HistoryLost { oldest }))?;
                version
            }
        };
        self.opening = Some(turn.seen_all(&self.shared));
        let place = Place { namespace: Arc::clone(namespace), counted, cursor };
        self.phase = match start {
            Start::Entries => {
                let initial = Initial::new(&self.shared, &mut turn, place, &self.filter);
                Phase::Initial(Box::new(initial))
            }
            // With nothing to catch up on it sits down at once.
            Start::Now | Start::After(_) if cursor == last => {
                let seat = sit_down(&self.shared, &mut turn, &place, &self.filter, cursor);
                Phase::Seated(place, seat)
            }
            Start::Now | Start::After(_) => Phase::Behind(place),
        };
        Ok(())
    }

    fn gone(&self) -> Error {
        Error::NamespaceNotFound(self.name.as_str().to_owned())
    }

    /// Waits until anybody may hear of the version it began at.
    pub(in crate::store::embedded) async fn settle(&mut self) -> Result<(), Error> {
        if let Some(ticket) = self.opening {
            settled(&self.shared, ticket).await?;
            self.opening = None;
        }
        Ok(())
    }

    /// One step; `None`: nothing came of it, go on.
    async fn step(&mut self) -> Result<Option<Delivery>, Error> {
        if self.shared.is_stopping() {
            return Err(Error::Stopped);
        }
        self.settle().await?;
        match &mut self.phase {
            Phase::Unborn(start) => {
                let start = *start;
                let namespace = self.shared.registry.born(&self.name).await;
                self.begin(&namespace, at_birth(&namespace, start))?;
                Ok(None)
            }
            Phase::Initial(initial) => {
                let page = initial.page(&self.shared, &self.filter, self.values).await?;
                self.take_page(page)
            }
            Phase::Behind(_) => self.catch_up().await,
            Phase::Seated(place, seat) => {
                poll_fn(|cx| seat.outbox.poll_ready(cx)).await;
                let delivery = unpack(place, &seat.outbox, self.values);
                if delivery.is_some() {
                    return Ok(delivery);
                }
                match seat.outbox.end() {
                    None => {}
                    Some(End::Full(version)) => self.stand_up(version),
                    // The desk's task is gone, and the store is not.
                    Some(End::Over(Error::Stopped)) if !self.shared.is_stopping() => {
                        self.stand_up(Version(0));
                    }
                    Some(End::Over(error)) => return Err(error),
                }
                Ok(None)
            }
        }
    }

    /// Gives up its seat and reads the history again, from `version` on if that is further.
    fn stand_up(&mut self, version: Version) {
        let phase = std::mem::replace(&mut self.phase, Phase::Unborn(Start::Now));
        self.phase = match phase {
            Phase::Seated(Place { namespace, counted, cursor }, _) => {
                let cursor = cursor.max(version);
                Phase::Behind(Place { namespace, counted, cursor })
            }
            other @ (Phase::Unborn(_) | Phase::Initial(_) | Phase::Behind(_)) => other,
        };
    }

    fn take_page(&mut self, page: Page) -> Result<Option<Delivery>, Error> {
        let Page { events, is_last } = page;
        if !is_last {
            let more = Delivery { events, version: Version(0), initial_complete: false };
            return Ok((!more.events.is_empty()).then_some(more));
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Unborn(Start::Now));
        let Phase::Initial(initial) = phase else { return Err(Error::Stopped) };
        let (place, seat) = initial.finish();
        let version = place.cursor;
        seat.outbox.narrow(WAITING);
        self.phase = Phase::Seated(place, seat);
        Ok(Some(Delivery { events, version, initial_complete: true }))
    }

    /// Reads the history once, and takes a seat if that was all of it.
    async fn catch_up(&mut self) -> Result<Option<Delivery>, Error> {
        let Phase::Behind(place) = &self.phase else { return Ok(None) };
        let cursor = place.cursor;
        let lagging = || Error::Watch(WatchError::Lagging { last: Some(cursor) });
        let (slice, seat) = {
            let mut turn = place.namespace.enter().ok_or_else(|| self.gone())?;
            let slice = turn.state.history.after(cursor, EVENTS_AT_ONCE);
            let slice = slice.map_err(|Forgotten| lagging())?;
            let seat = (!slice.more)
                .then(|| sit_down(&self.shared, &mut turn, place, &self.filter, slice.through));
            (slice, seat)
        };
        settled(&self.shared, slice.ticket).await?;
        let (delivery, is_whole) = self.tell(slice);
        let phase = std::mem::replace(&mut self.phase, Phase::Unborn(Start::Now));
        let Phase::Behind(mut place) = phase else { return Ok(None) };
        place.cursor = delivery.version;
        self.phase = match seat.filter(|_| is_whole) {
            Some(seat) => Phase::Seated(place, seat),
            None => Phase::Behind(place),
        };
        Ok((!delivery.events.is_empty()).then_some(delivery))
    }

    /// What `slice` tells this watcher, up to the size of a delivery, and whether that is all of it.
    fn tell(&self, slice: Slice) -> (Delivery, bool) {
        let Phase::Behind(Place { cursor, .. }) = &self.phase else { return Default::default() };
        let mut delivery = Delivery { version: *cursor, ..Delivery::default() };
        let mut bytes = 0;
        for past in slice.turns {
            let events = (0..past.len()).filter(|event| {
                past.version(*event) > *cursor && concerns(&self.filter, &past, *event)
            });
            let events: Vec<_> = events.collect();
            bytes += events.iter().map(|e| past.event_bytes(*e, self.values)).sum::<usize>();
            if bytes > DELIVERY_BYTES && !delivery.events.is_empty() && !events.is_empty() {
                return (delivery, false);
            }
            delivery.events.extend(events.into_iter().map(|event| past.event(event, self.values)));
            delivery.version = past.last;
        }
        delivery.version = slice.through;
        (delivery, true)
    }
}

#[cfg(test)]
impl Watcher {
    /// How many keys it has noted as written while it sends initial entries.
    pub(in crate::store::embedded) fn written_meanwhile(&self) -> usize {
        if let Phase::Initial(initial) = &self.phase { initial.written() } else { 0 }
    }
}

/// A namespace that comes into being while it is waited for is watched from its first change on.
fn at_birth(namespace: &Namespace, start: Start) -> Start {
    let floor = || namespace.enter().map_or(Version(0), |turn| turn.definition().version_floor);
    match start {
        Start::Now | Start::After(_) => Start::After(floor()),
        Start::Entries => Start::Entries,
    }
}

fn concerns(filter: &Filter, past: &Past, event: usize) -> bool {
    past.key(event).is_empty() || filter.matches(past.key(event))
}

/// Takes a seat for what happens after `cursor`, in the turn in which that was the last.
pub(super) fn sit_down(
    shared: &Arc<Shared>,
    turn: &mut Turn<'_>,
    place: &Place,
    filter: &Arc<Filter>,
    cursor: Version,
) -> Seat {
    let (desk, is_new) = Desk::here(shared, &place.namespace, cursor);
    if is_new {
        turn.ring_from_now_on(&desk);
    }
    let outbox = Outbox::new(Arc::clone(filter), cursor, WAITING);
    desk.table.lock().add(&outbox, cursor);
    Seat { desk, outbox }
}

/// A delivery of what waits in `outbox`, if anything does.
fn unpack(place: &mut Place, outbox: &Outbox, values: Values) -> Option<Delivery> {
    let mut delivery = Delivery { version: place.cursor, ..Delivery::default() };
    let mut bytes = 0;
    let size = |picked: &Picked| -> usize {
        let event_bytes = |event: &u32| picked.past.event_bytes(*event as usize, values);
        picked.events.iter().map(event_bytes).sum()
    };
    let fits = |bytes: &mut usize, picked: &Picked, is_first: bool| {
        *bytes += size(picked);
        is_first || *bytes <= DELIVERY_BYTES
    };
    while let Some(picked) =
        outbox.take_if(|picked| fits(&mut bytes, picked, delivery.events.is_empty()))
    {
        let Picked { past, events } = picked;
        delivery.events.extend(events.iter().map(|event| past.event(*event as usize, values)));
        delivery.version = past.last;
    }
    if delivery.events.is_empty() {
        return None;
    }
    place.cursor = delivery.version;
    Some(delivery)
}

impl Watching for Watcher {
    async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.step().await? {
                return Ok(delivery);
            }
        }
    }

    fn position(&self) -> Version {
        match &self.phase {
            _ if self.opening.is_some() => Version(0),
            Phase::Unborn(_) | Phase::Initial(_) => Version(0),
            Phase::Behind(place) => place.cursor,
            Phase::Seated(place, seat) => {
                // In this order: what is given out after the first look is in the outbox.
                let cursor = seat.desk.table.lock().cursor;
                if seat.outbox.is_empty() { place.cursor.max(cursor) } else { place.cursor }
            }
        }
    }
}

/// An entry as it is, for whoever asked for entries first.
pub(super) fn initial_event(key: String, entry: crate::store::Entry) -> Event {
    let at = entry.written;
    Event { kind: crate::store::EventKind::Initial, key, entry, at }
}

//! The desk of one worker for the watchers of one namespace: it reads the history once for all of
//! them, and wakes only those whom something concerns.
//!
//! Writers only ring it, which costs nothing when it is already rung; its task runs on the worker of
//! its watchers, because a wake from another thread costs a system call each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::history::{Forgotten, Past, Slice};
use super::outbox::{Outbox, Put};
use crate::model::Version;
use crate::store::embedded::commit::Ticket;
use crate::store::embedded::namespace::Namespace;
use crate::store::embedded::shared::Shared;
use crate::store::{Error, EventKind};

/// Events read from the history at a time, or those of one turn that has more; well below a
/// millisecond of work.
const EVENTS_AT_ONCE: usize = 256;

/// When a log that could not be synced is asked again.
const STALL_RETRY: Duration = Duration::from_millis(100);

/// The desk.
#[derive(Debug)]
pub(in crate::store::embedded) struct Desk {
    bell: Notify,
    /// Whether it has been rung and has not looked yet.
    is_rung: AtomicBool,
    pub(super) table: Mutex<Table>,
}

/// Who sits at a desk.
#[derive(Debug)]
pub(super) struct Table {
    /// Everything up to this version has been given out.
    pub(super) cursor: Version,
    everyone: Vec<Arc<Outbox>>,
    by_key: AHashMap<Box<str>, Vec<Arc<Outbox>>>,
    /// By length, then by prefix.
    by_prefix: BTreeMap<usize, AHashMap<Box<str>, Vec<Arc<Outbox>>>>,
    /// How many there are.
    watchers: usize,
    is_closed: bool,
}

thread_local! {
    /// The desks of this thread.
    static DESKS: RefCell<Vec<(Weak<Namespace>, Arc<Desk>)>> = const { RefCell::new(Vec::new()) };
}

impl Desk {
    /// This thread's desk for `namespace`, where everything up to `cursor` has been given out; set up
    /// where there is none, and then also to be put among those that are rung.
    pub(super) fn here(
        shared: &Arc<Shared>,
        namespace: &Arc<Namespace>,
        cursor: Version,
    ) -> (Arc<Desk>, bool) {
        DESKS.with_borrow_mut(|desks| {
            let is_open = |desk: &Desk| !desk.table.lock().is_closed;
            let own = Arc::as_ptr(namespace);
            if let Some((_, desk)) = desks.iter().find(|(n, d)| n.as_ptr() == own && is_open(d)) {
                return (Arc::clone(desk), false);
            }
            desks.retain(|(owner, desk)| owner.strong_count() > 0 && is_open(desk));
            let desk = Arc::new(Desk {
                bell: Notify::new(),
                is_rung: AtomicBool::new(false),
                table: Mutex::new(Table::new(cursor)),
            });
            let closing = Closing(Arc::clone(&desk));
            tokio::spawn(serve(Arc::downgrade(shared), Arc::clone(namespace), closing));
            desks.push((Arc::downgrade(namespace), Arc::clone(&desk)));
            (desk, true)
        })
    }

    /// Says that there is something new.
    pub(in crate::store::embedded) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Whether nobody sits here, nor will.
    pub(in crate::store::embedded) fn is_closed(&self) -> bool {
        self.table.lock().is_closed
    }

    pub(super) fn leave(&self, outbox: &Arc<Outbox>) {
        let is_last = {
            let mut table = self.table.lock();
            table.remove(outbox);
            table.watchers == 0
        };
        if is_last {
            self.ring();
        }
    }
}

/// Whom a slice concerns, each about once however much it tells him.
#[derive(Debug, Default)]
struct Concerned {
    /// Those for whom nothing waited before.
    asleep: Vec<Arc<Outbox>>,
    /// Those who had no room for it.
    full: Vec<Arc<Outbox>>,
}

/// Closes a desk with its task, also where the whole runtime is dropped.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.table.lock().close(&Error::Stopped);
    }
}

/// The work of a desk; ends when nobody sits there any more.
async fn serve(shared: Weak<Shared>, namespace: Arc<Namespace>, closing: Closing) {
    let desk = &closing.0;
    loop {
        desk.bell.notified().await;
        // One yield lets everything that this worker has read be ruled upon first.
        yield_now().await;
        desk.is_rung.store(false, Ordering::Release);
        let Some(shared) = shared.upgrade() else { return };
        if shared.is_stopping() {
            return;
        }
        loop {
            match give_out(&shared, &namespace, desk).await {
                Ok(true) => yield_now().await,
                Ok(false) => break,
                Err(error) => return desk.table.lock().close(&error),
            }
        }
        let mut table = desk.table.lock();
        if table.watchers == 0 {
            return table.close(&Error::Stopped);
        }
    }
}

/// Gives out what happened next; returns whether there may be more.
async fn give_out(
    shared: &Arc<Shared>,
    namespace: &Arc<Namespace>,
    desk: &Desk,
) -> Result<bool, Error> {
    let cursor = desk.table.lock().cursor;
    let read = namespace.enter().map(|turn| turn.state.history.after(cursor, EVENTS_AT_ONCE));
    let slice = match read {
        None => return Err(Error::NamespaceNotFound(namespace.name.as_str().to_owned())),
        Some(Ok(slice)) => slice,
        // So many turns at once that even this desk could not follow: everybody has to look himself.
        Some(Err(Forgotten)) => {
            let last = namespace.enter().map_or(cursor, |turn| turn.state.history.last());
            desk.table.lock().skip_to(last);
            return Ok(true);
        }
    };
    if slice.through == cursor {
        return Ok(false);
    }
    settled(shared, slice.ticket).await?;
    desk.table.lock().give_out(&slice);
    Ok(slice.more)
}

/// Waits until what has this ticket may be told.
///
/// Errors: it never may, because the store ends.
pub(super) async fn settled(shared: &Arc<Shared>, ticket: Ticket) -> Result<(), Error> {
    loop {
        // As for the answer to a write: what is told shall not be undone by a kill either.
        if shared.commit.wait(ticket).await.is_ok() {
            return Ok(());
        }
        if shared.is_stopping() {
            return Err(Error::Stopped);
        }
        if shared.commit.has_failed() {
            return Err(Error::LogFailed);
        }
        // The disk is full: nobody hears of it before there is room again.
        tokio::time::sleep(STALL_RETRY).await;
    }
}

impl Table {
    fn new(cursor: Version) -> Table {
        Table {
            cursor,
            everyone: Vec::new(),
            by_key: AHashMap::new(),
            by_prefix: BTreeMap::new(),
            watchers: 0,
            is_closed: false,
        }
    }

    /// Takes a watcher in who has been told everything up to `cursor`, the present.
    pub(super) fn add(&mut self, outbox: &Arc<Outbox>, cursor: Version) {
        if self.watchers == 0 {
            // What happened while nobody sat here may not even be known any more.
            self.cursor = cursor;
        }
        self.watchers += 1;
        if outbox.filter.is_everything() {
            self.everyone.push(Arc::clone(outbox));
        }
        for key in outbox.filter.keys() {
            self.by_key.entry(key.as_str().into()).or_default().push(Arc::clone(outbox));
        }
        for prefix in outbox.filter.prefixes() {
            let same_length = self.by_prefix.entry(prefix.len()).or_default();
            same_length.entry(prefix.as_str().into()).or_default().push(Arc::clone(outbox));
        }
    }

    fn remove(&mut self, outbox: &Arc<Outbox>) {
        let mut was_there = false;
        let mut strike = |seats: &mut Vec<Arc<Outbox>>| {
            let before = seats.len();
            seats.retain(|other| !Arc::ptr_eq(other, outbox));
            was_there |= seats.len() < before;
            seats.is_empty()
        };
        if outbox.filter.is_everything() {
            strike(&mut self.everyone);
        }
        for key in outbox.filter.keys() {
            if self.by_key.get_mut(key.as_str()).is_some_and(&mut strike) {
                self.by_key.remove(key.as_str());
            }
        }
        for prefix in outbox.filter.prefixes() {
            if let Some(same_length) = self.by_prefix.get_mut(&prefix.len())
                && same_length.get_mut(prefix.as_str()).is_some_and(&mut strike)
            {
                same_length.remove(prefix.as_str());
                if same_length.is_empty() {
                    self.by_prefix.remove(&prefix.len());
                }
            }
        }
        self.watchers -= usize::from(was_there);
    }

    /// Puts what `slice` tells into the outboxes of those who asked for it, and wakes them.
    fn give_out(&mut self, slice: &Slice) {
        let mut concerned = Concerned::default();
        for past in &slice.turns {
            for event in 0..past.len() {
                self.put(past, event, &mut concerned);
            }
        }
        self.cursor = slice.through;
        let Concerned { asleep, full } = concerned;
        for outbox in &full {
            // It reads the history from now on, and comes back when it has caught up.
            self.remove(outbox);
        }
        for outbox in asleep.iter().chain(&full) {
            outbox.wake();
        }
    }

    fn put(&self, past: &Arc<Past>, event: usize, concerned: &mut Concerned) {
        let number = u32::try_from(event).expect("a turn has fewer events than 2^32");
        let mut give = |outbox: &Arc<Outbox>| match outbox.put(past, number) {
            Put::First => concerned.asleep.push(Arc::clone(outbox)),
            Put::Full => concerned.full.push(Arc::clone(outbox)),
            Put::More | Put::AlreadyFull => {}
        };
        self.everyone.iter().for_each(&mut give);
        if past.kind(event) == EventKind::Cleared {
            self.by_key.values().flatten().for_each(&mut give);
            self.by_prefix.values().flat_map(|same| same.values()).flatten().for_each(&mut give);
            return;
        }
        let key = past.key(event);
        self.by_key.get(key).into_iter().flatten().for_each(&mut give);
        for (length, prefixes) in &self.by_prefix {
            let Some(prefix) = key.get(..*length) else { continue };
            prefixes.get(prefix).into_iter().flatten().for_each(&mut give);
        }
    }

    /// Gives up what happened up to `version`: whoever sits here looks into the history himself.
    fn skip_to(&mut self, version: Version) {
        let given_out = std::mem::replace(&mut self.cursor, version);
        for outbox in self.all() {
            outbox.overflow(given_out);
            self.remove(&outbox);
            outbox.wake();
        }
    }

    fn close(&mut self, error: &Error) {
        self.is_closed = true;
        for outbox in self.all() {
            outbox.close(error.clone());
            outbox.wake();
        }
    }

    /// Everybody, some more than once.
    fn all(&self) -> Vec<Arc<Outbox>> {
        let by_prefix = self.by_prefix.values().flat_map(|same| same.values()).flatten();
        self.everyone
            .iter()
            .chain(self.by_key.values().flatten())
            .chain(by_prefix)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::history::{History, Keep};
    use super::super::outbox::WAITING;
    use super::*;
    use crate::model::{Change, Mutation, UnixMillis};
    use crate::store::Filter;

    const KEEP: Keep = Keep { events: 100_000, is_watched: true };

    fn push(history: &mut History, keys: usize) {
        let change = |n: usize| Change::Set {
            key: Cow::Owned(format!("k{n}")),
            value: Cow::Borrowed(b"v"),
            deadline: None,
            written: UnixMillis::ZERO,
        };
        let first = history.last().0 + 1;
        let mutation = |n| Mutation { version: Version(first + n as u64), change: change(n) };
        let mutations: Vec<_> = (0..keys).map(mutation).collect();
        history.push(&mutations, UnixMillis::ZERO, Ticket::Now, KEEP);
    }

    #[test]
    fn whom_a_slice_concerns_is_noted_once_however_much_it_tells() {
        let mut table = Table::new(Version(0));
        let filters =
            [Filter::default(), Filter::default(), Filter::new(Vec::new(), vec!["k".into()])];
        for filter in filters {
            table.add(&Outbox::new(Arc::new(filter), Version(0), WAITING), Version(0));
        }
        let mut history = History::new(Version(0));
        // Few turns with many events, and then more turns than an outbox has room for.
        (0..3).for_each(|_| push(&mut history, 50));
        (0..WAITING.turns + 5).for_each(|_| push(&mut history, 1));
        let slice = history.after(Version(0), usize::MAX).unwrap();
        let mut concerned = Concerned::default();
        for past in &slice.turns {
            (0..past.len()).for_each(|event| table.put(past, event, &mut concerned));
        }
        assert_eq!((concerned.asleep.len(), concerned.full.len()), (3, 3));
        table.give_out(&slice);
        assert_eq!(table.watchers, 3, "whoever was full before is not full again");
    }

    #[test]
    fn a_slice_is_bounded_by_its_events_and_has_whole_turns() {
        let mut history = History::new(Version(0));
        (0..20).for_each(|_| push(&mut history, 100));
        let slice = history.after(Version(0), EVENTS_AT_ONCE).unwrap();
        assert_eq!((slice.turns.len(), slice.through, slice.more), (3, Version(300), true));
        let slice = history.after(Version(1_950), 1).unwrap();
        assert_eq!((slice.turns.len(), slice.through, slice.more), (1, Version(2_000), false));
    }
}

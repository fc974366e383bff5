//! What waits for one watcher.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::history::Past;
use crate::model::Version;
use crate::store::{Error, Filter};

/// Most turns, and bytes of turns, that wait for a watcher. Whoever falls behind further reads the
/// history instead, which is there anyway; only who falls behind that as well is cut off.
pub(super) const WAITING: Room = Room { turns: 128, bytes: 256 << 10 };

/// The same while initial entries are sent: nothing but the outbox keeps what happens meanwhile.
pub(super) const WAITING_INITIALLY: Room = Room { turns: 1 << 16, bytes: 32 << 20 };

/// Room for turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) turns: usize,
    pub(super) bytes: usize,
}

/// The events of a turn that a watcher asked for, by their places; never none.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) past: Arc<Past>,
    pub(super) events: Vec<u32>,
}

/// A watcher's place at its desk.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) filter: Arc<Filter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Picked>,
    bytes: usize,
    room: Room,
    /// What happened up to this version is not for here.
    after: Version,
    end: Option<End>,
    waker: Option<Waker>,
}

/// Why nothing more is put into an outbox.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It was full, and is empty now: what happened after this version is to be looked for elsewhere.
    Full(Version),
    /// There will be no more.
    Over(Error),
}

/// What came of putting an event into an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is the first that waits: the watcher may be asleep.
    First,
    /// Others wait already, or it is not for here.
    More,
    /// There was no room, which ends it.
    Full,
    /// It had ended before.
    AlreadyFull,
}

impl Outbox {
    /// An outbox for what `filter` matches of what happens after `after`.
    pub(super) fn new(filter: Arc<Filter>, after: Version, room: Room) -> Arc<Outbox> {
        let waiting = VecDeque::new();
        let state = State { waiting, bytes: 0, room, after, end: None, waker: None };
        Arc::new(Outbox { filter, state: Mutex::new(state) })
    }

    /// Puts an event of `past` in.
    pub(super) fn put(&self, past: &Arc<Past>, event: u32) -> Put {
        let mut state = self.state.lock();
        if past.last <= state.after || past.version(event as usize) <= state.after {
            return Put::More;
        }
        if state.end.is_some() {
            return Put::AlreadyFull;
        }
        if let Some(picked) = state.waiting.back_mut()
            && Arc::ptr_eq(&picked.past, past)
        {
            // One that clears everything may concern a watcher more than once.
            if picked.events.last() != Some(&event) {
                picked.events.push(event);
            }
            return Put::More;
        }
        let is_full = state.waiting.len() >= state.room.turns
            || (state.bytes > 0 && state.bytes + past.bytes() > state.room.bytes);
        if is_full {
            let before = Version(past.version(event as usize).0 - 1);
            state.overflow(before);
            return Put::Full;
        }
        let put = if state.waiting.is_empty() { Put::First } else { Put::More };
        state.bytes += past.bytes();
        state.waiting.push_back(Picked { past: Arc::clone(past), events: vec![event] });
        put
    }

    /// Empties it, as if it were full: what happened after `given_out` will not come here.
    pub(super) fn overflow(&self, given_out: Version) {
        self.state.lock().overflow(given_out);
    }

    /// Says that nothing more will come, because of `error`.
    pub(super) fn close(&self, error: Error) {
        self.state.lock().end.get_or_insert(End::Over(error));
    }

    /// Wakes the watcher, if something waits for it.
    pub(super) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ready when something waits, or nothing more will come.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.waiting.is_empty() || state.end.is_some() {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes the first of what waits, if `may` says so.
    pub(super) fn take_if(&self, may: impl FnOnce(&Picked) -> bool) -> Option<Picked> {
        let mut state = self.state.lock();
        if !state.waiting.front().is_some_and(may) {
            return None;
        }
        let picked = state.waiting.pop_front()?;
        state.bytes -= picked.past.bytes();
        Some(picked)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }

    /// Why nothing more is put in; `None`: more may come.
    pub(super) fn end(&self) -> Option<End> {
        self.state.lock().end.clone()
    }

    /// Shows what waits and is of versions after `after`, the last first.
    pub(super) fn look_back(&self, after: Version, mut see: impl FnMut(&Picked)) {
        let state = self.state.lock();
        state.waiting.iter().rev().take_while(|p| p.past.last > after).for_each(&mut see);
    }

    /// From now on there is less room.
    pub(super) fn narrow(&self, room: Room) {
        self.state.lock().room = room;
    }
}

impl State {
    fn overflow(&mut self, given_out: Version) {
        let first =
            self.waiting.front().map(|picked| picked.past.version(picked.events[0] as usize));
        let before = first.map_or(given_out, |first| Version(first.0 - 1));
        self.waiting = VecDeque::new();
        self.bytes = 0;
        self.end.get_or_insert(End::Full(before.max(self.after)));
    }
}

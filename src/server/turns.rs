//! Turns: how the connections of a worker share its thread.
//!
//! A connection and the calls on it are one task. Whoever of them has something to do rings a
//! [`Bell`]; in a turn the connection reads, calls are worked on in the order in which they rang, and
//! their answers leave together. A turn that takes too long is cut, and goes on by way of the
//! [`Lane`]. So a connection with hundreds of calls under way delays another's single one by about
//! [`TURN`], not by all that it has asked for.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use parking_lot::Mutex;

use super::lane::Lane;

/// How long a turn may take; then it ends with the call that it is at. Long enough that what it costs
/// to change, a look for news and a write to the socket, is little beside it.
pub(super) const TURN: Duration = Duration::from_micros(50);

/// A call on a connection, from its headers to the last byte of its answer.
type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether a connection may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    GoesOn,
    /// There are calls on it that its peer has given up and that have not come to know of it yet, as
    /// many again as there may be. They will, without another word of the peer.
    Paused,
}

/// What HTTP has come to on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    GoesOn,
    Over,
}

/// Takes the calls that HTTP begins.
#[derive(Clone)]
pub(super) struct Begun(Arc<Mutex<Vec<Call>>>);

impl<F> Executor<F> for Begun
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.0.lock().push(Box::pin(call));
    }
}

/// Who wants to be polled, and the task that does it.
#[derive(Default)]
struct Queue {
    connection: bool,
    calls: VecDeque<usize>,
    /// None during a turn: who rings then is seen to before it ends.
    task: Option<Waker>,
}

/// What wakes a connection or one of its calls.
struct Bell {
    queue: Arc<Mutex<Queue>>,
    /// None: the connection's.
    call: Option<usize>,
    rung: AtomicBool,
}

impl Bell {
    /// Before whoever rang is polled: who rings meanwhile wants it to be polled again. Whatever came
    /// before the ring is seen after this.
    fn answer(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut queue = self.queue.lock();
        match self.call {
            None => queue.connection = true,
            Some(call) => queue.calls.push_back(call),
        }
        if let Some(task) = queue.task.take() {
            drop(queue);
            task.wake();
        }
    }
}

/// How far the calls have come that rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Done,
    /// The turn is over.
    Cut,
}

/// A place for a call, used again and again.
struct Slot {
    call: Option<Call>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The turns of one connection.
pub(super) struct Turns {
    lane: Lane,
    is_in_lane: bool,
    /// From so many calls on nothing is read.
    calls_max: usize,
    reading: Reading,
    talk: Talk,
    queue: Arc<Mutex<Queue>>,
    begun: Begun,
    slots: Vec<Slot>,
    free: Vec<usize>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl Turns {
    /// The turns of a connection on the worker with this `lane`, whose peer may have `calls` open at a
    /// time. It may reset them as soon as they are open, and open others, at no cost to itself.
    pub(super) fn new(lane: Lane, calls: u32) -> Turns {
        let queue = Arc::new(Mutex::new(Queue { connection: true, ..Queue::default() }));
        let rung = AtomicBool::new(true);
        let bell = Arc::new(Bell { queue: Arc::clone(&queue), call: None, rung });
        Turns {
            lane,
            is_in_lane: false,
            calls_max: usize::try_from(calls).unwrap_or(usize::MAX).saturating_mul(2),
            reading: Reading::GoesOn,
            talk: Talk::GoesOn,
            queue,
            begun: Begun(Arc::default()),
            slots: Vec::new(),
            free: Vec::new(),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// How many calls there were at a time.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    fn calls(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// What HTTP hands its calls to.
    pub(super) fn executor(&self) -> Begun {
        self.begun.clone()
    }

    /// One turn. `connection` is polled when it rang, until it has ended, and if calls were worked on
    /// once more to let their answers out; `finish` comes last and learns whether it has ended. Either
    /// is woken as the connection is.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut connection: impl FnMut(&mut Context<'_>, Reading) -> Poll<()>,
        finish: impl FnOnce(&mut Context<'_>, Talk) -> Poll<T>,
    ) -> Poll<T> {
        self.queue.lock().task = None;
        let waker = self.waker.clone();
        let own = &mut Context::from_waker(&waker);
        self.poll_connection(own, &mut connection);
        // From here: whatever it took to read, calls are worked on.
        let end = Instant::now() + TURN;
        while self.work_until(end) == Work::Done && self.is_asked() && Instant::now() < end {
            self.poll_connection(own, &mut connection);
        }
        self.poll_connection(own, &mut connection);
        let finished = finish(own, self.talk);
        self.leave(cx, &finished);
        finished
    }

    fn is_asked(&self) -> bool {
        let queue = self.queue.lock();
        queue.connection || !queue.calls.is_empty()
    }

    fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut impl FnMut(&mut Context<'_>, Reading) -> Poll<()>,
    ) {
        if !std::mem::take(&mut self.queue.lock().connection) {
            return;
        }
        self.bell.answer();
        if self.talk == Talk::Over {
            return;
        }
        self.reading = match self.calls() < self.calls_max {
            true => Reading::GoesOn,
            false => Reading::Paused,
        };
        if connection(cx, self.reading).is_ready() {
            self.talk = Talk::Over;
        }
        let mut begun = self.begun.0.lock();
        for call in begun.drain(..) {
            let place = self.free.pop().unwrap_or_else(|| {
                let call = Some(self.slots.len());
                let (queue, rung) = (Arc::clone(&self.queue), AtomicBool::new(false));
                let bell = Arc::new(Bell { queue, call, rung });
                self.slots.push(Slot { call: None, waker: Waker::from(Arc::clone(&bell)), bell });
                self.slots.len() - 1
            });
            self.slots[place].call = Some(call);
            self.slots[place].bell.wake_by_ref();
        }
    }

    /// Works on the calls that rang, until `end`.
    fn work_until(&mut self, end: Instant) -> Work {
        loop {
            let Some(place) = self.queue.lock().calls.pop_front() else { return Work::Done };
            let slot = &mut self.slots[place];
            slot.bell.answer();
            let Some(call) = &mut slot.call else { continue };
            if call.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready() {
                slot.call = None;
                self.free.push(place);
                if self.reading == Reading::Paused && self.calls() < self.calls_max {
                    self.bell.wake_by_ref();
                }
            }
            if Instant::now() >= end {
                return Work::Cut;
            }
        }
    }

    /// Ends a turn. What is left to do waits in the lane.
    fn leave<T>(&mut self, cx: &mut Context<'_>, finished: &Poll<T>) {
        // Whoever is in the lane is woken by nobody else.
        let came_by_lane = std::mem::take(&mut self.is_in_lane);
        let mut queue = self.queue.lock();
        self.is_in_lane = finished.is_pending() && (queue.connection || !queue.calls.is_empty());
        if !self.is_in_lane {
            queue.task = Some(cx.waker().clone());
        }
        drop(queue);
        if self.is_in_lane {
            self.lane.enter(cx.waker());
        }
        if came_by_lane {
            self.lane.leave();
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // It panicked in its turn: one who waits is not polled, and does not end before the server.
        if self.is_in_lane {
            self.lane.leave();
        }
    }
}

//! Turns: how the connections of a worker share its thread.
//!
//! A connection and the calls on it are one task. Whoever of them has something to do rings a
//! [`Bell`]; in a turn the connection reads, calls are worked on in the order in which they rang, and
//! their answers leave together. A turn that takes too long is cut: the task goes on only after the
//! thread has looked for news and served those who want less. So a connection with hundreds of calls
//! under way delays another's single one by about a [`ROUND`], not by all that it has asked for.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use parking_lot::Mutex;

/// How long the turns of all connections that want more than a turn may take together.
pub(super) const ROUND: Duration = Duration::from_micros(200);

/// However many share a round, a turn is worth its while: what it writes leaves with one system call.
pub(super) const TURN_MIN: Duration = Duration::from_micros(20);

/// A call on a connection, from its headers to the last byte of its answer.
type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many connections of a worker want more than a turn. Clones count the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Round(Arc<AtomicUsize>);

impl Round {
    /// How long a turn may take now.
    pub(super) fn turn(&self) -> Duration {
        let busy = u32::try_from(self.0.load(Ordering::Relaxed).max(1)).unwrap_or(u32::MAX);
        (ROUND / busy).max(TURN_MIN)
    }
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

/// A place for a call, used again and again.
struct Slot {
    call: Option<Call>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The turns of one connection.
pub(super) struct Turns {
    round: Round,
    is_busy: bool,
    has_ended: bool,
    queue: Arc<Mutex<Queue>>,
    begun: Begun,
    slots: Vec<Slot>,
    free: Vec<usize>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl Turns {
    /// Turns in `round`.
    pub(super) fn new(round: Round) -> Turns {
        let queue = Arc::new(Mutex::new(Queue { connection: true, ..Queue::default() }));
        let rung = AtomicBool::new(true);
        let bell = Arc::new(Bell { queue: Arc::clone(&queue), call: None, rung });
        Turns {
            round,
            is_busy: false,
            has_ended: false,
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
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<()>,
        finish: impl FnOnce(&mut Context<'_>, bool) -> Poll<T>,
    ) -> Poll<T> {
        self.queue.lock().task = None;
        let end = Instant::now() + self.round.turn();
        let waker = self.waker.clone();
        let own = &mut Context::from_waker(&waker);
        let mut is_over = false;
        while !is_over && self.is_asked() {
            self.poll_connection(own, &mut connection);
            is_over = self.work_until(end) || Instant::now() >= end;
        }
        self.poll_connection(own, &mut connection);
        let finished = finish(own, self.has_ended);
        self.leave(cx);
        finished
    }

    fn is_asked(&self) -> bool {
        let queue = self.queue.lock();
        queue.connection || !queue.calls.is_empty()
    }

    fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) {
        if !std::mem::take(&mut self.queue.lock().connection) {
            return;
        }
        self.bell.rung.store(false, Ordering::Release);
        if self.has_ended {
            return;
        }
        self.has_ended = connection(cx).is_ready();
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

    /// Works on the calls that rang; true when `end` came before it was done with them.
    fn work_until(&mut self, end: Instant) -> bool {
        loop {
            let Some(place) = self.queue.lock().calls.pop_front() else { return false };
            let slot = &mut self.slots[place];
            // Before it is polled: who rings meanwhile wants it to be polled again.
            slot.bell.rung.store(false, Ordering::Release);
            let Some(call) = &mut slot.call else { continue };
            if call.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready() {
                slot.call = None;
                self.free.push(place);
            }
            if Instant::now() >= end {
                return true;
            }
        }
    }

    /// Ends a turn. What is left to do waits until the thread has looked for news.
    fn leave(&mut self, cx: &mut Context<'_>) {
        let mut queue = self.queue.lock();
        let is_busy = queue.connection || !queue.calls.is_empty();
        if !is_busy {
            queue.task = Some(cx.waker().clone());
        }
        drop(queue);
        if is_busy {
            // Polled once it has put this task behind all others; there is nothing more to it.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        self.set_busy(is_busy);
    }

    fn set_busy(&mut self, is_busy: bool) {
        match (self.is_busy, is_busy) {
            (false, true) => _ = self.round.0.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.round.0.fetch_sub(1, Ordering::Relaxed),
            (false, false) | (true, true) => {}
        }
        self.is_busy = is_busy;
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.set_busy(false);
    }
}

//! How many bytes of large requests, and how many large messages of answers, there may be at a time.
//!
//! A request that is small needs nobody's leave. One that is large takes the room it announces before
//! more of it is read, and has it until it is answered; where there is none it waits, and flow control
//! keeps the rest with its sender. As each takes all of its room at once, in turn, two never wait for
//! each other.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::PollSemaphore;
use tonic::Status;

use super::answers;
use super::limits::Limits;

/// A message of so many bytes is small. A connection may have one on each of its streams.
pub(super) const SMALL_BYTES_MAX: usize = 64 << 10;

/// What room is counted in; the count of a semaphore has 29 bits.
const UNIT_BYTES: usize = 1 << 10;

/// Large messages of streams that are on their way out of a connection at a time. One would fill it; with
/// some more a slow reader of one stream does not stop the others.
const LARGE_ANSWERS_MAX: usize = 8;

/// How long a request waits for room that others have. On its own connection it waits as long as its
/// deadline allows, because who is in its way is its sender.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// The room that the call at hand has taken, for whoever answers it to keep.
    static TAKEN: Cell<Option<Arc<Room>>> = const { Cell::new(None) };
}

/// Room for the large requests of all connections. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    all: Arc<Semaphore>,
    units_max: usize,
    connection_units_max: usize,
}

/// Room for the large requests of one connection. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Share(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget: Budget,
    own: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Budget {
        let units = |bytes: usize| bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let units_max = units(limits.request_bytes_max);
        let connection_units_max = units(limits.connection_request_bytes_max).min(units_max);
        Budget { all: Arc::new(Semaphore::new(units_max)), units_max, connection_units_max }
    }

    /// That of a new connection.
    pub(super) fn share(&self) -> Share {
        let own = Arc::new(Semaphore::new(self.connection_units_max));
        let answers = Arc::new(Semaphore::new(LARGE_ANSWERS_MAX));
        Share(Arc::new(Shared { budget: self.clone(), own, answers }))
    }
}

impl Share {
    /// The turns of a stream of answers.
    pub(super) fn turns(&self) -> Turns {
        Turns { free: PollSemaphore::new(Arc::clone(&self.0.answers)), taken: None }
    }

    /// Room for `bytes`, or for as many as one request can have.
    ///
    /// Errors: UNAVAILABLE (OVERLOADED) where others have it for too long.
    pub(super) async fn take(self, bytes: usize) -> Result<Arc<Room>, Status> {
        let Shared { budget, own, .. } = &*self.0;
        let most = budget.connection_units_max.min(budget.units_max);
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).min(most)).unwrap_or(u32::MAX);
        // The semaphores are never closed.
        let closed = |_| answers::overloaded(PATIENCE);
        let own = Arc::clone(own).acquire_many_owned(units).await.map_err(closed)?;
        let all = timeout(PATIENCE, Arc::clone(&budget.all).acquire_many_owned(units)).await;
        let all = all.map_err(|_| answers::overloaded(PATIENCE))?.map_err(closed)?;
        let room = Arc::new(Room { _own: own, _all: all });
        TAKEN.set(Some(Arc::clone(&room)));
        Ok(room)
    }
}

/// When a stream may make its next message: not as long as too many large ones of its connection are on
/// their way, because a message that nobody reads stays in memory.
#[derive(Debug)]
pub(super) struct Turns {
    free: PollSemaphore,
    taken: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Takes a turn.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken.is_some() {
            return Poll::Ready(());
        }
        self.free.poll_acquire(cx).map(|taken| self.taken = taken)
    }

    /// A message that was made. A large one keeps the turn until the last byte of it has been sent:
    /// until then all of it is in memory.
    pub(super) fn made(&mut self, message: Bytes) -> Bytes {
        let turn = self.taken.take();
        match message.len() > SMALL_BYTES_MAX {
            true => Bytes::from_owner(Leaving { message, _turn: turn }),
            false => message,
        }
    }

    /// Nothing is to be sent now.
    pub(super) fn pass(&mut self) {
        self.taken = None;
    }
}

/// A message on its way.
struct Leaving {
    message: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// What the call that was polled just now has taken.
pub(super) fn taken() -> Option<Arc<Room>> {
    TAKEN.take()
}

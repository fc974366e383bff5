//! How many bytes of large requests there may be at a time.
//!
//! A request that is small needs nobody's leave. One that is large takes the room it announces before
//! more of it is read, and has it until it is answered; where there is none it waits, and flow control
//! keeps the rest with its sender. As each takes all of its room at once, in turn, two never wait for
//! each other.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;

use super::answers;
use super::limits::Limits;

/// A message of so many bytes is small. A connection may have one on each of its streams.
pub(super) const SMALL_BYTES_MAX: usize = 64 << 10;

/// What room is counted in; the count of a semaphore has 29 bits.
const UNIT_BYTES: usize = 1 << 10;

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
pub(super) struct Share {
    budget: Budget,
    own: Arc<Semaphore>,
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
        Share { budget: self.clone(), own: Arc::new(Semaphore::new(self.connection_units_max)) }
    }
}

impl Share {
    /// Room for `bytes`, or for as many as one request can have.
    ///
    /// Errors: UNAVAILABLE (OVERLOADED) where others have it for too long.
    pub(super) async fn take(self, bytes: usize) -> Result<Arc<Room>, Status> {
        let most = self.budget.connection_units_max.min(self.budget.units_max);
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).min(most)).unwrap_or(u32::MAX);
        // The semaphores are never closed.
        let closed = |_| answers::overloaded(PATIENCE);
        let own = self.own.acquire_many_owned(units).await.map_err(closed)?;
        let all = timeout(PATIENCE, self.budget.all.acquire_many_owned(units)).await;
        let all = all.map_err(|_| answers::overloaded(PATIENCE))?.map_err(closed)?;
        let room = Arc::new(Room { _own: own, _all: all });
        TAKEN.set(Some(Arc::clone(&room)));
        Ok(room)
    }
}

/// What the call that was polled just now has taken.
pub(super) fn taken() -> Option<Arc<Room>> {
    TAKEN.take()
}

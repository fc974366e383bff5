//! How many long calls of a kind may be open at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::status;

/// Most streams of each kind at a time, over all callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Watches.
    pub watches_max: usize,
    /// Pipelines.
    pub pipelines_max: usize,
}

impl Default for StreamLimits {
    /// A watch costs some kilobytes; a pipeline may hold requests and answers of a few megabytes.
    fn default() -> Self {
        StreamLimits { watches_max: 10_000, pipelines_max: 1_000 }
    }
}

/// The places for one kind of stream.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
}

/// A stream's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit);

impl Places {
    pub(super) fn new(most: usize) -> Places {
        // More than a semaphore can count is no limit.
        let most = most.min(Semaphore::MAX_PERMITS);
        Places { free: Arc::new(Semaphore::new(most)), most }
    }

    /// A place for another stream.
    ///
    /// Errors: RESOURCE_EXHAUSTED (TOO_MANY_STREAMS) when all are taken.
    pub(super) fn take(&self) -> Result<Place, Status> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        free.map(Place).map_err(|_| status::too_many_streams(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_stream_has_ended() {
        let places = Places::new(1);
        let taken = places.take().unwrap();
        assert_eq!(places.take().unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(taken);
        assert!(places.take().is_ok());
    }
}

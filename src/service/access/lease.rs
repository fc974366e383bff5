//! How long a stream may go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::Status;

use super::directory::Shown;
use super::gate::Gate;
use super::principal::Principal;

/// How often it is looked whether a token has ended. That it was taken back is told at once.
const LOOK: Duration = Duration::from_secs(2);

/// The right of a stream to go on.
#[derive(Debug)]
pub struct Lease {
    gate: Gate,
    shown: Shown,
    principal: Arc<Principal>,
    looked: Instant,
}

impl Lease {
    pub(super) fn new(gate: Gate, shown: Shown, principal: Arc<Principal>) -> Lease {
        Lease { gate, shown, principal, looked: Instant::now() }
    }

    /// Why the stream has to end, if it has to; for one that always has something to do. Looks now and
    /// then only.
    pub fn ended(&mut self) -> Option<Status> {
        if self.looked.elapsed() < LOOK {
            return None;
        }
        self.looked = Instant::now();
        self.gate.verdict(&self.shown, &self.principal)
    }

    /// Resolves when the stream has to end, with why.
    pub fn ending(&self) -> impl Future<Output = Status> + Send + use<> {
        let (gate, shown) = (self.gate.clone(), self.shown.clone());
        let (principal, mut changes) = (Arc::clone(&self.principal), self.gate.changes());
        async move {
            loop {
                if let Some(status) = gate.verdict(&shown, &principal) {
                    return status;
                }
                tokio::select! {
                    // The gate is kept, so the channel is open.
                    _ = changes.changed() => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }
}

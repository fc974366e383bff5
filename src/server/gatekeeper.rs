//! Who is asked whether a call may come in.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderMap, Request};
use tonic::Status;
use tonic::body::Body;

use super::line::Line;

/// Is asked before each call, when no more than its head is known.
pub trait Gatekeeper: Send + Sync {
    /// Lets a call in. What it notes among the extensions of the request is for the service; a stream
    /// goes on as long as the lease, or as it likes without one.
    ///
    /// Errors: it is turned away.
    fn admit(
        &self,
        request: &mut Request<Body>,
        line: &Line,
    ) -> Result<Option<Box<dyn Lease>>, Turned>;

    /// Whether a request of `path` with these headers would be let in.
    ///
    /// Errors: why not.
    fn admits(&self, path: &str, headers: &HeaderMap, line: &Line) -> Result<(), Box<Status>>;
}

/// The right of a stream to go on.
pub trait Lease: Send {
    /// Why it has to end now, if it has to. Asked often: for a stream that is never without a frame.
    fn ended(&mut self) -> Option<Status>;

    /// Resolves with why it has to end, when it has to.
    fn ending(&self) -> Pin<Box<dyn Future<Output = Status> + Send>>;
}

/// Why a call is turned away.
#[derive(Debug)]
pub struct Turned {
    /// How its answer ends.
    pub status: Box<Status>,
    /// How long that waits.
    pub delay: Duration,
}

/// Lets everybody in.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Everybody;

#[cfg(test)]
impl Gatekeeper for Everybody {
    fn admit(
        &self,
        _request: &mut Request<Body>,
        _line: &Line,
    ) -> Result<Option<Box<dyn Lease>>, Turned> {
        Ok(None)
    }

    fn admits(&self, _path: &str, _headers: &HeaderMap, _line: &Line) -> Result<(), Box<Status>> {
        Ok(())
    }
}

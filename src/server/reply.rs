//! The body of an answer on its way out: watched for its status, its deadline and the server's end.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::sleep_until;
use tonic::Status;
use tonic::body::Body;

use super::answers;
use super::budget::{self, Turns};
use super::gatekeeper::Lease;
use super::readiness::{Phase, Readiness};
use crate::telemetry::{self, Failure, Kind, Method, Notes};

/// CANCELLED: what a call counts as whose caller went away before its end.
const CANCELLED: u16 = 1;

/// A body that counts how its call ends.
pub struct Reply {
    inner: Body,
    call: Option<Call>,
}

/// A call that has begun and will be counted once, when it ends or is dropped.
pub(super) struct Call {
    pub(super) method: &'static Method,
    pub(super) started: Instant,
    pub(super) deadline: Option<Instant>,
    /// Whether that is the caller's word.
    pub(super) is_timed: bool,
    /// When a stream may make its next message.
    pub(super) turns: Option<Turns>,
    /// How long a stream may go on, besides.
    pub(super) lease: Option<Box<dyn Lease>>,
    pub(super) readiness: Readiness,
    /// What ends a stream from outside. Made when the stream first waits: most answers never do.
    pub(super) ending: Option<Pin<Box<dyn Future<Output = Status> + Send>>>,
    pub(super) code: u16,
    pub(super) notes: Notes,
}

impl Call {
    /// Why a stream has to end now, although it has more to say. One that waits learns it from
    /// [`Call::ending`]; one that is never without a frame would not.
    fn overdue(&mut self) -> Option<Status> {
        if self.method.kind() == Kind::Unary {
            return None;
        }
        if self.readiness.phase() >= Phase::EndingStreams {
            return Some(answers::shutting_down());
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(answers::deadline_exceeded());
        }
        self.lease.as_mut().and_then(|lease| lease.ended())
    }

    /// Whether the time is over that its caller has given it; the server's own limit is far away.
    pub(super) fn is_late(&self) -> bool {
        self.is_timed && self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// What ends the call from outside.
    pub(super) fn ending(&mut self) -> Pin<&mut (dyn Future<Output = Status> + Send)> {
        let (deadline, lease, readiness) = (self.deadline, &self.lease, &self.readiness);
        self.ending
            .get_or_insert_with(|| {
                let readiness = readiness.clone();
                let leased = lease.as_ref().map(|lease| lease.ending());
                Box::pin(async move {
                    let late = async {
                        match deadline {
                            Some(deadline) => sleep_until(deadline.into()).await,
                            None => pending().await,
                        }
                    };
                    let taken_back = async {
                        match leased {
                            Some(leased) => leased.await,
                            None => pending().await,
                        }
                    };
                    tokio::select! {
                        () = readiness.reached(Phase::EndingStreams) => answers::shutting_down(),
                        () = late => answers::deadline_exceeded(),
                        status = taken_back => status,
                    }
                })
            })
            .as_mut()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        self.method.handled(self.code, elapsed, now, &mut self.notes);
    }
}

impl Call {
    /// A call of `method` that begins now, with these headers; it counts as cancelled until it is known to end otherwise.
    pub(super) fn begin(
        method: &'static Method,
        readiness: Readiness,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> Self {
        method.started();
        let (started, notes) = (Instant::now(), Notes::of_call(peer, method, headers));
        Self {
            method,
            started,
            deadline: None,
            is_timed: false,
            turns: None,
            lease: None,
            readiness,
            ending: None,
            code: CANCELLED,
            notes,
        }
    }

    /// Notes the status found in `headers`, if there is one.
    pub(super) fn note(&mut self, headers: &HeaderMap) -> bool {
        let Some(status) = headers.get("grpc-status") else { return false };
        // A status that is no number is UNKNOWN.
        self.code = status.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(2);
        if telemetry::is_logged(self.code, self.started)
            && let Some(status) = Status::from_header_map(headers)
        {
            self.notes.failed(Failure::from(&status));
        }
        true
    }
}

impl Reply {
    /// A body that nobody watches.
    pub(super) fn plain(inner: Body) -> Self {
        Self { inner, call: None }
    }

    /// A body that ends `call`.
    pub(super) fn watched(inner: Body, call: Call) -> Self {
        Self { inner, call: Some(call) }
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        let trailers = answers::trailers(status);
        if let Some(mut call) = self.call.take() {
            call.note(&trailers);
        }
        self.inner = Body::empty();
        Frame::trailers(trailers)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("watched", &self.call.is_some()).finish_non_exhaustive()
    }
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else {
            return Pin::new(&mut this.inner).poll_frame(cx);
        };
        if let Some(status) = call.overdue() {
            return Poll::Ready(Some(Ok(this.end(&status))));
        }
        if let Some(turns) = &mut call.turns
            && turns.poll_next(cx).is_pending()
        {
            let ended = call.ending().poll(cx);
            return ended.map(|status| Some(Ok(this.end(&status))));
        }
        let inner = Pin::new(&mut this.inner);
        let work = || match call.method.kind() {
            // Its work was done before there was a body.
            Kind::Unary => inner.poll_frame(cx),
            Kind::ClientStream | Kind::ServerStream | Kind::BidiStream => {
                call.notes.at_hand(|| inner.poll_frame(cx))
            }
        };
        let polled = catch_unwind(AssertUnwindSafe(work));
        // Room for a message of a stream is kept where that is read.
        drop(budget::taken());
        let polled = match (&mut call.turns, polled) {
            (Some(turns), Ok(Poll::Ready(Some(Ok(frame))))) => {
                Ok(Poll::Ready(Some(Ok(frame.map_data(|data| turns.made(data))))))
            }
            (Some(turns), polled) => {
                turns.pass();
                polled
            }
            (None, polled) => polled,
        };
        match polled {
            Err(_) => Poll::Ready(Some(Ok(this.end(&answers::internal())))),
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(data) = frame.data_ref() {
                    call.notes.sent(data.len());
                }
                if let Some(trailers) = frame.trailers_ref() {
                    call.note(trailers);
                    this.call = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(other)) => {
                this.call = None;
                Poll::Ready(other)
            }
            Ok(Poll::Pending) => match call.ending().poll(cx) {
                Poll::Ready(status) => Poll::Ready(Some(Ok(this.end(&status)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! An answer on its way: guarded against panics and against taking too long.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::answers;
use super::budget::{self, Room};
use super::reply::{Call, Reply};
use crate::telemetry::Kind;

/// By which a caller and a log can speak of the same request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pin_project! {
    /// The answer to one request. A future of its own instead of `async` blocks inside one another:
    /// those would be ten times as large, and are moved several times on their way to their task.
    #[project = Step]
    pub(super) enum Answering<F> {
        /// The service works on it.
        Working {
            #[pin]
            answer: F,
            // What is counted; none for a request that is no gRPC call.
            call: Option<Call>,
            // Made only if the service has to wait.
            timer: Option<Pin<Box<Sleep>>>,
            // What a large request takes until it is answered.
            room: Option<Arc<Room>>,
        },
        /// It did not need the service.
        There {
            response: Option<Response<Reply>>,
            // What it waits for.
            delay: Option<Pin<Box<Sleep>>>,
        },
    }
}

pin_project! {
    /// One of two futures with the same answer.
    #[project = Side]
    pub(super) enum Either<L, R> {
        Left {
            #[pin]
            future: L,
        },
        Right {
            #[pin]
            future: R,
        },
    }
}

impl<L: Future, R: Future<Output = L::Output>> Future for Either<L, R> {
    type Output = L::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<L::Output> {
        match self.project() {
            Side::Left { future } => future.poll(cx),
            Side::Right { future } => future.poll(cx),
        }
    }
}

impl<F> Answering<F> {
    /// An answer that is there already.
    pub(super) fn there(response: Response<Reply>) -> Self {
        Answering::There { response: Some(response), delay: None }
    }

    /// An answer that is there already, but is given after `delay` only.
    pub(super) fn later(response: Response<Reply>, delay: Duration) -> Self {
        let delay = Some(Box::pin(tokio::time::sleep(delay)));
        Answering::There { response: Some(response), delay }
    }

    /// The answer that `begin` begins, as part of `call`.
    pub(super) fn working(call: Option<Call>, begin: impl FnOnce() -> F) -> Self {
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(answer) => Answering::Working { answer, call, timer: None, room: None },
            Err(_) => Answering::there(panicked(call)),
        }
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Reply>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, call, timer, room) = match self.project() {
            Step::Working { answer, call, timer, room } => (answer, call, timer, room),
            Step::There { response, delay } => {
                if let Some(delay) = delay {
                    ready!(delay.as_mut().poll(cx));
                }
                return Poll::Ready(Ok(response.take().expect("an answer is asked for once")));
            }
        };
        // First the time: a call whose deadline came together with its body is not begun.
        let is_late = match timer {
            Some(timer) => timer.as_mut().poll(cx).is_ready(),
            None => call.as_ref().is_some_and(Call::is_late),
        };
        if is_late {
            return Poll::Ready(Ok(late(call.take())));
        }
        let work = || match call {
            Some(call) => call.notes.at_hand(|| answer.poll(cx)),
            None => answer.poll(cx),
        };
        // What others have taken, on the way to answers that are streams, is theirs.
        drop(budget::taken());
        let worked = catch_unwind(AssertUnwindSafe(work));
        if let Some(taken) = budget::taken() {
            *room = Some(taken);
        }
        match worked {
            Err(_) => return Poll::Ready(Ok(panicked(call.take()))),
            Ok(Poll::Ready(Ok(response))) => return Poll::Ready(Ok(done(response, call.take()))),
            Ok(Poll::Pending) => {}
        }
        if let Some(uploading) = call
            && uploading.method.kind() == Kind::ClientStream
        {
            // Its answer may be far away: it ends with the server, as the answer of a stream does.
            let ended = uploading.ending().poll(cx);
            return ended.map(|status| Ok(refuse(call.take(), &status)));
        }
        let Some(deadline) = call.as_ref().and_then(|call| call.deadline) else {
            return Poll::Pending;
        };
        let timer =
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(cx).map(|()| Ok(late(call.take())))
    }
}

fn done(mut response: Response<Body>, call: Option<Call>) -> Response<Reply> {
    let Some(mut call) = call else { return response.map(Reply::plain) };
    if let Some(id) = call.notes.id() {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    if call.note(response.headers()) {
        return response.map(Reply::plain);
    }
    response.map(|body| Reply::watched(body, call))
}

fn late(call: Option<Call>) -> Response<Reply> {
    refuse(call, &answers::deadline_exceeded())
}

fn panicked(call: Option<Call>) -> Response<Reply> {
    refuse(call, &answers::internal())
}

/// Ends `call` with a status alone; a request that is no call fails as the web does.
pub(super) fn refuse(call: Option<Call>, status: &Status) -> Response<Reply> {
    let Some(mut call) = call else {
        let text = "the server failed on this request";
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        return answers::plain_error(failed, "INTERNAL", text).map(Reply::plain);
    };
    let mut response = status.clone().into_http::<Body>();
    call.note(response.headers());
    if let Some(id) = call.notes.id() {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response.map(Reply::plain)
}

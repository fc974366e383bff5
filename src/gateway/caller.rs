//! Calls made in this process: a message in, messages out, through everything that surrounds a call.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::arrival::Arrival;
use crate::service::Foreign;
use crate::telemetry;

/// What precedes every message on the wire: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Headers of a request that its call gets too; all others stay outside.
const FORWARDED: [HeaderName; 5] = [
    AUTHORIZATION,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A message that a call, or its answer, carries among its extensions instead of in its body. What answers
/// calls must look for it; it may answer in the same way, with a `grpc-status` of 0 in its headers.
#[derive(Clone, Debug)]
pub struct Message(pub Bytes);

impl Message {
    /// As the body of a call.
    pub fn into_body(self) -> Body {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut framed = BytesMut::with_capacity(PREFIX_BYTES + self.0.len());
        framed.put_u8(0);
        framed.put_u32(length);
        framed.put(self.0);
        Body::new(Once(Some(framed.freeze())))
    }
}

/// Tells whether a call of a path, by a request with this head, would be let in.
type Admits = dyn Fn(&str, &Parts) -> bool + Send + Sync;

/// The gRPC services, with the counts, deadlines and limits that hold for every call. Cloning is
/// cheap.
#[derive(Clone)]
pub struct Caller {
    answer: Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>,
    admits: Arc<Admits>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Caller {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.answer)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// What a call takes over from the request it is made of.
#[derive(Debug, Default)]
pub(super) struct Head {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    pub(super) fn of(headers: &HeaderMap, extensions: Extensions) -> Head {
        let mut forwarded = HeaderMap::new();
        for name in &FORWARDED {
            for value in headers.get_all(name) {
                forwarded.append(name, value.clone());
            }
        }
        Head { headers: forwarded, extensions }
    }

    /// Limits the time of the call.
    pub(super) fn set_timeout(&mut self, timeout: HeaderValue) {
        self.headers.insert("grpc-timeout", timeout);
    }
}

impl Caller {
    /// Makes calls with `answer`, which gets them as gRPC requests; `admits` tells whether a call of a
    /// path, by a request with this head, would be let in.
    pub fn new<F, A>(
        answer: F,
        admits: impl Fn(&str, &Parts) -> bool + Send + Sync + 'static,
    ) -> Caller
    where
        F: Fn(Request<Body>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let answer = Arc::new(move |request| -> Answer { Box::pin(answer(request)) });
        Caller { answer, admits: Arc::new(admits) }
    }

    /// The body of a request from which a call of `path` is to be made, unless that call will be
    /// refused whatever is in it: then there is nothing to be read, and the call, made without, tells
    /// its caller why.
    ///
    /// Errors: those of [`Arrival::body`].
    pub(super) async fn body(
        &self,
        path: &str,
        arrival: &mut Arrival,
        limit: usize,
    ) -> Result<Option<Bytes>, Foreign> {
        if !arrival.has_body() || (self.admits)(path, &arrival.head) {
            return arrival.body(limit).await.map(Some);
        }
        Ok(None)
    }

    /// The refusal of a call of `path` that is not let in.
    pub(super) async fn refusal(&self, path: &Uri, head: Head) -> Status {
        let refused = self.unary(path, Bytes::new(), head).await;
        // Between question and call it may have become welcome.
        refused.err().unwrap_or_else(|| Status::unavailable("call again"))
    }

    /// Calls the unary method at `path`.
    ///
    /// Errors: the status of the call.
    pub(super) async fn unary(
        &self,
        path: &Uri,
        message: Bytes,
        head: Head,
    ) -> Result<Bytes, Status> {
        let mut response = self.call_with(path, message, head).await;
        if let Some(Message(answer)) = response.extensions_mut().remove() {
            return Ok(answer);
        }
        let mut answers = Messages::of(response)?;
        let answer = answers.next().await.transpose()?;
        // What follows is the status.
        match answers.next().await.transpose()? {
            None => answer.ok_or_else(|| Status::internal("a call ended without an answer")),
            Some(_) => Err(Status::internal("a unary call has several answers")),
        }
    }

    /// As [`Self::unary`], for a method known by its messages.
    pub(super) async fn typed<R: prost::Message + Default>(
        &self,
        path: &'static str,
        message: &impl prost::Message,
        head: Head,
    ) -> Result<R, Status> {
        let message = message.encode_to_vec().into();
        let bytes = self.unary(&Uri::from_static(path), message, head).await?;
        R::decode(bytes).map_err(|_| Status::internal("an answer cannot be read"))
    }

    /// Calls the method at `path` that may answer many times.
    ///
    /// Errors: the status of the call, if it ended before it began.
    pub(super) async fn stream(
        &self,
        path: &Uri,
        message: Bytes,
        head: Head,
    ) -> Result<Messages, Status> {
        Messages::of(self.call_with(path, message, head).await)
    }

    fn call_with(&self, path: &Uri, message: Bytes, head: Head) -> Answer {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.clone();
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = head.headers;
        *request.extensions_mut() = head.extensions;
        request.extensions_mut().insert(Message(message));
        (self.answer)(request)
    }
}

/// The answers of a call, as they come.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    pending: BytesMut,
}

impl Messages {
    fn of(response: Response<Body>) -> Result<Messages, Status> {
        let (parts, body) = response.into_parts();
        match Status::from_header_map(&parts.headers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            Some(_) | None => Ok(Messages { body, pending: BytesMut::new() }),
        }
    }

    /// The next answer. None once the call has ended well.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if let Some(message) = self.taken() {
                return Some(Ok(message));
            }
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(status) => return Some(Err(status)),
            };
            match frame.into_data() {
                // As it mostly comes: one message, whole.
                Ok(data) if self.pending.is_empty() && length(&data) == Some(data.len()) => {
                    return Some(Ok(data.slice(PREFIX_BYTES..)));
                }
                Ok(data) => self.pending.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.trailers_ref().filter(|trailers| !is_ok(trailers));
                    return trailers.and_then(Status::from_header_map).map(Err);
                }
            }
        }
    }

    /// A whole message out of what has arrived.
    fn taken(&mut self) -> Option<Bytes> {
        let length = length(&self.pending).filter(|length| *length <= self.pending.len())?;
        let mut message = self.pending.split_to(length);
        message.advance(PREFIX_BYTES);
        Some(message.freeze())
    }
}

/// The length of the first message in `data` with what precedes it, as soon as that is known.
fn length(data: &[u8]) -> Option<usize> {
    let length = data.get(1..PREFIX_BYTES)?.try_into().map(u32::from_be_bytes).ok()?;
    usize::try_from(length).ok()?.checked_add(PREFIX_BYTES)
}

fn is_ok(trailers: &HeaderMap) -> bool {
    trailers.get("grpc-status").is_some_and(|status| status == "0")
}

/// A body of one piece, which counts as received when it is read.
struct Once(Option<Bytes>);

impl http_body::Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.take();
        telemetry::note_received(piece.as_ref().map_or(0, Bytes::len));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |piece| piece.len() as u64))
    }
}

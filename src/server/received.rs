//! The body of a request on its way in: counted for the notes on its call, and held back where there is
//! no room for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

use super::budget::{Room, SMALL_BYTES_MAX, Share};
use crate::telemetry;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a body is taken to have that does not say how long it is, and is not small.
const UNKNOWN_BYTES: usize = 8 << 20;

/// What precedes a message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A body that notes how many bytes of it were read, and asks for room before it reads many.
pub(super) struct Received {
    body: Incoming,
    /// Where it is in its messages; none for a body that is one as a whole.
    messages: Option<Messages>,
    share: Share,
    /// Bytes read of a body that has not said how many it has, as long as they are few.
    unsaid: Option<usize>,
    /// Room for the message that is read, or was read last.
    room: Option<Arc<Room>>,
    /// Its wait for that.
    waiting: Option<Pin<Box<Waiting>>>,
    /// What was read when it began to wait. Whoever reads the length of a message makes room for it in
    /// memory.
    held: Option<Frame<Bytes>>,
}

type Waiting = dyn Future<Output = Result<Arc<Room>, Status>> + Send;

impl Received {
    /// The body of a call of gRPC.
    pub(super) fn of_call(request: Request<Incoming>, share: &Share) -> Request<Received> {
        request.map(|body| Received {
            body,
            messages: Some(Messages::default()),
            share: share.clone(),
            unsaid: None,
            room: None,
            waiting: None,
            held: None,
        })
    }

    /// The body of any other request.
    pub(super) fn of_web(request: Request<Incoming>, share: &Share) -> Request<Received> {
        let bytes = announced(request.headers());
        request.map(|body| {
            let (messages, room, waiting, held) = (None, None, None, None);
            let share = share.clone();
            let unsaid = if bytes.is_none() { Some(0) } else { None };
            let mut received = Received { body, messages, share, unsaid, room, waiting, held };
            received.want(bytes.unwrap_or(0));
            received
        })
    }

    /// Takes no more in before there is room for a message of so many bytes.
    fn want(&mut self, bytes: usize) {
        if bytes > SMALL_BYTES_MAX {
            self.waiting = Some(Box::pin(self.share.clone().take(bytes)));
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let taken = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                match taken {
                    Ok(room) => self.room = Some(room),
                    Err(status) => return Poll::Ready(Some(Err(status.into()))),
                }
            }
            if let Some(held) = self.held.take() {
                return Poll::Ready(Some(Ok(held)));
            }
            let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let Some(Ok(frame)) = polled else {
                return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
            };
            if let Some(data) = frame.data_ref() {
                telemetry::note_received(data.len());
                if let Some(begun) = self.messages.as_mut().and_then(|known| known.pass(data)) {
                    // Those before it are answered, or about to be.
                    self.room = None;
                    self.want(begun);
                }
                if let Some(read) = self.unsaid.map(|read| read + data.len()) {
                    let is_small = read <= SMALL_BYTES_MAX;
                    self.unsaid = is_small.then_some(read);
                    self.want(if is_small { 0 } else { UNKNOWN_BYTES });
                }
            }
            if self.waiting.is_none() {
                return Poll::Ready(Some(Ok(frame)));
            }
            self.held = Some(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// Where one message ends and the next begins.
#[derive(Debug, Default)]
struct Messages {
    /// Bytes that are still to come of the one that has begun.
    left: usize,
    /// What has come of the prefix of the next one.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
}

impl Messages {
    /// Passes over `data`. The length of the last message that begins in it and does not end there.
    fn pass(&mut self, mut data: &[u8]) -> Option<usize> {
        let mut begun = None;
        loop {
            let inside = self.left.min(data.len());
            self.left -= inside;
            data = &data[inside..];
            if data.is_empty() {
                return begun.filter(|_| self.left > 0);
            }
            let missing = (PREFIX_BYTES - self.prefix_bytes).min(data.len());
            self.prefix[self.prefix_bytes..][..missing].copy_from_slice(&data[..missing]);
            self.prefix_bytes += missing;
            data = &data[missing..];
            if self.prefix_bytes < PREFIX_BYTES {
                return None;
            }
            let [_, length @ ..] = self.prefix;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.prefix_bytes = 0;
            begun = Some(self.left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let mut stream = Vec::new();
        for length in [3_usize, 0, 300, 70_000] {
            stream.push(0);
            stream.extend(u32::try_from(length).unwrap().to_be_bytes());
            stream.extend(vec![7; length]);
        }
        for piece in [1, 2, 5, 6, 7, 100, 16_384, stream.len()] {
            let mut messages = Messages::default();
            let begun: Vec<_> = stream.chunks(piece).filter_map(|d| messages.pass(d)).collect();
            let is_whole = piece == stream.len();
            assert_eq!(begun.contains(&70_000), !is_whole, "pieces of {piece}: {begun:?}");
            assert_eq!((messages.left, messages.prefix_bytes), (0, 0), "pieces of {piece}");
        }
    }
}

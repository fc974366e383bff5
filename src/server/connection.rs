//! One connection, from its first byte to its last.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tonic::body::Body;

use super::answers;
use super::budget::{Budget, Share};
use super::calls::{Calls, Handler, is_grpc};
use super::cork::{Cork, Progress};
use super::gatekeeper::Gatekeeper;
use super::guard::{Answering, Either};
use super::lane::Lane;
use super::limits::Limits;
use super::line::{Line, Side};
use super::readiness::{Phase, Readiness};
use super::received::Received;
use super::reply::Reply;
use super::routes;
use super::tls::{Socket, Tls};
use super::turns::{Begun, Reading, Talk, Turns};
use crate::telemetry;

/// Streams that a peer opened and reset again before they were handled; more end the connection.
const RESETS_PENDING_MAX: usize = 20;
/// Streams that we reset because of a peer's mistakes; more end the connection.
const RESETS_LOCAL_MAX: usize = 1_024;

/// How long a peer may take to close its side when ours is closed.
const LINGER: Duration = Duration::from_secs(1);

/// What all connections of a worker share.
#[derive(Clone)]
pub(super) struct Host<S, W> {
    /// What answers gRPC calls.
    pub(super) calls: Calls<S>,
    /// What answers everything else.
    pub(super) web: W,
    pub(super) limits: Arc<Limits>,
    pub(super) readiness: Readiness,
    pub(super) gate: Arc<dyn Gatekeeper>,
    pub(super) metrics: Option<telemetry::Handle>,
    pub(super) lane: Lane,
    /// Shared with all other workers.
    pub(super) budget: Budget,
}

/// The settings of HTTP for every connection; this one's calls go to `executor`.
fn builder(limits: &Limits, executor: Begun) -> Builder<Begun> {
    let mut builder = Builder::new(executor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(
        usize::try_from(limits.header_list_bytes_max).unwrap_or(usize::MAX).max(8_192),
    );
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_LOCAL_MAX)
        .initial_stream_window_size(limits.stream_window_bytes())
        .initial_connection_window_size(limits.connection_window_bytes)
        .adaptive_window(false)
        .max_send_buf_size(limits.send_buffer_bytes_max)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

impl<S: Handler, W: Handler> Host<S, W> {
    /// Serves `socket` until either side ends it.
    pub(super) async fn serve(self, socket: TcpStream, side: Side, tls: Option<Tls>) {
        let peer = socket.peer_addr().ok();
        let (socket, names) = match &tls {
            None => (Socket::Plain(socket), None),
            Some(tls) => match tls.agree(socket, self.limits.preface_timeout).await {
                Ok(agreed) => agreed,
                Err(error) => {
                    telemetry::metrics::handshake_failed();
                    return tracing::debug!(?peer, %error, "no encryption agreed on");
                }
            },
        };
        let (is_encrypted, is_certified) = (tls.is_some(), names.is_some());
        let names = names.unwrap_or_default();
        let line = Arc::new(Line { peer, side, is_encrypted, is_certified, names });
        let cork = Cork::new(socket, self.limits.write_buffer_bytes_max);
        match self.converse(line, cork.clone()).await {
            End::Finished => linger(cork).await,
            End::Cut => {}
        }
    }

    async fn converse(self, line: Arc<Line>, cork: Cork<Socket>) -> End {
        let greeted = Arc::new(AtomicBool::new(false));
        let share = self.budget.share();
        let (limits, readiness) = (Arc::clone(&self.limits), self.readiness.clone());
        let mut turns = Turns::new(self.lane.clone(), limits.streams_max);
        let builder = builder(&limits, turns.executor());
        let service = service_fn({
            let greeted = Arc::clone(&greeted);
            move |request| {
                greeted.store(true, Ordering::Relaxed);
                self.answer(request, &line, &share)
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(cork.clone()), service));
        let mut draining = pin!(readiness.reached(Phase::Draining));
        let mut drains = true;
        let mut watch = Watch::new(cork.clone(), greeted, &limits);

        let serve = poll_fn(|cx| {
            cork.begin_turn();
            let serve = |cx: &mut Context<'_>, reading| {
                if drains && draining.as_mut().poll(cx).is_ready() {
                    drains = false;
                    connection.as_mut().graceful_shutdown();
                }
                cork.set_reading(reading);
                connection.as_mut().poll(cx).map(drop)
            };
            turns.poll(cx, serve, |cx, talk| {
                cork.end_turn();
                watch.poll(cx, talk)
            })
        });
        // A turn has an end of its own; the runtime's would fall into the middle of it.
        tokio::task::unconstrained(serve).await
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        line: &Arc<Line>,
        share: &Share,
    ) -> Either<Answering<S::Future>, Answering<W::Future>> {
        if is_grpc(request.headers()) {
            let request = Received::of_call(request, share).map(Body::new);
            return Either::Left { future: self.calls.answer(request, line, Some(share)) };
        }
        let mut request = Received::of_web(request, share).map(Body::new);
        let own = self.own(&request, line).or_else(|| routes::turned_away(&self.readiness));
        let future = match own {
            Some(response) => Answering::there(response.map(Reply::plain)),
            None => {
                request.extensions_mut().insert(Arc::clone(line));
                request.extensions_mut().insert(share.clone());
                let mut web = self.web.clone();
                Answering::working(None, move || web.call(request))
            }
        };
        Either::Right { future }
    }

    /// The answer to a request for a route of the server's own; none if it is not one.
    fn own(&self, request: &Request<Body>, line: &Line) -> Option<Response<Body>> {
        let route = routes::Own::of(request)?;
        match self.gate.admits(request.uri().path(), request.headers(), line) {
            Ok(()) => route.answer(&self.readiness, self.metrics.as_ref()),
            Err(status) => Some(answers::turned_away(&status)),
        }
    }
}

/// How a connection ended.
enum End {
    /// Everything was said and written.
    Finished,
    /// Its peer is gone, or was silent for too long.
    Cut,
}

/// Waits until the peer has closed its side. A socket that is closed while its peer still sends, be it
/// only that it has read something, takes back what the peer has not read: the end of its streams.
async fn linger(mut cork: Cork<Socket>) {
    cork.begin_turn();
    cork.set_reading(Reading::GoesOn);
    let farewell = async {
        let mut scrap = [0; 1024];
        if cork.shutdown().await.is_ok() {
            while matches!(cork.read(&mut scrap).await, Ok(1..)) {
                cork.begin_turn();
            }
        }
    };
    // Who does not close is not waited for.
    let _ = timeout(LINGER, farewell).await;
}

/// Writes a connection's bytes out and closes it when its peer is silent for too long.
struct Watch<'a> {
    cork: Cork<Socket>,
    limits: &'a Limits,
    /// Set by the first request.
    greeted: Arc<AtomicBool>,
    /// Runs until the first request or preface.
    greeting: Option<Pin<Box<Sleep>>>,
    /// Runs while the socket takes nothing, with what it had taken when it began.
    stall: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<'a> Watch<'a> {
    fn new(cork: Cork<Socket>, greeted: Arc<AtomicBool>, limits: &'a Limits) -> Self {
        let greeting = Some(Box::pin(sleep(limits.preface_timeout)));
        Self { cork, limits, greeted, greeting, stall: None }
    }

    /// One turn; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, talk: Talk) -> Poll<End> {
        if let Some(greeting) = &mut self.greeting {
            if self.greeted.load(Ordering::Relaxed) || self.cork.has_preface() {
                self.greeting = None;
            } else if greeting.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Cut);
            }
        }
        match self.cork.write_out(cx) {
            Err(_) => Poll::Ready(End::Cut),
            Ok(Progress::Empty) if talk == Talk::Over => Poll::Ready(End::Finished),
            Ok(Progress::Empty) => {
                self.stall = None;
                Poll::Pending
            }
            Ok(Progress::Blocked { sent }) => self.poll_stall(cx, sent),
        }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>, sent: u64) -> Poll<End> {
        if self.stall.as_ref().is_none_or(|(before, _)| *before != sent) {
            self.stall = Some((sent, Box::pin(sleep(self.limits.write_stall_timeout))));
        }
        let timer = self.stall.as_mut().map(|(_, timer)| timer.as_mut());
        timer.map_or(Poll::Pending, |timer| timer.poll(cx).map(|()| End::Cut))
    }
}

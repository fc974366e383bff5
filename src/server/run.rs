//! The server as a whole: threads, and the order in which everything ends.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::accept::{Arrival, Places, WAITING_MAX, accept};
use super::budget::Budget;
use super::calls::{Calls, Handler};
use super::connection::Host;
use super::door::Listening;
use super::gatekeeper::Gatekeeper;
use super::lane::Lane;
use super::limits::Limits;
use super::readiness::{Phase, Readiness};
use super::worker::work;
use crate::telemetry;

/// Notice and drain together take no longer, so that the last sync fits into 25 s.
const LEAVING_MAX: Duration = Duration::from_secs(24);

/// How often recorded samples are folded together.
const UPKEEP: Duration = Duration::from_secs(5);

/// A server that is about to run.
pub struct Server {
    /// At least one.
    pub listeners: Vec<Listening>,
    /// Threads that serve; at least one.
    pub workers: usize,
    /// What is allowed.
    pub limits: Limits,
    /// Shared with whoever decides about traffic.
    pub readiness: Readiness,
    /// Who is asked before each call.
    pub gate: Arc<dyn Gatekeeper>,
    /// What `/metrics` shows; without it the services answer that path.
    pub metrics: Option<telemetry::Handle>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Why the server did not run, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A thread, its runtime or its sockets cannot be set up.
    #[error("cannot start {what}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The schema of the health service does not parse.
    #[error("cannot read the schema of the health service")]
    Schema(#[from] prost::DecodeError),
    /// A thread of the server panicked.
    #[error("a thread of the server panicked")]
    Panicked,
}

fn start(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Start { what, source }
}

/// Serves until `shutdown` resolves and everything has drained; blocks the calling thread.
///
/// `make` is called once on each worker thread, inside its runtime, with the worker's number. So is
/// `web`, with the calls of that worker: what it makes answers every request that is no gRPC call.
///
/// Errors: what cannot be started, before anything is served, or a thread that panicked. The server
/// has ended either way.
pub fn run<S: Handler, W: Handler>(
    server: Server,
    make: impl Fn(usize) -> S + Send + Sync + 'static,
    web: impl Fn(Calls<S>) -> W + Send + Sync + 'static,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    telemetry::register(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
    let Server { listeners, workers, limits, readiness, gate, metrics } = server;
    let limits = Arc::new(limits);
    let budget = Budget::new(&limits);
    let keeper = Arc::clone(&gate);
    let make = Arc::new(move |index, readiness: Readiness, unary_max| {
        let calls = Calls::new(make(index), readiness, Arc::clone(&keeper), unary_max);
        (web(calls.clone()), calls)
    });

    let mut threads = Vec::new();
    let mut senders = Vec::new();
    let outcome = (|| -> Result<(), RunError> {
        for index in 0..workers.max(1) {
            let (sender, arrivals) = mpsc::channel(WAITING_MAX);
            senders.push(sender);
            let plan = Plan {
                index,
                limits: Arc::clone(&limits),
                readiness: readiness.clone(),
                gate: Arc::clone(&gate),
                metrics: metrics.clone(),
                budget: budget.clone(),
            };
            threads.push(plan.spawn(Arc::clone(&make), arrivals)?);
        }
        let control = Control { listeners, limits, readiness: readiness.clone(), metrics };
        threads.push(control.spawn(std::mem::take(&mut senders), shutdown)?);
        Ok(())
    })();
    if outcome.is_err() {
        readiness.stop();
    }
    drop(senders);
    // Every thread is waited for, whatever came of the others.
    let ended: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    outcome?;
    ended.into_iter().try_for_each(|thread| thread.map_err(|_| RunError::Panicked)?)
}

type Thread = JoinHandle<Result<(), RunError>>;

fn runtime() -> Result<Runtime, RunError> {
    Builder::new_current_thread().enable_all().build().map_err(start("a runtime"))
}

/// What a worker needs besides its service.
struct Plan {
    index: usize,
    limits: Arc<Limits>,
    readiness: Readiness,
    gate: Arc<dyn Gatekeeper>,
    metrics: Option<telemetry::Handle>,
    budget: Budget,
}

impl Plan {
    fn spawn<M, S: Handler, W: Handler>(
        self,
        make: Arc<M>,
        arrivals: mpsc::Receiver<Arrival>,
    ) -> Result<Thread, RunError>
    where
        M: Fn(usize, Readiness, Duration) -> (W, Calls<S>) + Send + Sync + 'static,
    {
        let runtime = runtime()?;
        let pulse = self.readiness.worker();
        thread::Builder::new()
            .name(format!("worker-{}", self.index))
            .spawn(move || {
                let stop = StopOnPanic(self.readiness.clone());
                runtime.block_on(async move {
                    let unary_max = self.limits.request_timeout_max;
                    let (web, calls) = make(self.index, self.readiness.clone(), unary_max);
                    let host = Host {
                        calls,
                        web,
                        lane: Lane::default(),
                        budget: self.budget,
                        limits: self.limits,
                        readiness: self.readiness,
                        gate: self.gate,
                        metrics: self.metrics,
                    };
                    work(host, arrivals, pulse).await;
                });
                drop(stop);
                Ok(())
            })
            .map_err(start("a worker"))
    }
}

/// Stops the server when a worker panics: a server that lost a part should not seem well.
struct StopOnPanic(Readiness);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// The thread that accepts, and decides when everything ends.
struct Control {
    listeners: Vec<Listening>,
    limits: Arc<Limits>,
    readiness: Readiness,
    metrics: Option<telemetry::Handle>,
}

impl Control {
    fn spawn(
        self,
        workers: Vec<mpsc::Sender<Arrival>>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Thread, RunError> {
        let runtime = runtime()?;
        let stop = StopOnPanic(self.readiness.clone());
        thread::Builder::new()
            .name("acceptor".into())
            .spawn(move || {
                let _stop = stop;
                let readiness = self.readiness.clone();
                let ended = runtime.block_on(self.run(workers, shutdown));
                if ended.is_err() {
                    readiness.stop();
                }
                ended
            })
            .map_err(start("the acceptor"))
    }

    async fn run(
        self,
        workers: Vec<mpsc::Sender<Arrival>>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), RunError> {
        let places = Arc::new(Places::new(Arc::clone(&self.limits)));
        let mut acceptors = JoinSet::new();
        for listener in self.listeners {
            listener.listener.set_nonblocking(true).map_err(start("a listener"))?;
            acceptors.spawn(accept(listener, workers.clone(), Arc::clone(&places)));
        }
        if let Some(metrics) = self.metrics {
            acceptors.spawn(async move {
                let mut turns = tokio::time::interval(UPKEEP);
                loop {
                    turns.tick().await;
                    metrics.upkeep();
                }
            });
        }
        let stopped = self.readiness.clone();
        tokio::select! {
            () = stopped.reached(Phase::Stopped) => {}
            () = shutdown => leave(&self.readiness, &self.limits, acceptors, workers).await,
        }
        Ok(())
    }
}

/// The way out: say so, turn new calls away, end streams, cut what is left.
async fn leave(
    readiness: &Readiness,
    limits: &Limits,
    acceptors: JoinSet<()>,
    workers: Vec<mpsc::Sender<Arrival>>,
) {
    let end = Instant::now() + LEAVING_MAX;
    readiness.enter(Phase::Leaving);
    pause(readiness, &workers, (Instant::now() + limits.drain_notice).min(end)).await;

    drop(acceptors);
    readiness.enter(Phase::Draining);
    let end = end.min(Instant::now() + limits.drain);
    pause(readiness, &workers, (Instant::now() + limits.stream_grace).min(end)).await;
    readiness.enter(Phase::EndingStreams);
    pause(readiness, &workers, end).await;
    readiness.enter(Phase::Stopped);
}

/// Waits until `end`, until every worker has ended, or until the server is told to stop at once.
async fn pause(readiness: &Readiness, workers: &[mpsc::Sender<Arrival>], end: Instant) {
    let ended = async {
        for worker in workers {
            worker.closed().await;
        }
    };
    tokio::select! {
        () = readiness.reached(Phase::Stopped) => {}
        () = ended => {}
        () = sleep_until(end) => {}
    }
}

/// Resolves at the first SIGTERM or SIGINT; a second one stops the server at once. From this call on
/// the signals no longer end the process by themselves. To be called inside [`run`], by its `shutdown`.
pub fn signals(readiness: Readiness) -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
            tracing::error!("cannot listen for signals; the server must be killed to end");
            return std::future::pending().await;
        };
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            readiness.stop();
        });
    }
}

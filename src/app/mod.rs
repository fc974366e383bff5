//! The one composition: store, services, sockets, and the order in which they begin and end.
//!
//! # How it works
//! [`serve`] takes possession of the log, listens, and only then replays, so that probes and callers
//! hear "starting up" instead of nothing. It ends at a signal, when the log fails, or when the log
//! cannot be replayed; in each case sockets drain first and the log is closed last.
//!
//! # Why
//! Binary, benchmarks and tests must run the same thing, or the tests tell about something else.
//!
//! # Invariants
//! Nothing is listened on before the log's directory is ours. What ends in an [`Error`] says with
//! which code the process shall exit.
//!
//! # Not here
//! What is configured: `config`. What sockets do: `server`. What calls do: `service`.

mod direct;
mod error;
mod gatekeeper;
mod notify;
mod observed;
mod reload;
mod services;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tonic::body::Body;

pub use error::Error;

use crate::config::{self, Complaints, Config};
use crate::gateway::{self, Caller};
use crate::server::{
    self, Calls, Gatekeeper, Line, Listening, Readiness, Server, Side, Tls, signals,
};
use crate::service::access::Gate;
use crate::service::restore_settings;
use crate::store::embedded::{self, Clock, Embedded, ReplayError};
use crate::telemetry::{self, Traces};
use crate::wal;
use gatekeeper::Keeper;
use observed::Observed;
use reload::Reload;
use services::Services;

/// A wall clock this far behind the log has been set wrong, or the log comes from elsewhere.
const SKEW_MAX: Duration = Duration::from_secs(3600);

/// Serves as configured until a signal ends it; blocks. `again` reads the configuration again, at
/// SIGHUP.
///
/// # Errors
/// [`Error`]: what kept it from serving, or ended it.
pub fn serve(
    config: Config,
    again: impl Fn() -> Result<Config, Complaints> + Send + 'static,
) -> Result<(), Error> {
    telemetry::trace(config.log_format, &config.log_filter).map_err(Error::Logging)?;
    // Until all is over: then what is left is sent.
    let _traces = traces(&config)?;
    let started = Instant::now();
    let metrics = telemetry::install();
    let clock = Clock::system();
    let started_at = clock.now();
    let store = Embedded::open(store_config(&config), clock)?;
    let tls = config.security.tls.load()?.map(Tls::new);
    let listeners = listeners(&config, tls.as_ref())?;
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    let collected = store.clone();
    telemetry::set_collector(Box::new(move || collected.sample()));
    let readiness = Readiness::new();
    let observed = Arc::new(Observed::new(&config));
    let gate = gate(&config, &store)?;
    let services =
        Services::new(&store, &readiness, started, started_at, &config, &observed, &gate)?;
    let gateway = gateway::Plan::new(config.gateway())?;
    let (over, end) = oneshot::channel();
    let (replayed, kept) = (store.clone(), Arc::clone(&observed));
    let replay = Replay { store: replayed, readiness: readiness.clone(), observed: kept };
    replay.spawn(over)?;
    let (report, verdict) = std::sync::mpsc::channel();
    let server = Server {
        listeners,
        workers: config.workers,
        limits: config.limits.clone(),
        readiness: readiness.clone(),
        gate: Arc::new(Keeper(gate.clone())),
        metrics: Some(metrics),
    };
    let keeper = Keeper(gate.clone());
    let shutdown = {
        let (store, again) = (store.clone(), Box::new(again));
        let reload = Reload {
            config,
            again,
            gate,
            tls,
            store: store.clone(),
            observed,
            readiness: readiness.clone(),
        };
        async move {
            let signalled = signals(readiness.clone());
            // Only now: who has read this may send a signal.
            for (address, side) in addresses {
                let version = env!("CARGO_PKG_VERSION");
                tracing::info!(%address, ?side, version, "listening");
            }
            let reason = tokio::select! {
                () = signalled => None,
                reason = ended(store, end) => Some(reason),
                () = reload.run() => None,
                () = notify::alive(|| readiness.is_alive()) => None,
            };
            notify::stopping();
            tracing::info!(reason = reason.as_ref().map(tracing::field::display), "shutting down");
            // The receiver waits until the server has ended.
            let _ = report.send(reason);
        }
    };
    let web = move |calls| gateway.calling(caller(calls, keeper.clone()));
    let ran = server::run(server, move |_| services.clone(), web, shutdown);
    let closed = store.close();
    match verdict.try_recv() {
        Ok(Some(reason)) => Err(reason),
        Ok(None) | Err(_) => Ok(ran?),
    }?;
    closed?;
    tracing::info!("the log is closed");
    Ok(())
}

/// What makes the calls of the gateway, through everything that surrounds a call.
fn caller(calls: Calls<Services>, keeper: Keeper) -> Caller {
    let answer = move |request| {
        let answer = calls.call(request);
        async { answer.await.map_or_else(|never| match never {}, |reply| reply.map(Body::new)) }
    };
    Caller::new(answer, move |path, head| {
        let line = head.extensions.get::<Arc<Line>>();
        line.is_some_and(|line| keeper.admits(path, &head.headers, line).is_ok())
    })
}

/// The socket for everybody, and the one for administration where there is to be one.
fn listeners(config: &Config, tls: Option<&Tls>) -> Result<Vec<Listening>, Error> {
    let listener = server::bind(config.listen)?;
    let mut listeners = vec![Listening { listener, side: Side::Public, tls: tls.cloned() }];
    if let Some(address) = config.security.admin_listen {
        let listener = server::bind(address)?;
        listeners.push(Listening { listener, side: Side::Admin, tls: None });
    }
    Ok(listeners)
}

/// Where a socket listens, for the log.
fn address(listening: &Listening) -> (String, Side) {
    let address = listening.listener.local_addr();
    let words = address.map_or_else(|error| error.to_string(), |address| address.to_string());
    (words, listening.side)
}

fn gate(config: &Config, store: &Embedded) -> Result<Gate, Error> {
    let security = &config.security;
    let directory = security.tokens_file.as_deref().map(config::directory).transpose()?;
    let clock = store.clock().clone();
    let now = Arc::new(move || clock.now());
    Ok(Gate::new(security.openness(), directory.unwrap_or_default(), now))
}

fn traces(config: &Config) -> Result<Option<Traces>, Error> {
    let ratio = config.traces_ratio;
    let sent = config.traces_endpoint.as_deref().map(|to| telemetry::send_traces(to, ratio));
    sent.transpose().map_err(Error::Logging)
}

fn store_config(config: &Config) -> embedded::Config {
    embedded::Config {
        log: config.wal(),
        namespaces_max: config.namespaces_max,
        settings: config.settings(),
    }
}

/// Resolves when the store cannot go on, with the reason.
async fn ended(store: Embedded, replayed: oneshot::Receiver<Result<(), Error>>) -> Error {
    match replayed.await {
        Ok(Ok(())) => Error::LogFailed(store.failure().await),
        Ok(Err(error)) => error,
        Err(_) => Error::ReplayPanicked,
    }
}

/// The work between listening and being ready, on a thread of its own.
struct Replay {
    store: Embedded,
    readiness: Readiness,
    observed: Arc<Observed>,
}

impl Replay {
    fn spawn(self, over: oneshot::Sender<Result<(), Error>>) -> Result<(), Error> {
        let work = move || {
            let outcome = self.run().map_err(Error::from);
            // Nobody waits any more if a signal came first.
            let _ = over.send(outcome);
        };
        let thread = thread::Builder::new().name("replay".into()).spawn(work);
        thread.map(drop).map_err(Error::Thread)
    }

    fn run(&self) -> Result<(), ReplayError> {
        let before = self.store.clock().now();
        let report = self.store.replay(&|settings, text| {
            self.observed.restore(text)?;
            restore_settings(settings, text)
        })?;
        log_report(&report, before);
        self.readiness.set_ready(true);
        notify::ready();
        Ok(())
    }
}

fn log_report(report: &wal::Report, before: crate::model::UnixMillis) {
    let (records, bytes, elapsed) = (report.records, report.bytes, report.elapsed);
    tracing::info!(records, bytes, ?elapsed, "ready: the log is replayed");
    if let Some(path) = &report.saved_as {
        let (torn_bytes, path) = (report.torn_bytes, path.display());
        tracing::warn!(torn_bytes, %path, "the log ended in a record cut short, which is put aside");
    }
    let ahead = Duration::from_millis(report.wall.millis_since(before));
    if ahead > SKEW_MAX {
        tracing::warn!(?ahead, "the log is ahead of the clock: time stands still until then");
    }
}

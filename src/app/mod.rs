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
mod observed;
mod services;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tonic::body::Body;

pub use error::Error;

use crate::config::Config;
use crate::gateway::{self, Caller};
use crate::server::{self, Calls, Readiness, Server, signals};
use crate::service::restore_settings;
use crate::store::embedded::{self, Clock, Embedded, ReplayError};
use crate::{telemetry, wal};
use observed::Observed;
use services::Services;

/// A wall clock this far behind the log has been set wrong, or the log comes from elsewhere.
const SKEW_MAX: Duration = Duration::from_secs(3600);

/// Serves as configured until a signal ends it; blocks.
///
/// # Errors
/// [`Error`]: what kept it from serving, or ended it.
pub fn serve(config: Config) -> Result<(), Error> {
    telemetry::trace(config.log_format, &config.log_filter).map_err(Error::Logging)?;
    let started = Instant::now();
    let metrics = telemetry::install();
    let clock = Clock::system();
    let started_at = clock.now();
    let store = Embedded::open(store_config(&config), clock)?;
    let listeners = server::bind(&[config.listen])?;
    let addresses: Vec<_> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let collected = store.clone();
    telemetry::set_collector(Box::new(move || collected.sample()));
    let readiness = Readiness::new();
    let observed = Arc::new(Observed::new(&config));
    let services = Services::new(&store, &readiness, started, started_at, &config, &observed)?;
    let gateway = gateway::Plan::new(config.gateway())?;
    let (over, end) = oneshot::channel();
    let replay = Replay { store: store.clone(), readiness: readiness.clone(), observed };
    replay.spawn(over)?;
    let (report, verdict) = std::sync::mpsc::channel();
    let shutdown = {
        let (store, readiness) = (store.clone(), readiness.clone());
        async move {
            let signalled = signals(readiness);
            // Only now: who has read this may send a signal.
            for address in addresses {
                tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
            }
            let reason = tokio::select! {
                () = signalled => None,
                reason = ended(store, end) => Some(reason),
            };
            tracing::info!(reason = reason.as_ref().map(tracing::field::display), "shutting down");
            // The receiver waits until the server has ended.
            let _ = report.send(reason);
        }
    };
    let server = Server {
        listeners,
        workers: config.workers,
        limits: config.limits.clone(),
        readiness,
        metrics: Some(metrics),
    };
    let web = move |calls: Calls<Services>| {
        gateway.calling(Caller::new(move |request| {
            let answer = calls.call(request);
            async { answer.await.map_or_else(|never| match never {}, |reply| reply.map(Body::new)) }
        }))
    };
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

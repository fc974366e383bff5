//! What can change while the server runs: files of tokens and certificates when they change, the rest of
//! the configuration when the process is told to read it again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::notify;
use super::observed::Observed;
use crate::config::{self, Complaints, Config};
use crate::server::{Readiness, Tls};
use crate::service::access::Gate;
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::telemetry;

/// How often it is looked whether a file has changed: well within the ten seconds in which a token that
/// was taken out must be worth nothing.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the configuration again, as at the start.
pub(super) type Again = Box<dyn Fn() -> Result<Config, Complaints> + Send>;

/// What is needed to put another configuration in force.
pub(super) struct Reload {
    /// The one in force.
    pub(super) config: Config,
    pub(super) again: Again,
    pub(super) gate: Gate,
    pub(super) tls: Option<Tls>,
    pub(super) store: Embedded,
    pub(super) observed: Arc<Observed>,
    pub(super) readiness: Readiness,
}

impl Reload {
    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return tracing::error!("cannot listen for SIGHUP: nothing will be read again");
        };
        let mut looks = interval(LOOK);
        let mut seen = self.stamps();
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    // Before it is ready for the first time, that is still to be told.
                    let is_ready = self.readiness.is_ready();
                    if is_ready {
                        notify::reloading();
                    }
                    self.everything();
                    seen = self.stamps();
                    if is_ready {
                        notify::ready();
                    }
                }
                _ = looks.tick() => {
                    let now = self.stamps();
                    if now != seen {
                        seen = now;
                        let read = self.files();
                        self.told("the files of tokens and certificates", read);
                    }
                }
            }
        }
    }

    fn told(&self, what: &str, outcome: Result<(), Complaints>) {
        telemetry::metrics::config_reloaded(outcome.is_ok());
        match outcome {
            Ok(()) => tracing::info!("{what} are read again and in force"),
            Err(Complaints(all)) => {
                for complaint in all {
                    tracing::error!(source = %complaint.source, "{}", complaint.text);
                }
                tracing::error!("{what} stay as they were");
            }
        }
    }

    /// Puts in force what the files of tokens and certificates say: all of it, or nothing.
    fn files(&self) -> Result<(), Complaints> {
        let security = &self.config.security;
        let directory = security.tokens_file.as_deref().map(config::directory).transpose()?;
        let encryption = security.tls.load()?;
        if let (Some(tls), Some(encryption)) = (&self.tls, encryption) {
            tls.replace(encryption);
        }
        if let Some(directory) = directory {
            self.gate.replace(directory);
        }
        Ok(())
    }

    fn everything(&mut self) {
        let read = (self.again)().and_then(|new| {
            let old = std::mem::replace(&mut self.config, new);
            if let Err(complaints) = self.files() {
                self.config = old;
                return Err(complaints);
            }
            self.settings(&old);
            Ok(())
        });
        self.told("the settings", read);
    }

    /// Puts in force what has changed since `old` and can be changed; tells of what cannot.
    fn settings(&mut self, old: &Config) {
        let new = &self.config;
        let current = self.store.settings();
        self.store.apply_settings(current.changed_as(&old.store, &new.store));
        self.observed.configured_anew(old, new);
        for key in old.changed_for_a_restart(new) {
            tracing::warn!(key, "has changed, which needs a restart");
        }
        // Compared from now on with what a restart would find, except for what the files are: those
        // in force are those of the listeners there are.
        self.config.security.tls = match self.tls {
            Some(_) if new.security.tls.is_on() => new.security.tls.clone(),
            _ => old.security.tls.clone(),
        };
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let security = &self.config.security;
        let tls = &security.tls;
        [&security.tokens_file, &tls.cert_file, &tls.key_file, &tls.client_ca_file]
            .into_iter()
            .map(|path: &Option<PathBuf>| path.as_deref().and_then(Stamp::of))
            .collect()
    }
}

/// What tells that a file is another one, or has another content. A mounted secret changes by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

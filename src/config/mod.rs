//! From words to values: what was configured, by a file, the environment and flags.
//!
//! # How it works
//! In two stages. First everything that was *written* is gathered with its source: the TOML file,
//! then the environment (the original product's variables before `PYKV_*`), then flags. Then it is
//! *resolved*: each value is read into a [`Config`] by the one table of [`settings`], the later word
//! outweighing the earlier, and what only makes sense together is checked.
//!
//! # Why
//! An operator who fixes one mistake only to be told of the next gives up on the third; so nothing
//! stops at the first complaint, and each names where it was written. A word that is not known is a
//! complaint: a mistyped limit that is silently ignored is no limit.
//!
//! # Invariants
//! A [`Config`] from [`load`] is within the bounds that UpdateConfig has for the same values.
//! [`Config::to_toml`] reads back as the same [`Config`]. Nothing here starts anything.
//!
//! # Not here
//! Changes while the server runs: `service`. Flags of the command line: `cli`.

mod complaint;
mod environment;
mod limits;
mod memory;
mod print;
mod resolve;
mod secret;
mod security;
mod settings;
mod source;
mod suggest;
mod tls;
mod tokens;
mod traces;
mod value;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

pub use complaint::{Complaint, Complaints, Note};
pub use secret::{
    append as append_secret, bytes as secret_bytes, public_bytes, text as secret_text,
};
pub use security::Security;
pub use source::{Flags, environment};
pub use tls::{ClientCertificates, TlsFiles};
pub use tokens::{directory, entry as token_entry};
pub(crate) use value::{bytes_words, parse_bytes};

use crate::gateway::{self, Visitors};
use crate::model::Rules;
use crate::server::Limits;
use crate::service::StreamLimits;
use crate::store::Settings;
use crate::telemetry::LogFormat;
use crate::wal;

use complaint::{Heap, Source};
use source::Written;
use value::Raw;

/// Everything a server is told at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may connect, and how.
    pub security: Security,
    /// Whom to answer over HTTP.
    pub visitors: Visitors,
    /// The directory of the log.
    pub data_dir: PathBuf,
    /// Threads that serve, at least one.
    pub workers: usize,
    /// Most namespaces.
    pub namespaces_max: usize,
    /// What can be changed while the server runs.
    pub store: Settings,
    /// Operations that took longer are recorded.
    pub slow_threshold: Duration,
    /// What to log, a filter that parses.
    pub log_filter: String,
    /// What a log line looks like.
    pub log_format: LogFormat,
    /// The collector that traces are sent to, if they are.
    pub traces_endpoint: Option<String>,
    /// For how many of the traces that begin here that is done, 0 to 1.
    pub traces_ratio: f64,
    /// Of connections and calls, and the lengths of the way out.
    pub limits: Limits,
    /// Most streams of each kind.
    pub streams: StreamLimits,
    /// Size of a file of the log.
    pub wal_segment_bytes: u64,
    /// With less space than this, writes are refused.
    pub wal_free_bytes_min: u64,
    /// With this much space, they go on; not below `wal_free_bytes_min`.
    pub wal_free_bytes_resume: u64,
}

impl Default for Config {
    /// What holds where nothing is written. Looks at the machine: processors and memory.
    fn default() -> Config {
        let wal = wal::Config::new("");
        Config {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            security: Security::default(),
            visitors: Visitors::default(),
            data_dir: PathBuf::from("./data"),
            workers: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            namespaces_max: 1000,
            store: Settings {
                default_rules: Rules::default(),
                auto_create_namespaces: true,
                // What values of all sizes cost besides what is charged for them, up to 1.7 times as
                // much after churn, must fit too, and so must buffers and a compaction.
                total_bytes_max: memory::allowed_bytes() / 2,
                read_only: false,
                compaction_interval: Duration::from_secs(3600),
                wal_records_max: 1_000_000,
                cleanup_interval: Duration::from_secs(1),
                flush_interval: Duration::from_secs(1),
            },
            slow_threshold: Duration::from_millis(10),
            log_filter: "info".to_owned(),
            log_format: LogFormat::Text,
            traces_endpoint: None,
            traces_ratio: 1.0,
            limits: Limits::default(),
            streams: StreamLimits::default(),
            wal_segment_bytes: wal.segment_bytes,
            wal_free_bytes_min: wal.free_bytes_min,
            wal_free_bytes_resume: wal.free_bytes_resume,
        }
    }
}

impl Config {
    /// The store's part.
    pub fn settings(&self) -> Settings {
        self.store.clone()
    }

    /// The gateway's part. Beyond this machine a server cannot guess what it is called.
    pub fn gateway(&self) -> gateway::Settings {
        let mut visitors = self.visitors.clone();
        if visitors.hosts.is_empty() && !self.listen.ip().is_loopback() {
            visitors.hosts.push("*".to_owned());
        }
        gateway::Settings { visitors, patience: self.limits.request_timeout_max }
    }

    /// The log's part: the log lives in the data directory itself.
    pub fn wal(&self) -> wal::Config {
        wal::Config {
            dir: self.data_dir.clone(),
            segment_bytes: self.wal_segment_bytes,
            free_bytes_min: self.wal_free_bytes_min,
            free_bytes_resume: self.wal_free_bytes_resume,
        }
    }

    /// The keys that `other` says something else of, and that hold from a start on only.
    pub fn changed_for_a_restart(&self, other: &Config) -> Vec<&'static str> {
        // Other files are read; but whether there are any decides how listeners and gate are made.
        let is_same_kind = self.security.openness() == other.security.openness()
            && self.security.tls.is_on() == other.security.tls.is_on();
        let changed =
            settings::all().filter(|setting| (setting.show)(self) != (setting.show)(other));
        let takes_effect =
            |setting: &&settings::Setting| setting.is_live() || (setting.is_file() && is_same_kind);
        let needs = changed.filter(|setting| !takes_effect(setting));
        needs.map(|setting| setting.key).collect()
    }

    /// The configuration as a TOML file with a comment on every setting.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }
}

/// Reads the configuration: defaults, then `file`, then `vars` (see [`environment()`]), then `flags`.
/// The notes tell what became of words that mean something else here.
///
/// # Errors
/// [`Complaints`], all of them, file first, then environment, then flags.
pub fn load(
    flags: Flags,
    file: Option<&Path>,
    vars: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<Note>), Complaints> {
    let mut complaints = Heap::default();
    let mut notes = Vec::new();
    let mut written = match file {
        Some(path) => source::file(path, &mut complaints),
        None => Vec::new(),
    };
    written.extend(environment::written(vars, &mut complaints, &mut notes));
    written.extend(flags.0.into_iter().map(|flag| Written {
        source: Source::Flag(flag.name),
        key: flag.key,
        raw: Raw::Text(flag.text),
    }));
    let config = resolve::resolve(&written, &mut complaints, &mut notes);
    complaints.none_or_all()?;
    Ok((config, notes))
}

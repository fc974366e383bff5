//! Every setting as data: its key, what it means, how it is read into a [`Config`] and written back.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::limits::LIMITS;
use super::value::{self, Raw, shown};
use super::{security, traces};
use crate::model::VALUE_BYTES_HARD_MAX;
use crate::telemetry;

/// One setting. Its key in the file also makes its variable: `default_policy.max_keys` is
/// `PYKV_DEFAULT_POLICY_MAX_KEYS`.
#[derive(Debug)]
pub(super) struct Setting {
    /// Dotted path in the file. Where the API has a name for it, that name.
    pub(super) key: &'static str,
    /// What it means, with unit and range.
    pub(super) help: &'static str,
    /// Reads a value. Errors: words that continue "KEY ...".
    pub(super) read: fn(&mut Config, &Raw) -> Result<(), String>,
    /// The value in force, as TOML.
    pub(super) show: fn(&Config) -> String,
}

/// Settings outside of the store that another value can be put in force of while the server runs.
const LIVE: [&str; 2] = ["log_filter", "slow_operation_threshold"];

impl Setting {
    /// Whether another value can be put in force while the server runs.
    pub(super) fn is_live(&self) -> bool {
        let is_in = |settings: &[Setting]| settings.iter().any(|setting| setting.key == self.key);
        let of_store = (is_in(STORE) && self.key != "max_namespaces") || is_in(POLICY);
        of_store || LIVE.contains(&self.key)
    }

    /// Whether it says which files of tokens or certificates there are.
    pub(super) fn is_file(&self) -> bool {
        self.key == "tokens_file" || self.key.starts_with("tls.")
    }

    /// The name of its variable.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "_").to_ascii_uppercase())
    }
}

/// How the name of every variable begins.
pub(super) const PREFIX: &str = "PYKV_";

/// Every setting, those of a table of the file together.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    let top = SERVER.iter().chain(security::TOP).chain(STORE);
    let tables = top.chain(WAL).chain(POLICY).chain(LIMITS).chain(security::TLS);
    tables.chain(traces::TRACES)
}

/// The setting of that key.
pub(super) fn named(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// Largest number the API can carry.
pub(super) const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// Most threads that serve.
const WORKERS_MAX: u64 = 1024;
/// Most namespaces; each costs some kilobytes even when it is empty.
const NAMESPACES_MAX: u64 = 1_000_000;
/// Longest log filter, in bytes, as UpdateConfig has it.
const LOG_FILTER_BYTES_MAX: usize = 1024;
/// Most past changes kept for watches, as a policy has it.
const WATCH_HISTORY_EVENTS_MAX: u64 = 1_000_000;
/// Bytes of a segment of the log: one record must fit, and a file should stay easy to handle.
const SEGMENT_BYTES: (u64, u64) = (1 << 20, 4 << 30);

pub(super) const fn seconds(least: u64, most: u64) -> (Duration, Duration) {
    (Duration::from_secs(least), Duration::from_secs(most))
}

const SERVER: &[Setting] = &[
    Setting {
        key: "listen",
        help: "Where to listen: an IP address and a port; port 0 takes a free one.",
        read: |config, raw| raw.address().map(|address| config.listen = address),
        show: |config| shown::text(config.listen),
    },
    Setting {
        key: "allowed_hosts",
        help: "Names this server is reached by, with commas between them, besides \"localhost\" and \
               addresses; \"*\" for any. Unless it is said, none on a loopback address, else any.",
        read: |config, raw| raw.texts(value::is_host).map(|hosts| config.visitors.hosts = hosts),
        show: |config| shown::text(config.visitors.hosts.join(",")),
    },
    Setting {
        key: "cors_origins",
        help: "Origins, with commas between them, whose pages may use this server from a browser; \
               \"*\" for all. Its own pages always may.",
        read: |config, raw| {
            raw.texts(value::is_origin).map(|origins| config.visitors.origins = origins)
        },
        show: |config| shown::text(config.visitors.origins.join(",")),
    },
    Setting {
        key: "data_dir",
        help: "The directory of the log; made if it is not there.",
        read: |config, raw| match raw.text()? {
            "" => Err("must name a directory".to_owned()),
            path => {
                config.data_dir = PathBuf::from(path);
                Ok(())
            }
        },
        show: |config| shown::text(config.data_dir.display()),
    },
    Setting {
        key: "workers",
        help: "Threads that serve, 1 to 1024; unless it is said, one for each processor.",
        read: |config, raw| raw.number((1, WORKERS_MAX)).map(|workers| config.workers = workers),
        show: |config| config.workers.to_string(),
    },
    Setting {
        key: "log_filter",
        help: "What to log, as a tracing filter such as \"info,pykv=debug\"; at most 1024 bytes.",
        read: |config, raw| {
            let filter = log_filter(raw.text()?)?;
            config.log_filter = filter;
            Ok(())
        },
        show: |config| shown::text(&config.log_filter),
    },
    Setting {
        key: "log_format",
        help: "What a log line looks like: \"text\" or \"json\".",
        read: |config, raw| raw.word(&value::LOG_FORMATS).map(|format| config.log_format = format),
        show: |config| shown::word(&value::LOG_FORMATS, &config.log_format),
    },
    Setting {
        key: "slow_operation_threshold",
        help: "Record operations that took longer, 0s (all) to 1h.",
        read: |config, raw| {
            raw.length(seconds(0, 3600)).map(|length| config.slow_threshold = length)
        },
        show: |config| shown::length(config.slow_threshold),
    },
];

const STORE: &[Setting] = &[
    Setting {
        key: "max_namespaces",
        help: "Most namespaces, 1 to 1000000.",
        read: |config, raw| {
            raw.number((1, NAMESPACES_MAX)).map(|count| config.namespaces_max = count)
        },
        show: |config| config.namespaces_max.to_string(),
    },
    Setting {
        key: "auto_create_namespaces",
        help: "Create a namespace with the first write to it.",
        read: |config, raw| raw.truth().map(|truth| config.store.auto_create_namespaces = truth),
        show: |config| config.store.auto_create_namespaces.to_string(),
    },
    Setting {
        key: "max_total_bytes",
        help: "Most bytes over all namespaces; unless it is said, half of the memory the process may use.",
        read: |config, raw| {
            raw.bytes((1, NUMBER_MAX)).map(|bytes| config.store.total_bytes_max = bytes)
        },
        show: |config| shown::bytes(config.store.total_bytes_max),
    },
    Setting {
        key: "read_only",
        help: "Refuse all writes.",
        read: |config, raw| raw.truth().map(|truth| config.store.read_only = truth),
        show: |config| config.store.read_only.to_string(),
    },
    Setting {
        key: "compaction_interval",
        help: "Compact at least this often, 1s to 30days, if anything was written.",
        read: |config, raw| {
            let length = raw.length(seconds(1, 30 * 86_400))?;
            config.store.compaction_interval = length;
            Ok(())
        },
        show: |config| shown::length(config.store.compaction_interval),
    },
    Setting {
        key: "max_wal_entries",
        help: "Compact when the log has this many records and half of them are obsolete; at least 1.",
        read: |config, raw| {
            raw.count((1, NUMBER_MAX)).map(|count| config.store.wal_records_max = count)
        },
        show: |config| config.store.wal_records_max.to_string(),
    },
    Setting {
        key: "cleanup_interval",
        help: "How often every namespace is swept for expired entries, 1s to 1day.",
        read: |config, raw| {
            let length = raw.length(seconds(1, 86_400))?;
            config.store.cleanup_interval = length;
            Ok(())
        },
        show: |config| shown::length(config.store.cleanup_interval),
    },
    Setting {
        key: "flush_interval",
        help: "How often ASYNC writes are flushed to disk, 1ms to 1m; what a power failure may take back.",
        read: |config, raw| {
            let bounds = (Duration::from_millis(1), Duration::from_secs(60));
            raw.length(bounds).map(|length| config.store.flush_interval = length)
        },
        show: |config| shown::length(config.store.flush_interval),
    },
];

const WAL: &[Setting] = &[
    Setting {
        key: "wal.segment_bytes",
        help: "Size of a file of the log, 1 MiB to 4 GiB.",
        read: |config, raw| raw.bytes(SEGMENT_BYTES).map(|bytes| config.wal_segment_bytes = bytes),
        show: |config| shown::bytes(config.wal_segment_bytes),
    },
    Setting {
        key: "wal.min_free_bytes",
        help: "With less space than this on the disk of the log, writes are refused.",
        read: |config, raw| {
            raw.bytes((0, NUMBER_MAX)).map(|bytes| config.wal_free_bytes_min = bytes)
        },
        show: |config| shown::bytes(config.wal_free_bytes_min),
    },
    Setting {
        key: "wal.resume_free_bytes",
        help: "With this much space again, writes go on; not below wal.min_free_bytes.",
        read: |config, raw| {
            raw.bytes((0, NUMBER_MAX)).map(|bytes| config.wal_free_bytes_resume = bytes)
        },
        show: |config| shown::bytes(config.wal_free_bytes_resume),
    },
];

/// What namespaces follow where they say nothing themselves.
const POLICY: &[Setting] = &[
    Setting {
        key: "default_policy.max_keys",
        help: "Most entries of a namespace; at least 1, or \"unlimited\".",
        read: |config, raw| {
            let bound = raw.or_unlimited(|raw| raw.count((1, NUMBER_MAX)))?;
            config.store.default_rules.keys_max = bound;
            Ok(())
        },
        show: |config| {
            shown::or_unlimited(config.store.default_rules.keys_max, |keys| keys.to_string())
        },
    },
    Setting {
        key: "default_policy.max_bytes",
        help: "Most bytes of a namespace, as charged; at least 1, or \"unlimited\".",
        read: |config, raw| {
            let bound = raw.or_unlimited(|raw| raw.bytes((1, NUMBER_MAX)))?;
            config.store.default_rules.bytes_max = bound;
            Ok(())
        },
        show: |config| shown::or_unlimited(config.store.default_rules.bytes_max, shown::bytes),
    },
    Setting {
        key: "default_policy.max_value_bytes",
        help: "Most bytes in one value, 1 to 3 MiB.",
        read: |config, raw| {
            let most = u64::try_from(VALUE_BYTES_HARD_MAX).unwrap_or(u64::MAX);
            let bytes = raw.bytes((1, most))?;
            config.store.default_rules.value_bytes_max =
                usize::try_from(bytes).unwrap_or(VALUE_BYTES_HARD_MAX);
            Ok(())
        },
        show: |config| {
            let bytes = config.store.default_rules.value_bytes_max;
            shown::bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
        },
    },
    Setting {
        key: "default_policy.default_ttl",
        help: "Time to live of an entry written without an expiration, or \"unlimited\".",
        read: |config, raw| {
            let ttl = raw.or_unlimited(value::ttl)?;
            config.store.default_rules.ttl_default = ttl;
            Ok(())
        },
        show: |config| shown::or_unlimited(config.store.default_rules.ttl_default, shown::ttl),
    },
    Setting {
        key: "default_policy.max_ttl",
        help: "No entry may live longer than this after a write, or \"unlimited\".",
        read: |config, raw| {
            let ttl = raw.or_unlimited(value::ttl)?;
            config.store.default_rules.ttl_max = ttl;
            Ok(())
        },
        show: |config| shown::or_unlimited(config.store.default_rules.ttl_max, shown::ttl),
    },
    Setting {
        key: "default_policy.eviction_policy",
        help: "At a limit: \"lru\" (the least recently used entries go) or \"none\" (writes are refused).",
        read: |config, raw| {
            let eviction = raw.word(&value::EVICTIONS)?;
            config.store.default_rules.eviction = eviction;
            Ok(())
        },
        show: |config| shown::word(&value::EVICTIONS, &config.store.default_rules.eviction),
    },
    Setting {
        key: "default_policy.durability",
        help: "How safe a write is when acknowledged: \"sync\" (on disk), \"async\" (on disk within flush_interval) or \"memory\" (gone after a restart).",
        read: |config, raw| {
            let durability = raw.word(&value::DURABILITIES)?;
            config.store.default_rules.durability = durability;
            Ok(())
        },
        show: |config| shown::word(&value::DURABILITIES, &config.store.default_rules.durability),
    },
    Setting {
        key: "default_policy.max_operations_per_second",
        help: "Most operations on a namespace in a second; at least 1, or \"unlimited\".",
        read: |config, raw| {
            let bound = raw.or_unlimited(value::above_zero)?;
            config.store.default_rules.operations_per_second_max = bound;
            Ok(())
        },
        show: |config| {
            let most = config.store.default_rules.operations_per_second_max;
            shown::or_unlimited(most, |most| most.to_string())
        },
    },
    Setting {
        key: "default_policy.watch_history_events",
        help: "Past changes kept for watches to resume from, 0 (none) to 1000000.",
        read: |config, raw| {
            let events = raw.number((0, WATCH_HISTORY_EVENTS_MAX))?;
            config.store.default_rules.watch_history_events = events;
            Ok(())
        },
        show: |config| config.store.default_rules.watch_history_events.to_string(),
    },
];

fn log_filter(filter: &str) -> Result<String, String> {
    if filter.len() > LOG_FILTER_BYTES_MAX {
        return Err(format!("must be at most {LOG_FILTER_BYTES_MAX} bytes"));
    }
    telemetry::check_filter(filter)?;
    Ok(filter.to_owned())
}

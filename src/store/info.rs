//! What the store tells about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Entry;
use crate::model::{Definition, Key, Policy, Rules, UnixMillis, Version};

/// What a store can keep of the API's promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent promise")]
pub struct Capabilities {
    /// Where the data is: "embedded".
    pub engine: &'static str,
    /// Scans return keys in byte order.
    pub ordered_scan: bool,
    /// A watch resumes from a version without gaps.
    pub resumable_watch: bool,
    /// An atomic batch is all or nothing.
    pub atomic_batch: bool,
    /// Counts of keys and bytes are exact.
    pub exact_counts: bool,
    /// Each namespace evicts on its own, by exact least recent use.
    pub namespace_eviction: bool,
    /// Versions are ordered, not only different.
    pub ordered_versions: bool,
    /// Clearing takes the same time however much there is.
    pub constant_time_clear: bool,
    /// Acknowledged SYNC writes survive a power failure.
    pub sync_durability: bool,
}

/// What may be changed while the store runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What namespaces follow where they say nothing themselves.
    pub default_rules: Rules,
    /// Whether a first write makes its namespace.
    pub auto_create_namespaces: bool,
    /// Most bytes over all namespaces, as charged.
    pub total_bytes_max: u64,
    /// Refuse all writes.
    pub read_only: bool,
    /// Compact at least this often, if anything was written.
    pub compaction_interval: Duration,
    /// Compact when the log has this many records and half of them are obsolete.
    pub wal_records_max: u64,
    /// How often every namespace is swept for expired entries.
    pub cleanup_interval: Duration,
    /// How often ASYNC writes are flushed to disk.
    pub flush_interval: Duration,
}

impl Settings {
    /// These, with what `new` says where it differs from `old`.
    #[must_use]
    pub fn changed_as(self, old: &Settings, new: &Settings) -> Settings {
        fn pick<T: PartialEq + Clone>(current: T, old: &T, new: &T) -> T {
            if old == new { current } else { new.clone() }
        }
        macro_rules! picked {
            ($kind:ident, $current:expr, $old:expr, $new:expr, $($field:ident),+) => {
                $kind { $($field: pick($current.$field, &$old.$field, &$new.$field)),+ }
            };
        }
        let (rules, was, is) = (self.default_rules.clone(), &old.default_rules, &new.default_rules);
        Settings {
            default_rules: picked!(
                Rules,
                rules,
                was,
                is,
                keys_max,
                bytes_max,
                value_bytes_max,
                ttl_default,
                ttl_max,
                eviction,
                durability,
                operations_per_second_max,
                watch_history_events
            ),
            ..picked!(
                Settings,
                self,
                old,
                new,
                default_rules,
                auto_create_namespaces,
                total_bytes_max,
                read_only,
                compaction_interval,
                wal_records_max,
                cleanup_interval,
                flush_interval
            )
        }
    }
}

/// The part of a namespace that its owner writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSpec {
    /// For people.
    pub description: String,
    /// For tools.
    pub labels: BTreeMap<String, String>,
    /// Limits and defaults.
    pub policy: Policy,
}

/// What a namespace holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries, those expired and not yet removed included.
    pub keys: u64,
    /// Bytes, as charged.
    pub bytes: u64,
    /// The version of the last change.
    pub version: Version,
}

/// A namespace, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// What is true of it besides its entries.
    pub definition: Definition,
    /// Changes with every update.
    pub etag: String,
    /// What it holds.
    pub usage: Usage,
}

/// Counters of a namespace since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Its name; empty in sums.
    pub namespace: String,
    /// What it holds.
    pub usage: Usage,
    /// Reads that found an entry.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Entries written.
    pub sets: u64,
    /// Entries deleted on request.
    pub deletes: u64,
    /// Entries removed because their time was up.
    pub expirations: u64,
    /// Entries removed to stay within a limit.
    pub evictions: u64,
    /// Writes refused because of a limit.
    pub quota_rejections: u64,
    /// Requests refused because of the rate.
    pub rate_limit_rejections: u64,
    /// Watch streams open now.
    pub active_watches: u64,
}

/// A key that is used much.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// Estimated lookups in a second, whether they found something or not.
    pub reads_per_second: f64,
    /// Estimated changes in a second.
    pub writes_per_second: f64,
}

/// The keys of a namespace that are used most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HotKeys {
    /// Most used first.
    pub keys: Vec<HotKey>,
    /// How long the time was that they were counted in; zero where nothing was.
    pub window: Duration,
}

/// What is known of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogInfo {
    /// Records since the last compaction.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the last compaction ended.
    pub last_compaction: Option<UnixMillis>,
    /// Whether one is running.
    pub compaction_running: bool,
}

/// Counters of the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The log.
    pub log: LogInfo,
    /// Each namespace, by name.
    pub namespaces: Vec<NamespaceStats>,
}

/// What came of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Whether this call started one.
    pub started: bool,
    /// The log, after the compaction if it was waited for.
    pub log: LogInfo,
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries by key.
    pub entries: Vec<(Key, Entry)>,
    /// Whether there is more behind the last of them.
    pub more: bool,
}

//! What the store answers, as messages.

use std::time::Duration;

use prost::Message;
use prost_types::{Duration as WireDuration, Timestamp};

use super::status;
use super::validate::ConfigPatch;
use crate::model::{Bound, Durability, Eviction, Key, Keys, Lifetime, Policy, UnixMillis};
use crate::store::{
    Command, Compacted, Entry, Found, HotKey, HotKeys, NamespaceInfo, NamespaceStats, Outcome,
    Refusal, Restored, SnapshotSummary, Usage, View,
};
use crate::wire::EntryFields;
use crate::wire::v1 as wire;

/// A count as the wire has it; what does not fit is cut to the largest that does.
pub(super) fn int64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A moment.
pub(super) fn timestamp(moment: UnixMillis) -> Timestamp {
    let length = Duration::from_millis(moment.as_millis());
    Timestamp { seconds: int64(length.as_secs()), nanos: nanos(length) }
}

/// A length of time.
pub(super) fn duration(length: Duration) -> WireDuration {
    WireDuration { seconds: int64(length.as_secs()), nanos: nanos(length) }
}

fn nanos(length: Duration) -> i32 {
    i32::try_from(length.subsec_nanos()).expect("there are fewer than 2^31 nanoseconds in a second")
}

/// The keys used most.
pub(super) fn hot_keys(hot: HotKeys) -> wire::ListHotKeysResponse {
    let keys = hot.keys.into_iter().map(|HotKey { key, reads_per_second, writes_per_second }| {
        wire::HotKey { key, reads_per_second, writes_per_second }
    });
    wire::ListHotKeysResponse { hot_keys: keys.collect(), window: Some(duration(hot.window)) }
}

/// What a snapshot holds.
pub(super) fn snapshot_summary(summary: SnapshotSummary) -> wire::SnapshotSummary {
    wire::SnapshotSummary {
        namespace_count: int64(summary.namespaces),
        entry_count: int64(summary.entries),
        size_bytes: int64(summary.bytes),
        snapshot_time: Some(timestamp(summary.moment)),
    }
}

/// What came of a restore.
pub(super) fn restored(restored: Restored) -> wire::RestoreSnapshotResponse {
    wire::RestoreSnapshotResponse {
        summary: Some(snapshot_summary(restored.summary)),
        restored_count: int64(restored.restored),
        skipped_count: int64(restored.skipped),
        expired_count: int64(restored.expired),
    }
}

/// An entry with what `view` asks for. `now` is asked only about an entry that expires.
pub(super) fn entry(
    key: Key,
    entry: Entry,
    view: View,
    now: impl Fn() -> UnixMillis,
) -> wire::Entry {
    match view {
        View::Key => wire::Entry { key: key.into_string(), ..wire::Entry::default() },
        View::Value => wire::Entry {
            value: entry.value,
            version: int64(entry.version.0),
            ..wire::Entry::default()
        },
        View::Metadata => metadata(key.into_string(), &entry, now),
        View::Full => {
            let described = metadata(key.into_string(), &entry, now);
            wire::Entry { value: entry.value, ..described }
        }
    }
}

/// As [`entry`], for a key that is told by an event.
pub(super) fn event_entry(
    key: String,
    entry: Entry,
    view: View,
    now: impl Fn() -> UnixMillis,
) -> wire::Entry {
    let described = metadata(key, &entry, now);
    let value = if view.is_use() { entry.value } else { bytes::Bytes::new() };
    wire::Entry { value, ..described }
}

/// Bytes that an entry's message has besides its key and value where the value is all that is asked
/// for, and where everything is: times, numbers, lengths. A few more or less do not matter.
const VALUE_OVERHEAD_BYTES: usize = 24;
const ENTRY_OVERHEAD_BYTES: usize = 72;

/// What was found for `keys`, written straight into the answer.
pub(super) fn found(
    keys: &Keys,
    found: &Found,
    view: View,
    now: impl Fn() -> UnixMillis,
) -> wire::BatchGetResponse {
    let bytes = match view {
        View::Value => found.values_bytes() + found.len() * VALUE_OVERHEAD_BYTES,
        View::Key | View::Metadata | View::Full => {
            found.values_bytes() + keys.bytes() + found.len() * ENTRY_OVERHEAD_BYTES
        }
    };
    let mut response = wire::BatchGetResponse::with_capacity(bytes);
    for (key, seen) in keys.iter().zip(found.iter()) {
        let fields = seen.map(|seen| match view {
            View::Key => EntryFields { key, ..EntryFields::default() },
            View::Value => EntryFields {
                value: seen.value,
                version: int64(seen.version.0),
                ..EntryFields::default()
            },
            // The value is empty unless it was asked for.
            View::Metadata | View::Full => EntryFields {
                key,
                value: seen.value,
                version: int64(seen.version.0),
                expire_time: seen.deadline.map(timestamp),
                ttl: seen.deadline.map(|deadline| left_until(deadline, &now)),
                update_time: Some(timestamp(seen.written)),
                size_bytes: i64::from(seen.value_bytes),
            },
        });
        response.push(fields.as_ref());
    }
    response
}

fn left_until(deadline: UnixMillis, now: impl Fn() -> UnixMillis) -> WireDuration {
    duration(Duration::from_millis(deadline.millis_since(now())))
}

fn metadata(key: String, entry: &Entry, now: impl Fn() -> UnixMillis) -> wire::Entry {
    wire::Entry {
        key,
        value: bytes::Bytes::new(),
        version: int64(entry.version.0),
        expire_time: entry.deadline.map(timestamp),
        ttl: entry.deadline.map(|deadline| left_until(deadline, now)),
        update_time: Some(timestamp(entry.written)),
        size_bytes: i64::from(entry.value_bytes),
    }
}

/// What came of `command`, which is used up for its key.
pub(super) fn outcome(
    command: Command,
    outcome: Outcome,
    now: impl Fn() -> UnixMillis + Copy,
) -> wire::write_result::Result {
    use wire::write_result::Result;
    let view = match command {
        Command::Touch { view, .. } => view,
        Command::Set { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Check { .. } => View::Metadata,
    };
    let key = into_key(command);
    match outcome {
        Outcome::Set { applied, entry, previous } => {
            let (entry, previous) = both(key, entry, previous, now);
            Result::Set(wire::SetResponse { applied, entry, previous })
        }
        Outcome::Delete { deleted, entry, previous } => {
            let (entry, previous) = both(key, entry, previous, now);
            Result::Delete(wire::DeleteResponse { deleted, entry, previous })
        }
        Outcome::Touch { applied, entry: touched } => {
            let entry = touched.map(|touched| entry(key, touched, view, now));
            Result::Touch(wire::TouchResponse { applied, entry })
        }
        Outcome::Increment { value, applied, created, entry: counter } => {
            let entry = counter.map(|counter| entry(key, counter, view, now));
            Result::Increment(wire::IncrementResponse { value, applied, created, entry })
        }
        Outcome::Check { held, entry: tested } => {
            let entry = tested.map(|tested| entry(key, tested, view, now));
            Result::Check(wire::CheckResult { held, entry })
        }
    }
}

/// The entry as it is, without its value, and the one that was, with it. The key is copied only
/// where both are there.
fn both(
    key: Key,
    is: Option<Entry>,
    was: Option<Entry>,
    now: impl Fn() -> UnixMillis + Copy,
) -> (Option<wire::Entry>, Option<wire::Entry>) {
    match (is, was) {
        (Some(is), Some(was)) => (
            Some(entry(key.clone(), is, View::Metadata, now)),
            Some(entry(key, was, View::Full, now)),
        ),
        (Some(is), None) => (Some(entry(key, is, View::Metadata, now)), None),
        (None, Some(was)) => (None, Some(entry(key, was, View::Full, now))),
        (None, None) => (None, None),
    }
}

fn into_key(command: Command) -> Key {
    match command {
        Command::Set { key, .. }
        | Command::Delete { key, .. }
        | Command::Touch { key, .. }
        | Command::Increment { key, .. }
        | Command::Check { key, .. } => key,
    }
}

/// One line of a batch's answer.
pub(super) fn write_result(
    command: Command,
    ruling: Result<Outcome, Refusal>,
    namespace: &str,
    now: impl Fn() -> UnixMillis + Copy,
) -> wire::WriteResult {
    let result = match ruling {
        Ok(done) => outcome(command, done, now),
        Err(refusal) => {
            let failure = status::of_refusal(refusal, namespace);
            wire::write_result::Result::Error(failure.into_wire())
        }
    };
    wire::WriteResult { result: Some(result) }
}

/// The lines of a batch's answer.
pub(super) fn write_results(
    commands: Vec<Command>,
    outcomes: Vec<Result<Outcome, Refusal>>,
    namespace: &str,
    now: impl Fn() -> UnixMillis + Copy,
) -> impl Iterator<Item = wire::WriteResult> {
    let steps = commands.into_iter().zip(outcomes);
    steps.map(move |(command, ruling)| write_result(command, ruling, namespace, now))
}

/// Makes a batch's answer fit into `limit_bytes`. The writes have happened and the answer must say
/// so: values that were asked for are left out, the last ones first, until the rest fits.
/// `size_bytes` still tells that there was one.
pub(super) fn fit(response: &mut wire::BatchWriteResponse, limit_bytes: usize) {
    let Some(mut excess) = response.encoded_len().checked_sub(limit_bytes) else { return };
    for result in response.results.iter_mut().rev() {
        if excess == 0 {
            return;
        }
        if let Some(entry) = value_of(result) {
            excess = excess.saturating_sub(entry.value.len());
            entry.value = bytes::Bytes::new();
        }
    }
    // Only thousands of longest keys come here: what was replaced has the key of what is.
    for result in response.results.iter_mut().rev() {
        if excess == 0 {
            return;
        }
        if let Some(wire::write_result::Result::Set(set)) = &mut result.result {
            let key = set.previous.as_mut().map(|previous| std::mem::take(&mut previous.key));
            excess = excess.saturating_sub(key.map_or(0, |key| key.len()));
        }
    }
}

/// The entry of a result that may carry a value.
fn value_of(result: &mut wire::WriteResult) -> Option<&mut wire::Entry> {
    use wire::write_result::Result;
    match result.result.as_mut()? {
        Result::Set(set) => set.previous.as_mut(),
        Result::Delete(delete) => delete.previous.as_mut(),
        Result::Touch(touch) => touch.entry.as_mut(),
        Result::Increment(_) | Result::Check(_) | Result::Error(_) => None,
    }
}

/// A namespace.
pub(super) fn namespace(info: NamespaceInfo) -> wire::Namespace {
    let definition = info.definition;
    wire::Namespace {
        name: definition.name.as_str().to_owned(),
        description: definition.description,
        labels: definition.labels.into_iter().collect(),
        policy: Some(policy(&definition.policy)),
        usage: Some(usage(info.usage)),
        auto_created: definition.auto_created,
        create_time: Some(timestamp(definition.created)),
        update_time: Some(timestamp(definition.updated)),
        etag: info.etag,
    }
}

fn usage(usage: Usage) -> wire::NamespaceUsage {
    wire::NamespaceUsage {
        key_count: int64(usage.keys),
        used_bytes: int64(usage.bytes),
        version: int64(usage.version.0),
    }
}

/// Counters of a namespace, or a sum of them.
pub(super) fn namespace_stats(stats: NamespaceStats) -> wire::NamespaceStats {
    wire::NamespaceStats {
        namespace: stats.namespace,
        usage: Some(usage(stats.usage)),
        hits: int64(stats.hits),
        misses: int64(stats.misses),
        sets: int64(stats.sets),
        deletes: int64(stats.deletes),
        expirations: int64(stats.expirations),
        evictions: int64(stats.evictions),
        quota_rejections: int64(stats.quota_rejections),
        rate_limit_rejections: int64(stats.rate_limit_rejections),
        active_watches: int64(stats.active_watches),
    }
}

/// What came of a compaction.
pub(super) fn compacted(compacted: Compacted) -> wire::CompactResponse {
    wire::CompactResponse {
        started: compacted.started,
        wal_entries: int64(compacted.log.records),
        wal_bytes: int64(compacted.log.bytes),
    }
}

/// A policy as its owner wrote it.
fn policy(policy: &Policy) -> wire::NamespacePolicy {
    wire::NamespacePolicy {
        max_keys: policy.keys_max.map(limit),
        max_bytes: policy.bytes_max.map(limit),
        max_value_bytes: policy.value_bytes_max.map(i64::from),
        default_ttl: policy.ttl_default.map(lifetime),
        max_ttl: policy.ttl_max.map(lifetime),
        eviction_policy: policy.eviction.map_or(wire::EvictionPolicy::Unspecified, eviction) as i32,
        durability: policy.durability.map_or(wire::Durability::Unspecified, durability) as i32,
        max_operations_per_second: policy.operations_per_second_max.map(limit),
        watch_history_events: policy.watch_history_events.map(i64::from),
    }
}

/// A configuration, or the part of one that is set.
pub(super) fn config(patch: &ConfigPatch) -> wire::ServerConfig {
    wire::ServerConfig {
        default_policy: Some(policy(&patch.policy)),
        auto_create_namespaces: patch.auto_create_namespaces,
        max_total_bytes: patch.total_bytes_max.map(int64),
        read_only: patch.read_only,
        compaction_interval: patch.compaction_interval.map(duration),
        max_wal_entries: patch.wal_records_max.map(int64),
        cleanup_interval: patch.cleanup_interval.map(duration),
        flush_interval: patch.flush_interval.map(duration),
        slow_operation_threshold: patch.slow_operation_threshold.map(duration),
        log_filter: patch.log_filter.clone(),
    }
}

fn limit(bound: Bound) -> wire::Limit {
    let bound = match bound {
        Bound::AtMost(most) => wire::limit::Bound::Maximum(int64(most.get())),
        Bound::Unlimited => wire::limit::Bound::Unlimited(true),
    };
    wire::Limit { bound: Some(bound) }
}

fn lifetime(lifetime: Lifetime) -> wire::Lifetime {
    let length = match lifetime {
        Lifetime::Ttl(ttl) => {
            wire::lifetime::Length::Ttl(duration(Duration::from_millis(ttl.as_millis())))
        }
        Lifetime::Unlimited => wire::lifetime::Length::Unlimited(true),
    };
    wire::Lifetime { length: Some(length) }
}

const fn eviction(eviction: Eviction) -> wire::EvictionPolicy {
    match eviction {
        Eviction::Lru => wire::EvictionPolicy::Lru,
        Eviction::None => wire::EvictionPolicy::None,
    }
}

const fn durability(durability: Durability) -> wire::Durability {
    match durability {
        Durability::Memory => wire::Durability::Memory,
        Durability::Async => wire::Durability::Async,
        Durability::Sync => wire::Durability::Sync,
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;

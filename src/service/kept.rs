//! The text by which changed configuration survives a restart.
//!
//! Shape: one JSON object with the names of `ServerConfig`'s fields, only those that were changed;
//! lengths of time in milliseconds, limits as `{"maximum": 5}` or `"unlimited"`. It can be read in
//! a dump of the log. Fields of a newer server are an error, not a shrug: what an operator chose to
//! keep must not be lost without a word.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::convert;
use crate::wire::v1 as wire;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Kept {
    #[serde(skip_serializing_if = "KeptPolicy::is_empty")]
    default_policy: KeptPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_create_namespaces: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_total_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compaction_interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_wal_entries: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleanup_interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flush_interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_operation_threshold_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_filter: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeptPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_keys: Option<KeptLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<KeptLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_value_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_ttl: Option<KeptLifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl: Option<KeptLifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eviction_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_operations_per_second: Option<KeptLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch_history_events: Option<i64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptLimit {
    Maximum(i64),
    Unlimited,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptLifetime {
    TtlMs(u64),
    Unlimited,
}

/// Writes down the fields that are set in `config`, which is valid.
pub(super) fn write(config: &wire::ServerConfig) -> Vec<u8> {
    let kept = Kept {
        default_policy: config.default_policy.as_ref().map(policy_out).unwrap_or_default(),
        auto_create_namespaces: config.auto_create_namespaces,
        max_total_bytes: config.max_total_bytes,
        read_only: config.read_only,
        compaction_interval_ms: config.compaction_interval.map(millis),
        max_wal_entries: config.max_wal_entries,
        cleanup_interval_ms: config.cleanup_interval.map(millis),
        flush_interval_ms: config.flush_interval.map(millis),
        slow_operation_threshold_ms: config.slow_operation_threshold.map(millis),
        log_filter: config.log_filter.clone(),
    };
    serde_json::to_vec(&kept).expect("numbers, texts and names make JSON")
}

/// Reads what [`write()`] wrote. Errors: the text is not that.
pub(super) fn read(text: &[u8]) -> Result<wire::ServerConfig, String> {
    let unreadable = |error| format!("the kept configuration cannot be read: {error}");
    // An object first: on its own, a struct would take a list of its fields too.
    let object: serde_json::Map<_, _> = serde_json::from_slice(text).map_err(unreadable)?;
    let kept: Kept = serde_json::from_value(object.into()).map_err(unreadable)?;
    Ok(wire::ServerConfig {
        default_policy: Some(policy_in(kept.default_policy)?),
        auto_create_namespaces: kept.auto_create_namespaces,
        max_total_bytes: kept.max_total_bytes,
        read_only: kept.read_only,
        compaction_interval: kept.compaction_interval_ms.map(length),
        max_wal_entries: kept.max_wal_entries,
        cleanup_interval: kept.cleanup_interval_ms.map(length),
        flush_interval: kept.flush_interval_ms.map(length),
        slow_operation_threshold: kept.slow_operation_threshold_ms.map(length),
        log_filter: kept.log_filter,
    })
}

impl KeptPolicy {
    fn is_empty(&self) -> bool {
        *self == KeptPolicy::default()
    }
}

fn policy_out(policy: &wire::NamespacePolicy) -> KeptPolicy {
    let eviction = policy.eviction_policy();
    let durability = policy.durability();
    let chosen = |is_open: bool, name: &str| (!is_open).then(|| name.to_owned());
    KeptPolicy {
        max_keys: policy.max_keys.and_then(limit_out),
        max_bytes: policy.max_bytes.and_then(limit_out),
        max_value_bytes: policy.max_value_bytes,
        default_ttl: policy.default_ttl.and_then(lifetime_out),
        max_ttl: policy.max_ttl.and_then(lifetime_out),
        eviction_policy: chosen(
            eviction == wire::EvictionPolicy::Unspecified,
            eviction.as_str_name(),
        ),
        durability: chosen(durability == wire::Durability::Unspecified, durability.as_str_name()),
        max_operations_per_second: policy.max_operations_per_second.and_then(limit_out),
        watch_history_events: policy.watch_history_events,
    }
}

fn policy_in(kept: KeptPolicy) -> Result<wire::NamespacePolicy, String> {
    let eviction = match kept.eviction_policy {
        None => wire::EvictionPolicy::Unspecified,
        Some(name) => wire::EvictionPolicy::from_str_name(&name)
            .ok_or_else(|| format!("the kept configuration has no such eviction: {name}"))?,
    };
    let durability = match kept.durability {
        None => wire::Durability::Unspecified,
        Some(name) => wire::Durability::from_str_name(&name)
            .ok_or_else(|| format!("the kept configuration has no such durability: {name}"))?,
    };
    Ok(wire::NamespacePolicy {
        max_keys: kept.max_keys.map(limit_in),
        max_bytes: kept.max_bytes.map(limit_in),
        max_value_bytes: kept.max_value_bytes,
        default_ttl: kept.default_ttl.map(lifetime_in),
        max_ttl: kept.max_ttl.map(lifetime_in),
        eviction_policy: eviction as i32,
        durability: durability as i32,
        max_operations_per_second: kept.max_operations_per_second.map(limit_in),
        watch_history_events: kept.watch_history_events,
    })
}

fn limit_out(limit: wire::Limit) -> Option<KeptLimit> {
    Some(match limit.bound? {
        wire::limit::Bound::Maximum(most) => KeptLimit::Maximum(most),
        wire::limit::Bound::Unlimited(_) => KeptLimit::Unlimited,
    })
}

fn limit_in(kept: KeptLimit) -> wire::Limit {
    let bound = match kept {
        KeptLimit::Maximum(most) => wire::limit::Bound::Maximum(most),
        KeptLimit::Unlimited => wire::limit::Bound::Unlimited(true),
    };
    wire::Limit { bound: Some(bound) }
}

fn lifetime_out(lifetime: wire::Lifetime) -> Option<KeptLifetime> {
    Some(match lifetime.length? {
        wire::lifetime::Length::Ttl(ttl) => KeptLifetime::TtlMs(millis(ttl)),
        wire::lifetime::Length::Unlimited(_) => KeptLifetime::Unlimited,
    })
}

fn lifetime_in(kept: KeptLifetime) -> wire::Lifetime {
    let length = match kept {
        KeptLifetime::TtlMs(ttl) => wire::lifetime::Length::Ttl(length(ttl)),
        KeptLifetime::Unlimited => wire::lifetime::Length::Unlimited(true),
    };
    wire::Lifetime { length: Some(length) }
}

/// Whole milliseconds, a started one counted whole. The lengths here are valid: not negative.
fn millis(length: prost_types::Duration) -> u64 {
    let seconds = u64::try_from(length.seconds).unwrap_or_default();
    let rest = u64::try_from(length.nanos).unwrap_or_default().div_ceil(1_000_000);
    seconds.saturating_mul(1000).saturating_add(rest)
}

fn length(millis: u64) -> prost_types::Duration {
    convert::duration(Duration::from_millis(millis))
}

//! Configuration that changes while the server runs: how a change becomes settings in force, and
//! how it survives a restart.
//!
//! There are three layers: what was configured at start, the changes kept across restarts, and
//! those that end with the process. A field that a change names without a value falls back to what
//! was configured at start, and is no longer kept.

use std::num::NonZeroU64;
use std::time::Duration;

use tonic::Status;

use super::validate::{self, ConfigField, ConfigPatch};
use super::{convert, kept};
use crate::model::{Bound, Lifetime, Policy, Rules, Ttl};
use crate::store::Settings;
use crate::wire::v1 as wire;

/// What is recorded about the server's work; no part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Operations that took longer are recorded.
    pub slow_operation_threshold: Duration,
    /// What to log, as a tracing filter.
    pub log_filter: String,
}

/// The whole of what can be changed at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    /// Of the store.
    pub settings: Settings,
    /// Of telemetry.
    pub observation: Observation,
}

/// What the configuration says, and the part of it that telemetry keeps.
pub trait ConfigSource: Send + Sync {
    /// What defaults, file, environment and flags said at start, before kept changes.
    fn configured(&self) -> Configured;

    /// What is in force now.
    fn observation(&self) -> Observation;

    /// Says in a few words what is wrong with a log filter.
    ///
    /// # Errors
    /// The words, for the caller of UpdateConfig.
    fn check_log_filter(&self, filter: &str) -> Result<(), String>;

    /// Puts in force what was checked.
    fn observe(&self, observation: Observation);
}

/// The settings to start with: those configured, with the changes that were kept.
///
/// # Errors
/// Words for the operator, where `persisted` is not what UpdateConfig writes.
pub fn restore_settings(base: Settings, persisted: &[u8]) -> Result<Settings, String> {
    Ok(overlaid(base, &read_kept(persisted)?))
}

/// What to observe at start: as configured, with the changes that were kept.
///
/// # Errors
/// As [`restore_settings`]; a kept filter is not tried out here.
pub fn restore_observation(base: Observation, persisted: &[u8]) -> Result<Observation, String> {
    Ok(observed(base, &read_kept(persisted)?))
}

/// A change that was found valid.
#[derive(Debug)]
pub(super) struct Change {
    asked: ConfigPatch,
    fields: Vec<ConfigField>,
}

impl Change {
    /// Checks what UpdateConfig was sent.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with everything that is wrong.
    pub(super) fn parse(
        config: Option<wire::ServerConfig>,
        mask: Option<prost_types::FieldMask>,
        source: &dyn ConfigSource,
    ) -> Result<Change, Status> {
        let mask = mask.map(|mask| mask.paths).unwrap_or_default();
        let check = |filter: &str| source.check_log_filter(filter);
        let (asked, fields) = validate::config(config.unwrap_or_default(), &mask, check)?;
        Ok(Change { asked, fields })
    }

    /// What is in force once the change is. A field that it names without a value falls back to
    /// `base`.
    pub(super) fn applied_to(&self, now: Configured, base: &Configured) -> Configured {
        let base = patch_of(base);
        let mut patch = ConfigPatch::default();
        for field in &self.fields {
            let from = if field.is_set(&self.asked) { &self.asked } else { &base };
            field.copy(from, &mut patch);
        }
        Configured {
            settings: overlaid(now.settings, &patch),
            observation: observed(now.observation, &patch),
        }
    }

    /// The text to keep, where `before` is the one kept so far.
    ///
    /// # Errors
    /// Words for the operator, where `before` cannot be read.
    pub(super) fn kept_after(&self, before: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let mut kept = before.map_or_else(|| Ok(ConfigPatch::default()), read_kept)?;
        for field in &self.fields {
            field.copy(&self.asked, &mut kept);
        }
        Ok(kept::write(&convert::config(&kept)))
    }
}

/// The configuration as a message with every field set.
pub(super) fn message(configured: &Configured) -> wire::ServerConfig {
    convert::config(&patch_of(configured))
}

fn read_kept(persisted: &[u8]) -> Result<ConfigPatch, String> {
    let (patch, _) = validate::config(kept::read(persisted)?, &[], |_| Ok(()))
        .map_err(|status| format!("the kept configuration is not valid: {}", status.message()))?;
    Ok(patch)
}

fn patch_of(configured: &Configured) -> ConfigPatch {
    let Configured { settings, observation } = configured;
    ConfigPatch {
        policy: policy_of(&settings.default_rules),
        auto_create_namespaces: Some(settings.auto_create_namespaces),
        total_bytes_max: Some(settings.total_bytes_max),
        read_only: Some(settings.read_only),
        compaction_interval: Some(settings.compaction_interval),
        wal_records_max: Some(settings.wal_records_max),
        cleanup_interval: Some(settings.cleanup_interval),
        flush_interval: Some(settings.flush_interval),
        slow_operation_threshold: Some(observation.slow_operation_threshold),
        log_filter: Some(observation.log_filter.clone()),
    }
}

/// The policy that says what `rules` say and leaves nothing open.
fn policy_of(rules: &Rules) -> Policy {
    // A limit of zero cannot be written, only be set from outside: the least there is stands for it.
    let count = |most: u64| Bound::AtMost(NonZeroU64::new(most).unwrap_or(NonZeroU64::MIN));
    let count = |most: Option<u64>| Some(most.map_or(Bound::Unlimited, count));
    let length = |ttl: Option<Ttl>| Some(ttl.map_or(Lifetime::Unlimited, Lifetime::Ttl));
    Policy {
        keys_max: count(rules.keys_max),
        bytes_max: count(rules.bytes_max),
        value_bytes_max: Some(u32::try_from(rules.value_bytes_max).unwrap_or(u32::MAX)),
        ttl_default: length(rules.ttl_default),
        ttl_max: length(rules.ttl_max),
        eviction: Some(rules.eviction),
        durability: Some(rules.durability),
        operations_per_second_max: count(rules.operations_per_second_max.map(NonZeroU64::get)),
        watch_history_events: Some(rules.watch_history_events),
    }
}

fn overlaid(settings: Settings, over: &ConfigPatch) -> Settings {
    Settings {
        default_rules: settings.default_rules.overridden_by(&over.policy),
        auto_create_namespaces: over
            .auto_create_namespaces
            .unwrap_or(settings.auto_create_namespaces),
        total_bytes_max: over.total_bytes_max.unwrap_or(settings.total_bytes_max),
        read_only: over.read_only.unwrap_or(settings.read_only),
        compaction_interval: over.compaction_interval.unwrap_or(settings.compaction_interval),
        wal_records_max: over.wal_records_max.unwrap_or(settings.wal_records_max),
        cleanup_interval: over.cleanup_interval.unwrap_or(settings.cleanup_interval),
        flush_interval: over.flush_interval.unwrap_or(settings.flush_interval),
    }
}

fn observed(observation: Observation, over: &ConfigPatch) -> Observation {
    let threshold = over.slow_operation_threshold;
    Observation {
        slow_operation_threshold: threshold.unwrap_or(observation.slow_operation_threshold),
        log_filter: over.log_filter.clone().unwrap_or(observation.log_filter),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
pub(super) mod tests;

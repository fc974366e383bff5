//! The configuration that can be changed while the server runs.

use std::num::NonZeroU64;
use std::time::Duration;

use tonic::Status;

use super::policy::PolicyField;
use super::{At, Problems};
use crate::model::Policy;
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

const REASON: ErrorReason = ErrorReason::ConfigInvalid;

/// Between compactions by the clock: more often would do nothing but compact.
const COMPACTION_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(30 * 86_400));
/// Between full sweeps for expired entries.
const CLEANUP_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(86_400));
/// Between flushes of ASYNC writes; what a power failure may take back.
const FLUSH_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
/// From when on an operation is slow; zero keeps every one.
const SLOW_THRESHOLD: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
/// Longest log filter, in bytes.
const LOG_FILTER_BYTES_MAX: usize = 1024;

/// A configuration, each field of which may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConfigPatch {
    pub(crate) policy: Policy,
    pub(crate) auto_create_namespaces: Option<bool>,
    pub(crate) total_bytes_max: Option<u64>,
    pub(crate) read_only: Option<bool>,
    pub(crate) compaction_interval: Option<Duration>,
    pub(crate) wal_records_max: Option<u64>,
    pub(crate) cleanup_interval: Option<Duration>,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) slow_operation_threshold: Option<Duration>,
    pub(crate) log_filter: Option<String>,
}

/// A field of `ServerConfig` that can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigField {
    Policy(PolicyField),
    AutoCreateNamespaces,
    MaxTotalBytes,
    ReadOnly,
    CompactionInterval,
    MaxWalEntries,
    CleanupInterval,
    FlushInterval,
    SlowOperationThreshold,
    LogFilter,
}

impl ConfigField {
    const PLAIN: [ConfigField; 9] = [
        ConfigField::AutoCreateNamespaces,
        ConfigField::MaxTotalBytes,
        ConfigField::ReadOnly,
        ConfigField::CompactionInterval,
        ConfigField::MaxWalEntries,
        ConfigField::CleanupInterval,
        ConfigField::FlushInterval,
        ConfigField::SlowOperationThreshold,
        ConfigField::LogFilter,
    ];

    /// Every field.
    pub(crate) fn all() -> impl Iterator<Item = ConfigField> {
        let policy = PolicyField::ALL.into_iter().map(ConfigField::Policy);
        policy.chain(ConfigField::PLAIN)
    }

    fn name(self) -> &'static str {
        match self {
            ConfigField::Policy(field) => field.name(),
            ConfigField::AutoCreateNamespaces => "auto_create_namespaces",
            ConfigField::MaxTotalBytes => "max_total_bytes",
            ConfigField::ReadOnly => "read_only",
            ConfigField::CompactionInterval => "compaction_interval",
            ConfigField::MaxWalEntries => "max_wal_entries",
            ConfigField::CleanupInterval => "cleanup_interval",
            ConfigField::FlushInterval => "flush_interval",
            ConfigField::SlowOperationThreshold => "slow_operation_threshold",
            ConfigField::LogFilter => "log_filter",
        }
    }

    /// Whether `patch` says anything about this field.
    pub(crate) fn is_set(self, patch: &ConfigPatch) -> bool {
        match self {
            ConfigField::Policy(field) => field.is_set(&patch.policy),
            ConfigField::AutoCreateNamespaces => patch.auto_create_namespaces.is_some(),
            ConfigField::MaxTotalBytes => patch.total_bytes_max.is_some(),
            ConfigField::ReadOnly => patch.read_only.is_some(),
            ConfigField::CompactionInterval => patch.compaction_interval.is_some(),
            ConfigField::MaxWalEntries => patch.wal_records_max.is_some(),
            ConfigField::CleanupInterval => patch.cleanup_interval.is_some(),
            ConfigField::FlushInterval => patch.flush_interval.is_some(),
            ConfigField::SlowOperationThreshold => patch.slow_operation_threshold.is_some(),
            ConfigField::LogFilter => patch.log_filter.is_some(),
        }
    }

    /// Makes `to` say about this field what `from` says, nothing included.
    pub(crate) fn copy(self, from: &ConfigPatch, to: &mut ConfigPatch) {
        match self {
            ConfigField::Policy(field) => field.copy(&from.policy, &mut to.policy),
            ConfigField::AutoCreateNamespaces => {
                to.auto_create_namespaces = from.auto_create_namespaces;
            }
            ConfigField::MaxTotalBytes => to.total_bytes_max = from.total_bytes_max,
            ConfigField::ReadOnly => to.read_only = from.read_only,
            ConfigField::CompactionInterval => to.compaction_interval = from.compaction_interval,
            ConfigField::MaxWalEntries => to.wal_records_max = from.wal_records_max,
            ConfigField::CleanupInterval => to.cleanup_interval = from.cleanup_interval,
            ConfigField::FlushInterval => to.flush_interval = from.flush_interval,
            ConfigField::SlowOperationThreshold => {
                to.slow_operation_threshold = from.slow_operation_threshold;
            }
            ConfigField::LogFilter => to.log_filter.clone_from(&from.log_filter),
        }
    }
}

/// Checks a configuration and the update mask beside it; also returns which fields to change.
pub(crate) fn config(
    config: wire::ServerConfig,
    mask: &[String],
    check_filter: impl Fn(&str) -> Result<(), String>,
) -> Result<(ConfigPatch, Vec<ConfigField>), Status> {
    let mut problems = Problems::default();
    let masked = problems.mask(mask, config_fields);
    let patch = problems.config(config, check_filter);
    problems.refuse(patch.map(|patch| {
        let set = || ConfigField::all().filter(|field| field.is_set(&patch)).collect();
        let fields = if mask.is_empty() { set() } else { masked };
        (patch, fields)
    }))
}

/// The fields that a path of an update mask names; `None` if it names none.
fn config_fields(path: &str) -> Option<Vec<ConfigField>> {
    let policy = || PolicyField::ALL.into_iter().map(ConfigField::Policy);
    match path {
        "*" => Some(ConfigField::all().collect()),
        "default_policy" => Some(policy().collect()),
        path => {
            if let Some(name) = path.strip_prefix("default_policy.") {
                return Some(vec![ConfigField::Policy(PolicyField::named(name)?)]);
            }
            let field = ConfigField::PLAIN.into_iter().find(|field| field.name() == path)?;
            Some(vec![field])
        }
    }
}

const CONFIG: At<'_> = At::Field(&At::Top, "config");

impl Problems {
    fn config(
        &mut self,
        wire: wire::ServerConfig,
        check_filter: impl Fn(&str) -> Result<(), String>,
    ) -> Option<ConfigPatch> {
        let policy = wire.default_policy.unwrap_or_default();
        let policy = self.policy(&policy, CONFIG.field("default_policy"), REASON);
        let total_bytes_max = self.count(wire.max_total_bytes, ConfigField::MaxTotalBytes);
        let compaction_interval = self.interval(
            wire.compaction_interval,
            ConfigField::CompactionInterval,
            COMPACTION_INTERVAL,
        );
        let wal_records_max = self.count(wire.max_wal_entries, ConfigField::MaxWalEntries);
        let cleanup_interval =
            self.interval(wire.cleanup_interval, ConfigField::CleanupInterval, CLEANUP_INTERVAL);
        let flush_interval =
            self.interval(wire.flush_interval, ConfigField::FlushInterval, FLUSH_INTERVAL);
        let slow_operation_threshold = self.interval(
            wire.slow_operation_threshold,
            ConfigField::SlowOperationThreshold,
            SLOW_THRESHOLD,
        );
        self.log_filter(wire.log_filter.as_deref(), check_filter);
        Some(ConfigPatch {
            policy: policy?,
            auto_create_namespaces: wire.auto_create_namespaces,
            total_bytes_max: total_bytes_max?,
            read_only: wire.read_only,
            compaction_interval: compaction_interval?,
            wal_records_max: wal_records_max?,
            cleanup_interval: cleanup_interval?,
            flush_interval: flush_interval?,
            slow_operation_threshold: slow_operation_threshold?,
            log_filter: wire.log_filter,
        })
    }

    #[expect(clippy::option_option, reason = "a problem and an absent field are different things")]
    fn count(&mut self, wire: Option<i64>, field: ConfigField) -> Option<Option<u64>> {
        let Some(count) = wire else { return Some(None) };
        match u64::try_from(count).ok().and_then(NonZeroU64::new) {
            Some(count) => Some(Some(count.get())),
            None => self.add_field(CONFIG.field(field.name()), REASON, "must be at least 1"),
        }
    }

    #[expect(clippy::option_option, reason = "a problem and an absent field are different things")]
    fn interval(
        &mut self,
        wire: Option<prost_types::Duration>,
        field: ConfigField,
        bounds: (Duration, Duration),
    ) -> Option<Option<Duration>> {
        let Some(interval) = wire else { return Some(None) };
        self.length_within(&interval, CONFIG.field(field.name()), bounds, REASON).map(Some)
    }

    fn log_filter(
        &mut self,
        filter: Option<&str>,
        check_filter: impl Fn(&str) -> Result<(), String>,
    ) {
        let at = CONFIG.field(ConfigField::LogFilter.name());
        match filter {
            None => {}
            Some(filter) if filter.len() > LOG_FILTER_BYTES_MAX => {
                let text = format!("must be at most {LOG_FILTER_BYTES_MAX} bytes");
                self.add_field::<()>(at, REASON, &text);
            }
            Some(filter) => {
                if let Err(text) = check_filter(filter) {
                    self.add_field::<()>(at, REASON, &text);
                }
            }
        }
    }
}

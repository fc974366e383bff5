//! How a change of configuration is read, put in force and kept.

use std::sync::Mutex;

use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::model::{Durability, Eviction};

fn base() -> Configured {
    Configured {
        settings: Settings {
            default_rules: Rules::default(),
            auto_create_namespaces: true,
            total_bytes_max: 1 << 30,
            read_only: false,
            compaction_interval: Duration::from_secs(300),
            wal_records_max: 1_000_000,
            cleanup_interval: Duration::from_secs(60),
            flush_interval: Duration::from_secs(1),
        },
        observation: Observation {
            slow_operation_threshold: Duration::from_millis(10),
            log_filter: "info".into(),
        },
    }
}

/// A source that knows one filter to be wrong.
#[derive(Debug)]
pub(in crate::service) struct Source(Mutex<Observation>);

/// A source of [`base`].
pub(in crate::service) fn source() -> Source {
    Source(Mutex::new(base().observation))
}

impl ConfigSource for Source {
    fn configured(&self) -> Configured {
        base()
    }
    fn observation(&self) -> Observation {
        self.0.lock().unwrap().clone()
    }
    fn check_log_filter(&self, filter: &str) -> Result<(), String> {
        if filter == "=" { Err("is not a filter".into()) } else { Ok(()) }
    }
    fn observe(&self, observation: Observation) {
        *self.0.lock().unwrap() = observation;
    }
}

fn parse(config: wire::ServerConfig, mask: &[&str]) -> Result<Change, Status> {
    let paths: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
    Change::parse(Some(config), Some(FieldMask { paths }), &source())
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn limit(most: i64) -> Option<wire::Limit> {
    Some(wire::Limit { bound: Some(wire::limit::Bound::Maximum(most)) })
}

/// A change of a few fields of either kind.
fn some() -> wire::ServerConfig {
    wire::ServerConfig {
        default_policy: Some(wire::NamespacePolicy {
            max_keys: limit(5),
            durability: wire::Durability::Async as i32,
            ..wire::NamespacePolicy::default()
        }),
        read_only: Some(true),
        flush_interval: seconds(2),
        log_filter: Some("debug".into()),
        ..wire::ServerConfig::default()
    }
}

#[test]
fn without_a_mask_the_fields_that_are_set_change_and_no_others() {
    let changed = parse(some(), &[]).unwrap().applied_to(base(), &base());
    let mut expected = base();
    expected.settings.default_rules.keys_max = Some(5);
    expected.settings.default_rules.durability = Durability::Async;
    expected.settings.read_only = true;
    expected.settings.flush_interval = Duration::from_secs(2);
    expected.observation.log_filter = "debug".into();
    assert_eq!(changed, expected);
}

#[test]
fn with_a_mask_only_its_fields_change() {
    let mask = ["default_policy.max_keys", "read_only"];
    let changed = parse(some(), &mask).unwrap().applied_to(base(), &base());
    let mut expected = base();
    expected.settings.default_rules.keys_max = Some(5);
    expected.settings.read_only = true;
    assert_eq!(changed, expected);
}

#[test]
fn a_masked_field_without_a_value_falls_back_to_what_was_configured() {
    let mut now = base();
    now.settings.default_rules.keys_max = Some(9);
    now.settings.default_rules.eviction = Eviction::None;
    now.settings.total_bytes_max = 5;
    now.settings.read_only = true;
    let none = wire::ServerConfig::default();
    let changed = parse(none.clone(), &["default_policy", "max_total_bytes"]).unwrap();
    let changed = changed.applied_to(now.clone(), &base());
    let mut expected = base();
    expected.settings.read_only = true;
    assert_eq!(changed, expected);
    assert_eq!(parse(none, &["*"]).unwrap().applied_to(now, &base()), base());
}

#[test]
fn everything_wrong_with_a_change_is_told_at_once() {
    let config = wire::ServerConfig {
        default_policy: Some(wire::NamespacePolicy {
            max_keys: limit(0),
            ..wire::NamespacePolicy::default()
        }),
        max_total_bytes: Some(0),
        compaction_interval: seconds(0),
        max_wal_entries: Some(-1),
        cleanup_interval: seconds(-1),
        flush_interval: seconds(61),
        slow_operation_threshold: seconds(3601),
        log_filter: Some("=".into()),
        ..wire::ServerConfig::default()
    };
    let status = parse(config, &["read_only", "listen", "default_policy.size"]).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| &*violation.field).collect();
    let expected = [
        "update_mask.paths[1]",
        "update_mask.paths[2]",
        "config.default_policy.max_keys.maximum",
        "config.max_total_bytes",
        "config.compaction_interval",
        "config.max_wal_entries",
        "config.cleanup_interval",
        "config.flush_interval",
        "config.slow_operation_threshold",
        "config.log_filter",
    ];
    assert_eq!(fields, expected);
    let reasons: Vec<&str> = violations.iter().map(|violation| &*violation.reason).collect();
    assert!(reasons[..2].iter().all(|reason| *reason == "UPDATE_MASK_INVALID"), "{reasons:?}");
    assert!(reasons[2..].iter().all(|reason| *reason == "CONFIG_INVALID"), "{reasons:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.metadata["path"].as_str()),
        ("UPDATE_MASK_INVALID", "listen")
    );
}

#[test]
fn what_is_kept_is_restored_over_what_is_configured() {
    let text = parse(some(), &[]).unwrap().kept_after(None).unwrap();
    let expected = parse(some(), &[]).unwrap().applied_to(base(), &base());
    assert_eq!(restore_settings(base().settings, &text).unwrap(), expected.settings);
    assert_eq!(restore_observation(base().observation, &text).unwrap(), expected.observation);
}

#[test]
fn every_field_survives_being_kept() {
    let mut changed = base();
    changed.settings.default_rules = Rules {
        keys_max: Some(1),
        bytes_max: Some(2),
        value_bytes_max: 3,
        ttl_default: Some(Ttl::from_millis(4).unwrap()),
        ttl_max: Some(Ttl::from_millis(5005).unwrap()),
        eviction: Eviction::None,
        durability: Durability::Memory,
        operations_per_second_max: NonZeroU64::new(6),
        watch_history_events: 0,
    };
    changed.settings.auto_create_namespaces = false;
    changed.settings.total_bytes_max = 7;
    changed.settings.read_only = true;
    changed.settings.compaction_interval = Duration::from_secs(8);
    changed.settings.wal_records_max = 9;
    changed.settings.cleanup_interval = Duration::from_secs(10);
    changed.settings.flush_interval = Duration::from_millis(11);
    changed.observation.slow_operation_threshold = Duration::from_millis(12);
    changed.observation.log_filter = "warn".into();

    let change = parse(message(&changed), &[]).unwrap();
    assert_eq!(change.applied_to(base(), &base()), changed);
    let text = change.kept_after(None).unwrap();
    assert_eq!(restore_settings(base().settings, &text).unwrap(), changed.settings);
    assert_eq!(restore_observation(base().observation, &text).unwrap(), changed.observation);

    let back = parse(message(&base()), &[]).unwrap();
    assert_eq!(back.applied_to(changed, &base()), base(), "no limit is a value like any other");
}

#[test]
fn a_later_change_adds_to_what_is_kept_and_a_reset_takes_away() {
    let first = parse(some(), &[]).unwrap().kept_after(None).unwrap();
    let config = wire::ServerConfig { max_wal_entries: Some(3), ..wire::ServerConfig::default() };
    let mask = ["max_wal_entries", "read_only", "default_policy.max_keys"];
    let second = parse(config, &mask).unwrap().kept_after(Some(&first)).unwrap();
    let settings = restore_settings(base().settings, &second).unwrap();
    let mut expected = base().settings;
    expected.default_rules.durability = Durability::Async;
    expected.flush_interval = Duration::from_secs(2);
    expected.wal_records_max = 3;
    assert_eq!(settings, expected);
}

#[test]
fn the_kept_text_can_be_read_by_people_and_holds_only_what_was_changed() {
    let text = parse(some(), &[]).unwrap().kept_after(None).unwrap();
    let expected = concat!(
        r#"{"default_policy":{"max_keys":{"maximum":5},"durability":"DURABILITY_ASYNC"},"#,
        r#""read_only":true,"flush_interval_ms":2000,"log_filter":"debug"}"#,
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn a_kept_text_that_makes_no_sense_is_an_error_not_a_default() {
    for bad in [
        "",
        "[]",
        "{",
        r#"{"of_a_newer_server":1}"#,
        r#"{"flush_interval_ms":0}"#,
        r#"{"default_policy":{"max_keys":{"maximum":0}}}"#,
        r#"{"default_policy":{"durability":"DURABILITY_MAGIC"}}"#,
    ] {
        assert!(restore_settings(base().settings, bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(restore_settings(base().settings, b"{}").unwrap(), base().settings);
}

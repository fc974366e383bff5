//! Every rule about requests: what is sent, and all that is said about it.
//!
//! # How it works
//! [`refused`] compares the whole list of violations of a request, in order, with what is expected.
//!
//! # Why
//! A check that looks for one violation passes while others are forgotten, or invented.
//!
//! # Invariants
//! Requests are built here as a client would send them; nothing is reached but the parsers.
//!
//! # Not here
//! What a namespace's policy refuses: it is known to the store only.

mod batches;
mod entries;
mod namespaces;
mod streams;
mod watches;

use tonic_types::StatusExt;

use super::*;

/// Asserts that `result` is INVALID_ARGUMENT with exactly these violations: field and reason.
pub(super) fn refused<T: std::fmt::Debug>(
    result: Result<T, Status>,
    expected: &[(&str, &str)],
) -> Status {
    let status = result.expect_err("it should be refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
    let said: Vec<(&str, &str)> =
        violations.iter().map(|v| (v.field.as_str(), v.reason.as_str())).collect();
    assert_eq!(said, expected);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("pykv", expected[0].1));
    status
}

/// The metadata of a status under `key`.
fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}

fn default() -> NamespaceName {
    NamespaceName::default()
}

#[test]
fn a_place_is_written_as_a_path() {
    let check = |at: At<'_>, expected: &str| assert_eq!(at.to_string(), expected);
    let item = At::Item(&At::Top, "operations", 3);
    check(At::Top, "");
    check(item, "operations[3]");
    check(item.field("set").field("key"), "operations[3].set.key");
    check(At::Item(&At::Field(&At::Top, "update_mask"), "paths", 0), "update_mask.paths[0]");
}

#[test]
fn more_violations_than_headers_carry_are_counted() {
    let mut problems = Problems::default();
    for index in 0..1000 {
        let at = At::Item(&At::Top, "keys", index);
        problems.add::<()>(at, ErrorReason::KeyInvalid, "must not be empty");
    }
    let status = problems.refuse(Some(())).unwrap_err();
    assert!(status.details().len() < 8192, "{} bytes", status.details().len());
    let listed = status.get_details_bad_request().unwrap().field_violations.len();
    let omitted: usize = metadata(&status, "violations_omitted").unwrap().parse().unwrap();
    assert!(listed > 50, "{listed}");
    assert_eq!(listed + omitted, 1000);
    assert_eq!(status.message(), "keys[0]: must not be empty (and 999 more)");
}

#[test]
fn a_window_is_brought_into_its_bounds() {
    use prost_types::Duration as Wire;
    use std::time::Duration;
    let check = |seconds, nanos, expected: u64| {
        let asked = Some(Wire { seconds, nanos });
        assert_eq!(window(asked), Duration::from_secs(expected), "{seconds} s {nanos} ns");
    };
    assert_eq!(window(None), Duration::from_secs(60));
    check(5, 0, 5);
    check(5, 1, 6);
    check(0, 0, 1);
    check(-5, 0, 1);
    check(0, 5, 1);
    check(3600, 1, 3600);
    check(i64::MAX, 999_999_999, 3600);
}

//! Requests that begin a stream, or come in one.

use super::entries::set_of;
use super::*;
use crate::model::KEY_BYTES_MAX;
use crate::store::{Operation, Step, View};
use crate::wire::v1 as wire;
use crate::wire::v1::pipeline_request::Request;

fn checked(request: Option<Request>, last: Option<&NamespaceName>) -> Result<Step, Status> {
    pipeline_request(wire::PipelineRequest { id: 7, request }, &default(), last)
}

fn get_of(namespace: &str) -> Option<Request> {
    let (namespace, key) = (namespace.to_owned(), "k".to_owned());
    Some(Request::Get(wire::GetRequest { namespace, key, view: 0 }))
}

#[test]
fn a_request_of_a_pipeline_with_nothing_set_is_refused() {
    refused(checked(None, None), &[("request", "OPERATION_MISSING")]);
}

#[test]
fn a_request_of_a_pipeline_is_checked_as_the_unary_request() {
    let set = wire::SetRequest { namespace: "a b".into(), ..set_of("") };
    let expected = [("namespace", "NAMESPACE_INVALID"), ("key", "KEY_INVALID")];
    refused(checked(Some(Request::Set(set)), None), &expected);
    let keys = ["k", ""].into_iter().collect();
    let batch = wire::BatchGetRequest { keys, ..wire::BatchGetRequest::default() };
    refused(checked(Some(Request::BatchGet(batch)), None), &[("keys[1]", "KEY_INVALID")]);
    let empty = wire::BatchWriteRequest::default();
    refused(checked(Some(Request::BatchWrite(empty)), None), &[("operations", "BATCH_TOO_LARGE")]);
    for request in [
        Request::Delete(wire::DeleteRequest::default()),
        Request::Touch(wire::TouchRequest::default()),
        Request::Increment(wire::IncrementRequest::default()),
        Request::Get(wire::GetRequest::default()),
    ] {
        refused(checked(Some(request), None), &[("key", "KEY_INVALID")]);
    }
}

#[test]
fn a_request_goes_where_it_says_whatever_came_before_it() {
    let acme = NamespaceName::parse("acme").unwrap();
    for last in [None, Some(&acme), Some(&default())] {
        for (named, expected) in [("", "default"), ("default", "default"), ("acme", "acme")] {
            let step = checked(get_of(named), last).unwrap();
            assert_eq!(step.namespace.as_str(), expected, "{named:?} after {last:?}");
        }
        let inside = |batch: &str, step: &str| {
            let set = wire::SetRequest { namespace: step.into(), ..set_of("k") };
            let operation = Some(wire::write_operation::Operation::Set(set));
            let operations = vec![wire::WriteOperation { operation }];
            let namespace = batch.into();
            let batch = wire::BatchWriteRequest { namespace, operations, atomic: false };
            checked(Some(Request::BatchWrite(batch)), last)
        };
        for (batch, step) in [("acme", "acme"), ("acme", ""), ("", "default"), ("default", "")] {
            assert!(inside(batch, step).is_ok(), "{batch:?} {step:?} after {last:?}");
        }
        for (batch, step) in [("acme", "default"), ("", "acme"), ("default", "acme")] {
            let expected = [("operations[0].set.namespace", "NAMESPACE_MISMATCH")];
            refused(inside(batch, step), &expected);
        }
    }
}

#[test]
fn a_namespace_named_again_is_not_made_again() {
    let acme = NamespaceName::parse("acme").unwrap();
    let step = checked(get_of("acme"), Some(&acme)).unwrap();
    assert!(std::ptr::eq(step.namespace.as_str(), acme.as_str()));
    assert!(matches!(step.operation, Operation::Get { view: View::Full, .. }));
}

#[test]
fn everything_wrong_with_a_scan_is_told_at_once() {
    let request = wire::ScanEntriesRequest {
        namespace: "a b".into(),
        prefix: "p".repeat(KEY_BYTES_MAX + 1),
        start_after: "p".repeat(KEY_BYTES_MAX + 1),
        limit: Some(0),
        ..wire::ScanEntriesRequest::default()
    };
    refused(
        scan_entries(request, &default()),
        &[
            ("namespace", "NAMESPACE_INVALID"),
            ("prefix", "KEY_INVALID"),
            ("start_after", "KEY_INVALID"),
            ("limit", "PAGE_SIZE_INVALID"),
        ],
    );
}

#[test]
fn a_scan_is_of_everything_unless_told() {
    let of = |limit| {
        let request = wire::ScanEntriesRequest { limit, ..wire::ScanEntriesRequest::default() };
        scan_entries(request, &default())
    };
    let scanning = of(None).unwrap();
    assert_eq!((scanning.entries_max, scanning.view), (u64::MAX, View::Full));
    assert_eq!((scanning.start_after, scanning.prefix.as_str()), (None, ""));
    assert_eq!(of(Some(1)).unwrap().entries_max, 1);
    assert_eq!(of(Some(i64::MAX)).unwrap().entries_max, i64::MAX.unsigned_abs());
    for bad in [0, -1, i64::MIN] {
        refused(of(Some(bad)), &[("limit", "PAGE_SIZE_INVALID")]);
    }
    let start_after = "p".repeat(KEY_BYTES_MAX);
    let longest = wire::ScanEntriesRequest { start_after, ..wire::ScanEntriesRequest::default() };
    assert!(scan_entries(longest, &default()).is_ok());
}

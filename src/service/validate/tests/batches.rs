//! Requests about many entries: batches and lists.

use super::entries::{only, set_of, when};
use super::*;
use crate::model::KEY_BYTES_MAX;
use crate::service::pages::{self, PageOf};
use crate::store::View;
use crate::wire::v1 as wire;
use crate::wire::v1::condition::Test;
use crate::wire::v1::expiration::Policy;
use crate::wire::v1::write_operation::Operation;

#[test]
fn a_batch_read_keeps_the_order_and_names_each_bad_key() {
    let of = |keys: &[&str]| wire::BatchGetRequest {
        keys: keys.iter().collect(),
        ..wire::BatchGetRequest::default()
    };
    let (_, keys, view) = batch_get(of(&["b", "a", "b"]), &default()).unwrap();
    let keys: Vec<&str> = keys.iter().collect();
    assert_eq!((keys, view), (vec!["b", "a", "b"], View::Full));
    let expected = [("keys[1]", "KEY_INVALID"), ("keys[3]", "KEY_INVALID")];
    refused(batch_get(of(&["b", "", "c", ""]), &default()), &expected);
}

#[test]
fn a_batch_has_one_to_a_thousand_items() {
    let read = |count| {
        let keys = std::iter::repeat_n("k", count).collect();
        batch_get(wire::BatchGetRequest { keys, ..wire::BatchGetRequest::default() }, &default())
    };
    let write = |count| {
        let step = wire::WriteOperation { operation: Some(Operation::Set(set_of("k"))) };
        let operations = vec![step; count];
        let request = wire::BatchWriteRequest { operations, ..wire::BatchWriteRequest::default() };
        batch_write(request, &default())
    };
    for good in [1, 1000] {
        assert_eq!(read(good).unwrap().1.len(), good);
        assert_eq!(write(good).unwrap().1.commands.len(), good);
    }
    for bad in [0, 1001] {
        refused(read(bad), &[("keys", "BATCH_TOO_LARGE")]);
        let status = refused(write(bad), &[("operations", "BATCH_TOO_LARGE")]);
        assert_eq!(metadata(&status, "limit").as_deref(), Some("1000"));
    }
}

#[test]
fn a_batch_has_at_most_four_mebibytes() {
    let write = |last: usize| {
        let step = |bytes: usize| wire::WriteOperation {
            operation: Some(Operation::Set(wire::SetRequest {
                value: vec![0; bytes].into(),
                ..set_of("k")
            })),
        };
        let operations = vec![step(2 << 20), step(last)];
        let request = wire::BatchWriteRequest { operations, ..wire::BatchWriteRequest::default() };
        batch_write(request, &default())
    };
    assert!(write((2 << 20) - 2).is_ok(), "two keys of one byte and two values");
    let status = refused(write((2 << 20) - 1), &[("operations", "BATCH_TOO_LARGE")]);
    assert_eq!(metadata(&status, "limit").as_deref(), Some("4194304"));
}

#[test]
fn everything_wrong_with_a_batch_is_told_at_once() {
    let step = |operation| wire::WriteOperation { operation };
    let in_namespace =
        |namespace: &str| wire::SetRequest { namespace: namespace.into(), ..set_of("k") };
    let operations = vec![
        step(Some(Operation::Set(in_namespace("acme")))),
        step(None),
        step(Some(Operation::Set(in_namespace("other")))),
        step(Some(Operation::Delete(wire::DeleteRequest {
            condition: only(Test::IfAbsent(true)),
            ..wire::DeleteRequest::default()
        }))),
        step(Some(Operation::Touch(wire::TouchRequest {
            namespace: "default".into(),
            key: "k".into(),
            expiration: when(Policy::Never(false)),
            ..wire::TouchRequest::default()
        }))),
        step(Some(Operation::Increment(wire::IncrementRequest::default()))),
        step(Some(Operation::Check(wire::CheckOperation::default()))),
    ];
    let request = wire::BatchWriteRequest { namespace: "acme".into(), operations, atomic: true };
    refused(
        batch_write(request, &default()),
        &[
            ("operations[1]", "OPERATION_MISSING"),
            ("operations[2].set.namespace", "NAMESPACE_MISMATCH"),
            ("operations[3].delete.key", "KEY_INVALID"),
            ("operations[3].delete.condition.if_absent", "CONDITION_INVALID"),
            ("operations[4].touch.namespace", "NAMESPACE_MISMATCH"),
            ("operations[4].touch.expiration.never", "EXPIRATION_INVALID"),
            ("operations[5].increment.key", "KEY_INVALID"),
            ("operations[6].check.key", "KEY_INVALID"),
            ("operations[6].check.condition", "CONDITION_INVALID"),
        ],
    );
}

#[test]
fn a_step_may_name_the_batchs_namespace_in_any_spelling_of_it() {
    let write = |batch: &str, step: &str| {
        let set = wire::SetRequest { namespace: step.into(), ..set_of("k") };
        let operations = vec![wire::WriteOperation { operation: Some(Operation::Set(set)) }];
        let namespace = batch.into();
        batch_write(wire::BatchWriteRequest { namespace, operations, atomic: false }, &default())
    };
    for (batch, step) in [("", ""), ("", "default"), ("default", ""), ("acme", "acme")] {
        assert!(write(batch, step).is_ok(), "{batch:?} {step:?}");
    }
    refused(write("", "acme"), &[("operations[0].set.namespace", "NAMESPACE_MISMATCH")]);
}

#[test]
fn everything_wrong_with_a_list_is_told_at_once() {
    let request = wire::ListEntriesRequest {
        namespace: "a b".into(),
        prefix: "p".repeat(KEY_BYTES_MAX + 1),
        page_size: Some(0),
        page_token: "zz".into(),
        ..wire::ListEntriesRequest::default()
    };
    refused(
        list_entries(request, &default()),
        &[
            ("namespace", "NAMESPACE_INVALID"),
            ("prefix", "KEY_INVALID"),
            ("page_size", "PAGE_SIZE_INVALID"),
            ("page_token", "PAGE_TOKEN_INVALID"),
        ],
    );
}

#[test]
fn a_page_has_a_hundred_entries_unless_told_and_a_thousand_at_most() {
    let size = |page_size| {
        let request = wire::ListEntriesRequest { page_size, ..wire::ListEntriesRequest::default() };
        list_entries(request, &default()).map(|listing| listing.entries_max)
    };
    assert_eq!(size(None).unwrap(), 100);
    for (asked, given) in [(1, 1), (1000, 1000), (1001, 1000), (i32::MAX, 1000)] {
        assert_eq!(size(Some(asked)).unwrap(), given);
    }
    for bad in [0, -1, i32::MIN] {
        refused(size(Some(bad)), &[("page_size", "PAGE_SIZE_INVALID")]);
    }
}

#[test]
fn a_page_token_is_good_for_its_own_list_only() {
    let list = PageOf::Entries { namespace: "default", prefix: "p", view: View::Metadata };
    let page_token = pages::token(list, "p7");
    let request = |namespace: &str, prefix: &str| wire::ListEntriesRequest {
        namespace: namespace.into(),
        prefix: prefix.into(),
        page_token: page_token.clone(),
        ..wire::ListEntriesRequest::default()
    };
    for namespace in ["", "default"] {
        let listing = list_entries(request(namespace, "p"), &default()).unwrap();
        assert_eq!(listing.start_after.as_deref(), Some("p7"));
    }
    let expected = [("page_token", "PAGE_TOKEN_INVALID")];
    refused(list_entries(request("acme", "p"), &default()), &expected);
    refused(list_entries(request("", "q"), &default()), &expected);
}

#[test]
fn a_whole_namespace_is_not_deleted_by_an_empty_prefix() {
    let of = |prefix: &str| {
        let prefix = prefix.into();
        let request = wire::DeletePrefixRequest { prefix, ..wire::DeletePrefixRequest::default() };
        delete_prefix(request, &default())
    };
    assert_eq!(of("p").unwrap().1, "p");
    refused(of(""), &[("prefix", "PREFIX_EMPTY")]);
    refused(of(&"p".repeat(KEY_BYTES_MAX + 1)), &[("prefix", "KEY_INVALID")]);
}

//! Requests about one entry.

use bytes::Bytes;
use prost_types::{Duration, Timestamp};

use super::*;
use crate::model::{KEY_BYTES_MAX, Key, Ttl, UnixMillis, VALUE_BYTES_HARD_MAX, Version};
use crate::store::{Command, Condition, Expiration, View};
use crate::wire::v1 as wire;
use crate::wire::v1::condition::Test;
use crate::wire::v1::expiration::Policy;

pub(super) fn set_of(key: &str) -> wire::SetRequest {
    wire::SetRequest { key: key.into(), ..wire::SetRequest::default() }
}

pub(super) fn when(policy: Policy) -> Option<wire::Expiration> {
    Some(wire::Expiration { policy: Some(policy) })
}

pub(super) fn only(test: Test) -> Option<wire::Condition> {
    Some(wire::Condition { test: Some(test) })
}

#[test]
fn a_good_set_becomes_a_command_with_the_same_bytes() {
    let value = Bytes::from_static(b"\0\xff");
    let request = wire::SetRequest {
        namespace: "acme".into(),
        key: "k".into(),
        value: value.clone(),
        expiration: when(Policy::Ttl(Duration { seconds: 1, nanos: 1 })),
        condition: only(Test::IfVersion(7)),
        return_previous: true,
    };
    let (namespace, command) = set(request, &default()).unwrap();
    assert_eq!(namespace.as_str(), "acme");
    let expected = Command::Set {
        key: Key::parse("k".into()).unwrap(),
        value: value.clone(),
        expiration: Expiration::After(Ttl::from_millis(1001).unwrap()),
        condition: Some(Condition::Version(Version(7))),
        return_previous: true,
    };
    assert_eq!(command, expected);
    let Command::Set { value: handed, .. } = command else { unreachable!() };
    assert_eq!(handed.as_ptr(), value.as_ptr());
}

#[test]
fn everything_wrong_with_a_set_is_told_at_once() {
    let request = wire::SetRequest {
        namespace: "-".into(),
        key: String::new(),
        value: vec![0; VALUE_BYTES_HARD_MAX + 1].into(),
        expiration: Some(wire::Expiration { policy: None }),
        condition: Some(wire::Condition { test: None }),
        return_previous: false,
    };
    refused(
        set(request, &default()),
        &[
            ("namespace", "NAMESPACE_INVALID"),
            ("key", "KEY_INVALID"),
            ("value", "VALUE_TOO_LARGE"),
            ("expiration", "EXPIRATION_INVALID"),
            ("condition", "CONDITION_INVALID"),
        ],
    );
}

#[test]
fn a_namespace_left_empty_is_the_default_one() {
    for namespace in ["", "default"] {
        let request = wire::GetRequest {
            namespace: namespace.into(),
            key: "k".into(),
            ..wire::GetRequest::default()
        };
        assert!(get(request, &default()).unwrap().0.is_default());
    }
}

#[test]
fn a_bad_key_is_refused_by_every_method_and_not_echoed() {
    let secret = "s3cret".repeat(KEY_BYTES_MAX / 6 + 1);
    for key in [String::new(), secret] {
        let expected = [("key", "KEY_INVALID")];
        let of_get = wire::GetRequest { key: key.clone(), ..wire::GetRequest::default() };
        let of_delete = wire::DeleteRequest { key: key.clone(), ..wire::DeleteRequest::default() };
        let of_touch = wire::TouchRequest { key: key.clone(), ..wire::TouchRequest::default() };
        let of_increment =
            wire::IncrementRequest { key: key.clone(), ..wire::IncrementRequest::default() };
        let status = refused(get(of_get, &default()), &expected);
        assert!(!format!("{status:?}").contains("s3cret"));
        refused(set(set_of(&key), &default()), &expected);
        refused(delete(of_delete, &default()), &expected);
        refused(touch(of_touch, &default()), &expected);
        refused(increment(of_increment, &default()), &expected);
    }
}

#[test]
fn a_value_may_be_as_large_as_the_hard_limit_and_not_larger() {
    let of = |bytes: usize| wire::SetRequest { value: vec![0; bytes].into(), ..set_of("k") };
    assert!(set(of(VALUE_BYTES_HARD_MAX), &default()).is_ok());
    let status =
        refused(set(of(VALUE_BYTES_HARD_MAX + 1), &default()), &[("value", "VALUE_TOO_LARGE")]);
    assert_eq!(metadata(&status, "limit_bytes").as_deref(), Some("3145728"));
    assert_eq!(metadata(&status, "size_bytes").as_deref(), Some("3145729"));
}

#[test]
fn each_expiration_means_what_the_schema_says() {
    let check = |policy, expected| {
        let request = wire::SetRequest { expiration: when(policy), ..set_of("k") };
        let Command::Set { expiration, .. } = set(request, &default()).unwrap().1 else {
            panic!("another outcome")
        };
        assert_eq!(expiration, expected, "{policy:?}")
    };
    let ttl = |seconds, nanos| Policy::Ttl(Duration { seconds, nanos });
    let at = |seconds, nanos| Policy::ExpireTime(Timestamp { seconds, nanos });
    let after = |millis| Expiration::After(Ttl::from_millis(millis).unwrap());
    let moment = |millis| Expiration::At(UnixMillis::from_millis(millis));
    check(ttl(60, 0), after(60_000));
    check(ttl(0, 1), after(1));
    check(ttl(0, 1_000_000), after(1));
    check(ttl(0, 1_000_001), after(2));
    check(at(1_700_000_000, 1), moment(1_700_000_000_001));
    check(at(0, 0), moment(0));
    check(at(-5, 999_999_999), moment(0));
    check(at(i64::MIN, 0), moment(0));
    check(at(253_402_300_799, 999_000_000), Expiration::At(UnixMillis::MAX));
    check(Policy::Never(true), Expiration::Never);
    check(Policy::Keep(true), Expiration::Keep);
    let absent = set(set_of("k"), &default()).unwrap().1;
    assert!(matches!(absent, Command::Set { expiration: Expiration::Default, .. }));
}

#[test]
fn an_expiration_that_is_none_is_refused_where_it_stands() {
    let check = |policy, field| {
        let request = wire::SetRequest { expiration: when(policy), ..set_of("k") };
        refused(set(request, &default()), &[(field, "EXPIRATION_INVALID")]);
    };
    let ttl = |seconds, nanos| Policy::Ttl(Duration { seconds, nanos });
    let at = |seconds, nanos| Policy::ExpireTime(Timestamp { seconds, nanos });
    for bad in [ttl(0, 0), ttl(-1, 0), ttl(0, -1), ttl(1, -1), ttl(1, 1_000_000_000)] {
        check(bad, "expiration.ttl");
    }
    check(ttl(i64::MAX, 0), "expiration.ttl");
    check(ttl(253_402_300_800, 0), "expiration.ttl");
    check(at(0, -1), "expiration.expire_time");
    check(at(0, 1_000_000_000), "expiration.expire_time");
    check(at(253_402_300_800, 0), "expiration.expire_time");
    check(at(253_402_300_799, 999_000_001), "expiration.expire_time");
    check(Policy::Never(false), "expiration.never");
    check(Policy::Keep(false), "expiration.keep");
}

#[test]
fn each_condition_means_what_the_schema_says() {
    let check = |test, expected| {
        let request = wire::SetRequest { condition: only(test), ..set_of("k") };
        let Command::Set { condition, .. } = set(request, &default()).unwrap().1 else {
            panic!("another outcome")
        };
        assert_eq!(condition, Some(expected))
    };
    check(Test::IfAbsent(true), Condition::Absent);
    check(Test::IfPresent(true), Condition::Present);
    check(Test::IfVersion(1), Condition::Version(Version(1)));
    check(Test::IfVersion((1 << 56) - 1), Condition::Version(Version::MAX));
}

#[test]
fn a_condition_that_is_none_is_refused_where_it_stands() {
    let check = |test, field| {
        let request = wire::SetRequest { condition: only(test), ..set_of("k") };
        refused(set(request, &default()), &[(field, "CONDITION_INVALID")]);
    };
    check(Test::IfAbsent(false), "condition.if_absent");
    check(Test::IfPresent(false), "condition.if_present");
    for version in [0, -1, i64::MIN, 1 << 56, i64::MAX] {
        check(Test::IfVersion(version), "condition.if_version");
    }
}

#[test]
fn delete_and_touch_refuse_if_absent() {
    for value in [true, false] {
        let condition = only(Test::IfAbsent(value));
        let of_delete =
            wire::DeleteRequest { key: "k".into(), condition, ..wire::DeleteRequest::default() };
        let of_touch =
            wire::TouchRequest { key: "k".into(), condition, ..wire::TouchRequest::default() };
        let expected = [("condition.if_absent", "CONDITION_INVALID")];
        refused(delete(of_delete, &default()), &expected);
        refused(touch(of_touch, &default()), &expected);
    }
}

#[test]
fn a_view_left_open_is_the_methods_own() {
    let of_get = |view| {
        get(wire::GetRequest { key: "k".into(), view, ..wire::GetRequest::default() }, &default())
    };
    let of_list = |view| {
        let request = wire::ListEntriesRequest { view, ..wire::ListEntriesRequest::default() };
        list_entries(request, &default()).unwrap().view
    };
    let of_touch = |view| {
        let request = wire::TouchRequest { key: "k".into(), view, ..wire::TouchRequest::default() };
        let Command::Touch { view, .. } = touch(request, &default()).unwrap().1 else {
            panic!("another outcome")
        };
        view
    };
    for open in [0, 99, -1] {
        assert_eq!(of_get(open).unwrap().2, View::Full);
        assert_eq!(of_list(open), View::Metadata);
        assert_eq!(of_touch(open), View::Metadata);
    }
    for (chosen, view) in [(1, View::Key), (2, View::Metadata), (3, View::Full), (4, View::Value)] {
        assert_eq!(of_get(chosen).unwrap().2, view);
        assert_eq!(of_list(chosen), view);
        assert_eq!(of_touch(chosen), view);
    }
}

#[test]
fn an_increment_left_bare_adds_one_to_zero() {
    let bare = wire::IncrementRequest { key: "k".into(), ..wire::IncrementRequest::default() };
    let zero = wire::IncrementRequest { delta: Some(0), ..bare.clone() };
    let delta = |request| {
        let Command::Increment { delta, initial, .. } = increment(request, &default()).unwrap().1
        else {
            panic!("another outcome")
        };
        (delta, initial)
    };
    assert_eq!(delta(bare), (1, 0));
    assert_eq!(delta(zero), (0, 0));
}

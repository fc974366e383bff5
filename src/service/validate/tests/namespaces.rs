//! Requests of the namespace service.

use std::collections::HashMap;
use std::num::NonZeroU64;

use prost_types::{Duration, FieldMask};

use super::*;
use crate::model::{Bound, Durability, Eviction, Lifetime, Policy, Ttl};
use crate::service::pages::{self, PageOf};
use crate::store::NamespaceSpec;
use crate::wire::v1 as wire;

fn limit(bound: wire::limit::Bound) -> Option<wire::Limit> {
    Some(wire::Limit { bound: Some(bound) })
}

fn lifetime(length: wire::lifetime::Length) -> Option<wire::Lifetime> {
    Some(wire::Lifetime { length: Some(length) })
}

fn named_acme() -> wire::Namespace {
    wire::Namespace { name: "acme".into(), ..wire::Namespace::default() }
}

fn create(namespace: wire::Namespace) -> Result<(NamespaceName, NamespaceSpec), Status> {
    create_namespace(wire::CreateNamespaceRequest { namespace: Some(namespace) })
}

fn update(namespace: wire::Namespace, paths: &[&str]) -> Result<NamespaceSpec, Status> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = wire::UpdateNamespaceRequest {
        namespace: Some(namespace),
        update_mask: Some(FieldMask { paths }),
        allow_missing: false,
    };
    let mut spec = before();
    update_namespace(request)?.apply(&mut spec);
    Ok(spec)
}

/// A namespace in which every field that the tests change has a value.
fn before() -> NamespaceSpec {
    NamespaceSpec {
        description: "before".into(),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        policy: Policy {
            keys_max: Some(Bound::Unlimited),
            eviction: Some(Eviction::None),
            ..Policy::default()
        },
    }
}

#[test]
fn a_policy_says_in_the_model_what_it_said_on_the_wire() {
    let policy = wire::NamespacePolicy {
        max_keys: limit(wire::limit::Bound::Maximum(5)),
        max_bytes: limit(wire::limit::Bound::Unlimited(true)),
        max_value_bytes: Some(3 << 20),
        default_ttl: lifetime(wire::lifetime::Length::Ttl(Duration { seconds: 1, nanos: 0 })),
        max_ttl: lifetime(wire::lifetime::Length::Unlimited(true)),
        eviction_policy: wire::EvictionPolicy::None as i32,
        durability: wire::Durability::Memory as i32,
        max_operations_per_second: limit(wire::limit::Bound::Maximum(1)),
        watch_history_events: Some(0),
    };
    let (name, spec) = create(wire::Namespace { policy: Some(policy), ..named_acme() }).unwrap();
    assert_eq!(name.as_str(), "acme");
    let expected = Policy {
        keys_max: NonZeroU64::new(5).map(Bound::AtMost),
        bytes_max: Some(Bound::Unlimited),
        value_bytes_max: Some(3 << 20),
        ttl_default: Some(Lifetime::Ttl(Ttl::from_millis(1000).unwrap())),
        ttl_max: Some(Lifetime::Unlimited),
        eviction: Some(Eviction::None),
        durability: Some(Durability::Memory),
        operations_per_second_max: Some(Bound::AtMost(NonZeroU64::MIN)),
        watch_history_events: Some(0),
    };
    assert_eq!(spec.policy, expected);
    assert_eq!(create(named_acme()).unwrap().1, NamespaceSpec::default(), "absent: as the server");
}

#[test]
fn everything_wrong_with_a_namespace_is_told_at_once() {
    let policy = wire::NamespacePolicy {
        max_keys: limit(wire::limit::Bound::Maximum(0)),
        max_bytes: limit(wire::limit::Bound::Unlimited(false)),
        max_value_bytes: Some((3 << 20) + 1),
        default_ttl: lifetime(wire::lifetime::Length::Ttl(Duration { seconds: 0, nanos: 0 })),
        max_ttl: lifetime(wire::lifetime::Length::Unlimited(false)),
        eviction_policy: 99,
        durability: -1,
        max_operations_per_second: Some(wire::Limit { bound: None }),
        watch_history_events: Some(1_000_001),
    };
    let long = "x".repeat(64);
    let labels = HashMap::from([(long.clone(), String::new()), (String::new(), long)]);
    let namespace = wire::Namespace {
        name: String::new(),
        description: "d".repeat(1025),
        labels,
        policy: Some(policy),
        ..wire::Namespace::default()
    };
    refused(
        create(namespace),
        &[
            ("namespace.name", "NAMESPACE_INVALID"),
            ("namespace.description", "DESCRIPTION_INVALID"),
            ("namespace.labels", "LABELS_INVALID"),
            ("namespace.labels", "LABELS_INVALID"),
            ("namespace.policy.max_keys.maximum", "POLICY_INVALID"),
            ("namespace.policy.max_bytes.unlimited", "POLICY_INVALID"),
            ("namespace.policy.max_value_bytes", "POLICY_INVALID"),
            ("namespace.policy.default_ttl.ttl", "POLICY_INVALID"),
            ("namespace.policy.max_ttl.unlimited", "POLICY_INVALID"),
            ("namespace.policy.eviction_policy", "POLICY_INVALID"),
            ("namespace.policy.durability", "POLICY_INVALID"),
            ("namespace.policy.max_operations_per_second", "POLICY_INVALID"),
            ("namespace.policy.watch_history_events", "POLICY_INVALID"),
        ],
    );
}

#[test]
fn a_policy_that_is_refused_names_its_field() {
    let policy =
        wire::NamespacePolicy { max_value_bytes: Some(0), ..wire::NamespacePolicy::default() };
    let namespace = wire::Namespace { policy: Some(policy), ..named_acme() };
    let expected = [("namespace.policy.max_value_bytes", "POLICY_INVALID")];
    let status = refused(create(namespace), &expected);
    let field = metadata(&status, "field");
    assert_eq!(field.as_deref(), Some("namespace.policy.max_value_bytes"));
}

#[test]
fn descriptions_and_labels_may_be_as_long_as_the_schema_says() {
    let labels = |count: usize| -> HashMap<String, String> {
        (0..count).map(|i| (format!("{i:063}"), "v".repeat(63))).collect()
    };
    let of = |description: usize, count: usize| wire::Namespace {
        description: "d".repeat(description),
        labels: labels(count),
        ..named_acme()
    };
    assert!(create(of(1024, 32)).is_ok());
    let empty_value = HashMap::from([("k".to_owned(), String::new())]);
    assert!(create(wire::Namespace { labels: empty_value, ..named_acme() }).is_ok());
    refused(create(of(0, 33)), &[("namespace.labels", "LABELS_INVALID")]);
}

#[test]
fn a_namespace_that_is_missing_has_no_name() {
    let expected = [("namespace.name", "NAMESPACE_INVALID")];
    refused(create_namespace(wire::CreateNamespaceRequest::default()), &expected);
    let error = update_namespace(wire::UpdateNamespaceRequest::default());
    refused(error.map(|change| change.name), &expected);
}

#[test]
fn without_a_mask_an_update_changes_what_is_set() {
    let policy = wire::NamespacePolicy {
        max_keys: limit(wire::limit::Bound::Maximum(5)),
        ..wire::NamespacePolicy::default()
    };
    let namespace = wire::Namespace { policy: Some(policy), ..named_acme() };
    let mut expected = before();
    expected.policy.keys_max = NonZeroU64::new(5).map(Bound::AtMost);
    assert_eq!(update(namespace, &[]).unwrap(), expected);

    let described = wire::Namespace { description: "after".into(), ..named_acme() };
    let expected = NamespaceSpec { description: "after".into(), ..before() };
    assert_eq!(update(described, &[]).unwrap(), expected);
}

#[test]
fn with_a_mask_an_update_changes_its_fields_also_back_to_nothing() {
    let check = |paths: &[&str], expected: NamespaceSpec| {
        assert_eq!(update(named_acme(), paths).unwrap(), expected, "{paths:?}");
    };
    check(&["description"], NamespaceSpec { description: String::new(), ..before() });
    check(&["labels"], NamespaceSpec { labels: [].into(), ..before() });
    check(&["policy"], NamespaceSpec { policy: Policy::default(), ..before() });
    let mut expected = before();
    expected.policy.eviction = None;
    check(&["policy.eviction_policy"], expected);
    check(&["policy.max_bytes"], before());
    check(&["*"], NamespaceSpec::default());
}

#[test]
fn a_mask_of_what_cannot_be_changed_is_refused() {
    let paths = ["description", "name", "usage", "policy.size", "labels.team", "etag"];
    let status = refused(
        update(named_acme(), &paths),
        &[
            ("update_mask.paths[1]", "UPDATE_MASK_INVALID"),
            ("update_mask.paths[2]", "UPDATE_MASK_INVALID"),
            ("update_mask.paths[3]", "UPDATE_MASK_INVALID"),
            ("update_mask.paths[4]", "UPDATE_MASK_INVALID"),
            ("update_mask.paths[5]", "UPDATE_MASK_INVALID"),
        ],
    );
    assert_eq!(metadata(&status, "path").as_deref(), Some("name"));
}

#[test]
fn every_field_of_a_policy_can_be_named_in_a_mask() {
    use prost::Message;
    let set = prost_types::FileDescriptorSet::decode(crate::wire::DESCRIPTORS).unwrap();
    let message = |name: &str| {
        let mut messages = set.file.iter().flat_map(|file| &file.message_type);
        messages.find(|message| message.name() == name).unwrap()
    };
    for field in &message("NamespacePolicy").field {
        assert!(update(named_acme(), &[&format!("policy.{}", field.name())]).is_ok(), "{field:?}");
    }
    for field in &message("ServerConfig").field {
        let mask = [field.name().to_owned()];
        let checked = super::config(wire::ServerConfig::default(), &mask, |_| Ok(()));
        assert!(!checked.unwrap().1.is_empty(), "{field:?}");
    }
}

#[test]
fn an_etag_left_empty_is_none() {
    let etag = |text: &str| {
        let namespace = Some(wire::Namespace { etag: text.into(), ..named_acme() });
        let request =
            wire::UpdateNamespaceRequest { namespace, ..wire::UpdateNamespaceRequest::default() };
        update_namespace(request).unwrap().etag
    };
    assert_eq!(etag(""), None);
    assert_eq!(etag("7").as_deref(), Some("7"));
}

#[test]
fn nothing_is_destroyed_under_a_name_that_was_left_out() {
    refused(required_name(""), &[("namespace", "NAMESPACE_INVALID")]);
    assert!(required_name("default").unwrap().is_default());
    assert!(named("", &default()).unwrap().is_default());
    refused(named("a/b", &default()), &[("namespace", "NAMESPACE_INVALID")]);
}

#[test]
fn everything_wrong_with_a_list_of_namespaces_is_told_at_once() {
    let list = |page_size, page_token: String, prefix: &str| {
        let prefix = prefix.into();
        list_namespaces(wire::ListNamespacesRequest { page_size, page_token, prefix })
    };
    let expected = [("page_size", "PAGE_SIZE_INVALID"), ("page_token", "PAGE_TOKEN_INVALID")];
    refused(list(Some(0), "x".into(), ""), &expected);
    let token = pages::token(PageOf::Namespaces { prefix: "a" }, "acme");
    let listing = list(Some(5000), token.clone(), "a").unwrap();
    assert_eq!(listing.namespaces_max, 1000);
    assert_eq!(listing.start_after.as_deref(), Some("acme"));
    refused(list(None, token, "b"), &expected[1..]);
}

#[test]
fn hot_keys_are_ten_unless_told_and_a_hundred_at_most() {
    let ask = |namespace: &str, page_size| {
        let request = wire::ListHotKeysRequest { namespace: namespace.into(), page_size };
        hot_keys(&request, &default())
    };
    for (asked, expected) in [(None, 10), (Some(1), 1), (Some(100), 100), (Some(101), 100)] {
        assert_eq!(ask("n", asked).unwrap().1, expected);
    }
    assert_eq!(ask("", None).unwrap().0, default());
    let expected = [("namespace", "NAMESPACE_INVALID"), ("page_size", "PAGE_SIZE_INVALID")];
    refused(ask("/", Some(0)), &expected);
}

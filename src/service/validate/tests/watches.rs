//! Requests to watch.

use prost_types::Duration as Wire;

use super::*;
use crate::model::{KEY_BYTES_MAX, Version};
use crate::store::{Start, Values};
use crate::wire::v1 as wire;

fn request() -> wire::WatchRequest {
    wire::WatchRequest::default()
}

fn length(seconds: i64) -> Option<Wire> {
    Some(Wire { seconds, nanos: 0 })
}

#[test]
fn a_watch_is_of_everything_from_now_on_unless_it_says_more() {
    let parsed = watch(request(), &default()).unwrap();
    assert!(parsed.order.filter.is_everything());
    assert_eq!((parsed.order.start, parsed.order.values), (Start::Now, Values::Omitted));
    assert_eq!((parsed.namespace, parsed.progress_interval.as_secs()), (default(), 15));
    let full = wire::WatchRequest {
        namespace: "acme".into(),
        keys: vec!["k".into()],
        prefixes: vec!["p".into()],
        start_version: Some(0),
        include_initial: false,
        include_values: true,
        progress_interval: length(600),
    };
    let parsed = watch(full, &default()).unwrap();
    assert_eq!(parsed.namespace.as_str(), "acme");
    assert!(parsed.order.filter.matches("k") && parsed.order.filter.matches("px"));
    assert_eq!(parsed.order.start, Start::After(Version(0)));
    assert_eq!((parsed.order.values, parsed.progress_interval.as_secs()), (Values::Included, 600));
    let entries = wire::WatchRequest { include_initial: true, ..request() };
    assert_eq!(watch(entries, &default()).unwrap().order.start, Start::Entries);
}

#[test]
fn everything_wrong_with_a_watch_is_told_at_once() {
    let mut keys = vec!["k".to_owned(); 1001];
    keys[7] = String::new();
    let mut prefixes = vec!["p".to_owned(); 101];
    prefixes[100] = "p".repeat(KEY_BYTES_MAX + 1);
    let bad = wire::WatchRequest {
        namespace: "-".into(),
        keys,
        prefixes,
        start_version: Some(-1),
        include_initial: true,
        include_values: false,
        progress_interval: length(0),
    };
    let expected = [
        ("namespace", "NAMESPACE_INVALID"),
        ("keys", "BATCH_TOO_LARGE"),
        ("prefixes", "BATCH_TOO_LARGE"),
        ("keys[7]", "KEY_INVALID"),
        ("prefixes[100]", "KEY_INVALID"),
        ("start_version", "WATCH_INVALID"),
        ("start_version", "WATCH_INVALID"),
        ("progress_interval", "WATCH_INVALID"),
    ];
    refused(watch(bad, &default()), &expected);
    for seconds in [-1, 0, 601, i64::MAX] {
        let bad = wire::WatchRequest { progress_interval: length(seconds), ..request() };
        let status = refused(watch(bad, &default()), &[("progress_interval", "WATCH_INVALID")]);
        assert_eq!(metadata(&status, "field").as_deref(), Some("progress_interval"));
    }
}

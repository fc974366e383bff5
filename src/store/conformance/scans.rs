//! The order of keys, prefixes and counts.

use super::{World, delete, many_in, one, one_in, set, space, value};
use crate::store::{Reading, Scan, Store, View};

fn scan(prefix: &str, after: Option<&str>, entries_max: usize) -> Scan {
    Scan {
        prefix: prefix.to_owned(),
        start_after: after.map(str::to_owned),
        entries_max,
        bytes_max: 1 << 20,
        view: View::Key,
        reading: Reading::Use,
    }
}

/// Every key under `prefix`, page by page; `between` happens after each page.
async fn walk<S: Store>(store: &S, prefix: &str, between: impl AsyncFn(usize)) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for page_number in 0.. {
        let after = keys.last().map(String::as_str);
        let page = store.scan(&space("default"), scan(prefix, after, 10)).await.unwrap();
        keys.extend(page.entries.into_iter().map(|(key, _)| key.into_string()));
        if !page.more {
            break;
        }
        between(page_number).await;
    }
    keys
}

pub(crate) async fn a_scan_returns_everything_once_and_in_order(world: &impl World) {
    let store = world.store();
    let mut names: Vec<String> = (0..95).map(|n| format!("k{}", n * 7919 % 1000)).collect();
    many_in(store, "default", names.iter().map(|name| set(name, "x")).collect()).await;
    names.sort();
    assert_eq!(walk(store, "", async |_| ()).await, names);
}

pub(crate) async fn a_scan_takes_a_prefix_literally(world: &impl World) {
    let store = world.store();
    let names = ["a", "a*", "a*b", "a?c", "ab", "b", "[a]", "ä"];
    many_in(store, "default", names.iter().map(|name| set(name, "x")).collect()).await;
    assert_eq!(walk(store, "a*", async |_| ()).await, ["a*", "a*b"]);
    assert_eq!(walk(store, "a", async |_| ()).await, ["a", "a*", "a*b", "a?c", "ab"]);
    assert_eq!(walk(store, "[", async |_| ()).await, ["[a]"]);
    assert_eq!(walk(store, "zz", async |_| ()).await, [""; 0]);
}

pub(crate) async fn a_scan_keeps_what_is_there_all_along(world: &impl World) {
    let store = world.store();
    let stays: Vec<String> = (0..60).map(|n| format!("stay{n:03}")).collect();
    many_in(store, "default", stays.iter().map(|name| set(name, "x")).collect()).await;
    let churn = async |page: usize| {
        one(store, set(&format!("come{page}"), "x")).await;
        one(store, set(&format!("stay{:03}x", page * 5), "x")).await;
        one(store, delete(&format!("come{}", page.saturating_sub(1)))).await;
    };
    let found = walk(store, "", churn).await;
    let kept: Vec<_> = found.iter().filter(|name| stays.contains(name)).cloned().collect();
    assert_eq!(kept, stays, "all of them, once, in order");
}

pub(crate) async fn a_count_is_exact(world: &impl World) {
    let store = world.store();
    let count = async |prefix| store.count(&space("default"), prefix).await.unwrap();
    assert_eq!(count("").await, 0);
    let names = ["a", "ab", "abc", "b"];
    many_in(store, "default", names.iter().map(|name| set(name, "x")).collect()).await;
    assert_eq!((count("").await, count("a").await, count("ab").await), (4, 3, 2));
    one(store, delete("ab")).await;
    assert_eq!((count("").await, count("a").await, count("ab").await), (3, 2, 1));
    assert_eq!(store.count(&space("elsewhere"), "a").await.unwrap(), 0);
}

pub(crate) async fn a_deletion_by_prefix_takes_all_of_it_and_nothing_else(world: &impl World) {
    let store = world.store();
    for (first, last) in [(0, 500), (500, 900)] {
        let sets = (first..last).map(|n| set(&format!("a/{n}"), "x")).collect();
        many_in(store, "default", sets).await;
    }
    one(store, set("b", "x")).await;
    one_in(store, "other", set("a/1", "x")).await;
    assert_eq!(store.delete_prefix(&space("default"), "a/").await.unwrap(), 900);
    assert_eq!(store.delete_prefix(&space("default"), "a/").await.unwrap(), 0);
    assert_eq!(value(store, "b").await.as_deref(), Some("x"));
    assert_eq!(store.count(&space("other"), "").await.unwrap(), 1);
}

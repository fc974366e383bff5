//! Namespaces: coming, going, changing, counting.

use std::num::NonZeroU64;

use super::{World, delete, key, make, many_in, one, one_in, peek, set, space, value, value_in};
use crate::model::{Bound, Keys, Policy, Version};
use crate::store::{Batch, Error, HotKey, NamespaceSpec, Operation, Settings, Step, Store, View};

pub(crate) async fn namespaces_do_not_see_each_other(world: &impl World) {
    let store = world.store();
    for name in ["a", "a:1", "ab"] {
        one_in(store, name, set("k", name)).await;
    }
    one_in(store, "a", set("1:k", "x")).await;
    for name in ["a", "a:1", "ab"] {
        assert_eq!(value_in(store, name, "k").await.as_deref(), Some(name));
    }
    store.clear_namespace(&space("a")).await.unwrap();
    assert_eq!(value_in(store, "a", "k").await, None);
    assert_eq!(value_in(store, "a:1", "k").await.as_deref(), Some("a:1"));
}

pub(crate) async fn a_namespace_is_made_once(world: &impl World) {
    let store = world.store();
    let spec = NamespaceSpec { description: "for tests".to_owned(), ..NamespaceSpec::default() };
    let made = store.create_namespace(&space("n"), spec.clone()).await.unwrap();
    assert_eq!(made.definition.description, "for tests");
    assert!(!made.definition.auto_created);
    let error = store.create_namespace(&space("n"), spec).await.unwrap_err();
    assert_eq!(error, Error::NamespaceExists("n".to_owned()));
    assert_eq!(store.namespace(&space("n")).await.unwrap(), made);
}

pub(crate) async fn a_first_write_makes_its_namespace_if_it_may(world: &impl World) {
    let store = world.store();
    one_in(store, "born", set("k", "v")).await;
    assert!(store.namespace(&space("born")).await.unwrap().definition.auto_created);
    assert_eq!(value_in(store, "not-born", "k").await, None);
    one_in(store, "not-born", delete("k")).await;
    let missing = Error::NamespaceNotFound("not-born".to_owned());
    assert_eq!(store.namespace(&space("not-born")).await.unwrap_err(), missing);
    let settings = Settings { auto_create_namespaces: false, ..store.settings() };
    store.apply_settings(settings);
    let batch = Batch { commands: vec![set("k", "v")], atomic: false };
    assert_eq!(store.write(&space("not-born"), batch).await.unwrap_err(), missing);
    let read = store.get(&space("not-born"), &key("k"), View::Key).await;
    assert_eq!(read.unwrap_err(), missing);
}

pub(crate) async fn namespaces_are_listed_by_name(world: &impl World) {
    let store = world.store();
    for name in ["b2", "a", "b1", "b3", "c"] {
        make(store, name, Policy::default()).await;
    }
    let list = async |prefix, after, limit| -> Vec<String> {
        let found = store.namespaces(prefix, after, limit).await.unwrap();
        found.into_iter().map(|info| info.definition.name.as_str().to_owned()).collect()
    };
    assert_eq!(list("", None, 100).await, ["a", "b1", "b2", "b3", "c", "default"]);
    assert_eq!(list("b", None, 2).await, ["b1", "b2"]);
    assert_eq!(list("b", Some("b2"), 2).await, ["b3"]);
}

pub(crate) async fn an_update_needs_the_current_etag(world: &impl World) {
    let store = world.store();
    let name = space("n");
    let describe =
        |text: &'static str| move |spec: &mut NamespaceSpec| spec.description = text.to_owned();
    let missing = store.update_namespace(&name, None, false, describe("x")).await.unwrap_err();
    assert_eq!(missing, Error::NamespaceNotFound("n".to_owned()));
    let first = store.update_namespace(&name, None, true, describe("first")).await.unwrap();
    assert_eq!(first.definition.description, "first");
    let etag = Some(first.etag.as_str());
    let second = store.update_namespace(&name, etag, false, describe("second")).await.unwrap();
    assert_ne!(second.etag, first.etag);
    let stale = store.update_namespace(&name, etag, false, describe("third")).await.unwrap_err();
    assert_eq!(stale, Error::EtagMismatch);
    assert_eq!(store.namespace(&name).await.unwrap(), second);
}

pub(crate) async fn a_dropped_namespace_is_gone_and_its_versions_with_it(world: &impl World) {
    let store = world.store();
    one_in(store, "n", set("k", "v")).await;
    let before = store.namespace(&space("n")).await.unwrap();
    assert_eq!(store.delete_namespace(&space("n"), true).await.unwrap(), 1);
    let missing = Error::NamespaceNotFound("n".to_owned());
    assert_eq!(store.namespace(&space("n")).await.unwrap_err(), missing);
    assert_eq!(store.delete_namespace(&space("n"), true).await.unwrap_err(), missing);
    assert_eq!(value_in(store, "n", "k").await, None);
    one_in(store, "n", set("k", "w")).await;
    let after = store.namespace(&space("n")).await.unwrap();
    assert!(after.usage.version > before.usage.version, "a version never comes back");
    assert_ne!(after.etag, before.etag);
}

pub(crate) async fn a_full_namespace_is_dropped_only_by_force(world: &impl World) {
    let store = world.store();
    one_in(store, "n", set("k", "v")).await;
    let error = store.delete_namespace(&space("n"), false).await.unwrap_err();
    assert_eq!(error, Error::NamespaceNotEmpty("n".to_owned()));
    one_in(store, "n", delete("k")).await;
    assert_eq!(store.delete_namespace(&space("n"), false).await.unwrap(), 0);
}

pub(crate) async fn the_default_namespace_stays(world: &impl World) {
    let store = world.store();
    let error = store.delete_namespace(&space("default"), true).await.unwrap_err();
    assert_eq!(error, Error::NamespaceProtected);
    assert!(store.namespace(&space("default")).await.is_ok());
}

pub(crate) async fn clearing_empties_one_namespace_only(world: &impl World) {
    let store = world.store();
    let sets = (0..300).map(|n| set(&format!("k{n}"), "x")).collect();
    many_in(store, "default", sets).await;
    one_in(store, "other", set("k", "x")).await;
    let version = peek(store, "k7").await.unwrap().version;
    assert_eq!(store.clear_namespace(&space("default")).await.unwrap(), 300);
    assert_eq!(store.clear_namespace(&space("default")).await.unwrap(), 0);
    let info = store.namespace(&space("default")).await.unwrap();
    assert_eq!((info.usage.keys, info.usage.bytes), (0, 0));
    assert_eq!(value_in(store, "other", "k").await.as_deref(), Some("x"));
    one(store, set("k7", "y")).await;
    assert!(peek(store, "k7").await.unwrap().version > version);
    assert_eq!(value(store, "k8").await, None);
}

pub(crate) async fn counters_tell_what_was_done(world: &impl World) {
    let store = world.store();
    many_in(store, "n", vec![set("a", "1"), set("b", "2"), delete("a")]).await;
    value_in(store, "n", "a").await;
    value_in(store, "n", "b").await;
    value_in(store, "n", "b").await;
    let stats = store.namespace_stats(&space("n")).await.unwrap();
    assert_eq!((stats.sets, stats.deletes, stats.hits, stats.misses), (2, 1, 2, 1));
    assert_eq!((stats.usage.keys, stats.namespace.as_str()), (1, "n"));
    let all = store.stats().await.unwrap();
    let names: Vec<_> = all.namespaces.iter().map(|stats| stats.namespace.as_str()).collect();
    assert_eq!(names, ["default", "n"]);
    assert_eq!(all.namespaces[1], stats);
}

pub(crate) async fn settings_are_kept_and_in_force_at_once(world: &impl World) {
    let store = world.store();
    assert_eq!(store.persisted(), None);
    store.persist(b"first").await.unwrap();
    store.persist(b"second").await.unwrap();
    assert_eq!(store.persisted().as_deref(), Some(&b"second"[..]));
    let mut settings = store.settings();
    settings.default_rules.keys_max = Some(2);
    store.apply_settings(settings.clone());
    assert_eq!(store.settings(), settings);
    let own = Policy { keys_max: Some(Bound::AtMost(NonZeroU64::MAX)), ..Policy::default() };
    make(store, "own", own).await;
    for name in ["default", "own"] {
        let sets = ["a", "b", "c"].map(|name| set(name, "x")).to_vec();
        many_in(store, name, sets).await;
    }
    let usage = async |name| store.namespace(&space(name)).await.unwrap().usage;
    assert_eq!((usage("default").await.keys, usage("own").await.keys), (2, 3));
    assert!(usage("own").await.version > Version(0));
}

pub(crate) async fn the_keys_used_most_are_told_most_used_first(world: &impl World) {
    let (store, n) = (world.store(), space("n"));
    let missing = Error::NamespaceNotFound("n".to_owned());
    assert_eq!(store.hot_keys(&n, 10).await.unwrap_err(), missing);
    make(store, "n", Policy::default()).await;
    assert_eq!(store.hot_keys(&n, 10).await.unwrap().keys, []);
    one_in(store, "n", set("w", "v")).await;
    one_in(store, "n", delete("w")).await;
    // What changes nothing is no write, what finds nothing is a read.
    one_in(store, "n", delete("none")).await;
    let keys: Keys = ["r", "w", "r"].into_iter().map(key).collect();
    store.get_many(&n, &keys, View::Metadata).await.unwrap();
    store.get(&n, &key("r"), View::Full).await.unwrap();
    let get = Operation::Get { key: key("r"), view: View::Key };
    let write = Operation::Write(set("s", "v"));
    let mut steps = [Step::new(n.clone(), get), Step::new(n.clone(), write)];
    assert_eq!(store.run(&mut steps).await.len(), 2);
    world.advance(2000);
    let told = store.hot_keys(&n, 10).await.unwrap();
    let counts = |one: &HotKey| {
        let seconds = told.window.as_secs_f64();
        let count = |rate: f64| (rate * seconds).round();
        (one.key.clone(), count(one.reads_per_second), count(one.writes_per_second))
    };
    let expected = [("r", 4.0, 0.0), ("w", 1.0, 2.0), ("s", 0.0, 1.0)];
    let expected = expected.map(|(key, reads, writes)| (key.to_owned(), reads, writes));
    assert_eq!(told.keys.iter().map(counts).collect::<Vec<_>>(), expected);
    assert_eq!(store.hot_keys(&n, 1).await.unwrap().keys, told.keys[..1]);
    assert_eq!(store.hot_keys(&space("default"), 10).await.unwrap().keys, []);
    // Listing, counting and time are no use of a key; after a while nothing is left.
    store.count(&n, "").await.unwrap();
    world.advance(10 * 60 * 1000);
    assert_eq!(store.hot_keys(&n, 10).await.unwrap().keys, []);
}

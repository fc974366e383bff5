//! Times to live.

use super::{World, add, key, make, one, one_in, peek, set, set_for, set_if, space, ttl, value};
use super::{many_in, value_in};
use crate::model::{Lifetime, Policy};
use crate::store::{Command, Condition, Expiration, Outcome, Reading, Scan, Store, View};

pub(crate) async fn an_expired_entry_is_gone_for_everyone(world: &impl World) {
    let store = world.store();
    one(store, set_for("a", "1", Expiration::After(ttl(1000)))).await;
    world.advance(999);
    assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    world.advance(1);
    assert_eq!(value(store, "a").await, None);
    let scan = Scan {
        prefix: String::new(),
        start_after: None,
        entries_max: 10,
        bytes_max: 1000,
        view: View::Full,
        reading: Reading::Use,
    };
    assert_eq!(store.scan(&space("default"), scan).await.unwrap().entries, []);
    assert_eq!(store.count(&space("default"), "").await.unwrap(), 0);
    assert_eq!(store.delete_prefix(&space("default"), "a").await.unwrap(), 0);
    assert!(one(store, set_if("a", "2", Some(Condition::Absent))).await.holds());
}

pub(crate) async fn an_overwrite_keeps_drops_or_sets_a_deadline(world: &impl World) {
    let store = world.store();
    one(store, set_for("a", "1", Expiration::After(ttl(1000)))).await;
    let first = peek(store, "a").await.unwrap().deadline;
    world.advance(500);
    one(store, set_for("a", "2", Expiration::Keep)).await;
    assert_eq!(peek(store, "a").await.unwrap().deadline, first);
    one(store, set_for("a", "3", Expiration::After(ttl(1000)))).await;
    let moved = peek(store, "a").await.unwrap().deadline;
    assert_eq!(moved.unwrap().millis_since(first.unwrap()), 500);
    one(store, set_for("a", "4", Expiration::Never)).await;
    assert_eq!(peek(store, "a").await.unwrap().deadline, None);
    one(store, set_for("a", "5", Expiration::At(crate::model::UnixMillis::ZERO))).await;
    assert_eq!(value(store, "a").await, None, "a deadline in the past removes the entry");
}

pub(crate) async fn a_touch_moves_a_deadline_and_nothing_else(world: &impl World) {
    let store = world.store();
    let touch = |name, expiration| Command::Touch {
        key: key(name),
        expiration,
        condition: None,
        view: View::Metadata,
    };
    assert!(!one(store, touch("a", Expiration::Never)).await.holds());
    one(store, set("a", "1")).await;
    let written = peek(store, "a").await.unwrap();
    assert!(one(store, touch("a", Expiration::After(ttl(50)))).await.holds());
    let touched = peek(store, "a").await.unwrap();
    assert_eq!((touched.written, touched.value_bytes), (written.written, 1));
    assert_ne!(touched.version, written.version, "it is a change");
    world.advance(50);
    assert_eq!(value(store, "a").await, None);
}

pub(crate) async fn a_counter_takes_its_deadline_at_birth(world: &impl World) {
    let store = world.store();
    let count = |refresh_expiration| Command::Increment {
        key: key("n"),
        delta: 1,
        initial: 0,
        lower_bound: None,
        upper_bound: None,
        expiration: Expiration::After(ttl(100)),
        refresh_expiration,
    };
    one(store, count(false)).await;
    let born = peek(store, "n").await.unwrap().deadline.unwrap();
    world.advance(60);
    one(store, count(false)).await;
    assert_eq!(peek(store, "n").await.unwrap().deadline, Some(born));
    one(store, count(true)).await;
    assert_eq!(peek(store, "n").await.unwrap().deadline.unwrap().millis_since(born), 60);
    world.advance(100);
    let Outcome::Increment { created: true, value: 1, .. } = one(store, add("n", 1)).await else {
        panic!("an expired counter begins anew");
    };
}

pub(crate) async fn default_and_longest_lifetimes_are_the_namespaces_word(world: &impl World) {
    let store = world.store();
    let policy = Policy {
        ttl_default: Some(Lifetime::Ttl(ttl(100))),
        ttl_max: Some(Lifetime::Ttl(ttl(200))),
        ..Policy::default()
    };
    make(store, "short", policy).await;
    let long = set_for("b", "2", Expiration::After(ttl(5000)));
    many_in(store, "short", vec![set("a", "1"), long]).await;
    world.advance(100);
    assert_eq!(value_in(store, "short", "a").await, None);
    assert_eq!(value_in(store, "short", "b").await.as_deref(), Some("2"));
    world.advance(100);
    assert_eq!(value_in(store, "short", "b").await, None);
    one_in(store, "short", set("c", "3")).await;
}

pub(crate) async fn what_has_expired_is_removed_in_the_background(world: &impl World) {
    let store = world.store();
    let sets = (0..700).map(|n| set_for(&format!("k{n}"), "x", Expiration::After(ttl(10))));
    many_in(store, "default", sets.collect()).await;
    world.advance(20_000);
    world.keep();
    let stats = store.namespace_stats(&space("default")).await.unwrap();
    assert_eq!((stats.usage.keys, stats.usage.bytes, stats.expirations), (0, 0, 700));
}

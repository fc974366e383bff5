//! Policies and the memory of the process.

use std::num::NonZeroU64;

use super::{World, make, many_in, one_in, set, space, value_in};
use crate::model::{Bound, Eviction, Policy};
use crate::store::{Batch, Error, Quota, Refusal, Settings, Store};

fn at_most(most: u64) -> Option<Bound> {
    Some(Bound::AtMost(NonZeroU64::new(most).unwrap()))
}

async fn refusal(store: &impl Store, name: &str, key: &str, value: &str) -> Option<Refusal> {
    let batch = Batch { commands: vec![set(key, value)], atomic: false };
    store.write(&space(name), batch).await.unwrap().outcomes.pop().unwrap().err()
}

pub(crate) async fn a_namespace_stays_within_its_keys(world: &impl World) {
    let store = world.store();
    make(store, "n", Policy { keys_max: at_most(3), ..Policy::default() }).await;
    for name in ["a", "b", "c"] {
        one_in(store, "n", set(name, "x")).await;
    }
    value_in(store, "n", "a").await;
    one_in(store, "n", set("d", "x")).await;
    assert_eq!(value_in(store, "n", "b").await, None, "b was used least recently");
    for name in ["a", "c", "d"] {
        assert!(value_in(store, "n", name).await.is_some(), "{name}");
    }
    assert_eq!(store.namespace_stats(&space("n")).await.unwrap().evictions, 1);
}

pub(crate) async fn a_namespace_stays_within_its_bytes(world: &impl World) {
    let store = world.store();
    make(store, "n", Policy { bytes_max: at_most(10_000), ..Policy::default() }).await;
    let large = "x".repeat(1000);
    for n in 0..50 {
        one_in(store, "n", set(&format!("k{n}"), &large)).await;
        assert!(store.namespace(&space("n")).await.unwrap().usage.bytes <= 10_000);
    }
    assert!(value_in(store, "n", "k49").await.is_some());
    assert!(value_in(store, "n", "k0").await.is_none());
}

pub(crate) async fn one_that_does_not_evict_refuses(world: &impl World) {
    let store = world.store();
    let eviction = Some(Eviction::None);
    make(store, "n", Policy { keys_max: at_most(1), eviction, ..Policy::default() }).await;
    one_in(store, "n", set("a", "1")).await;
    let full = Refusal::QuotaExceeded { quota: Quota::Keys, limit: 1 };
    assert_eq!(refusal(store, "n", "b", "2").await, Some(full));
    assert_eq!(refusal(store, "n", "a", "2").await, None, "overwriting needs no room");
    assert_eq!(value_in(store, "n", "a").await.as_deref(), Some("2"));
    assert_eq!(store.namespace_stats(&space("n")).await.unwrap().quota_rejections, 1);
}

pub(crate) async fn a_value_too_large_is_refused(world: &impl World) {
    let store = world.store();
    make(store, "n", Policy { value_bytes_max: Some(4), ..Policy::default() }).await;
    assert_eq!(refusal(store, "n", "a", "1234").await, None);
    let large = Refusal::ValueTooLarge { limit_bytes: 4, size_bytes: 5 };
    assert_eq!(refusal(store, "n", "a", "12345").await, Some(large));
    assert_eq!(value_in(store, "n", "a").await.as_deref(), Some("1234"));
}

pub(crate) async fn a_rate_is_kept(world: &impl World) {
    let store = world.store();
    make(store, "n", Policy { operations_per_second_max: at_most(5), ..Policy::default() }).await;
    // Even a machine that needs a second for each of these meets the limit: a batch takes five.
    let batch = || Batch { commands: (0..5).map(|_| set("a", "x")).collect(), atomic: false };
    let mut refused = None;
    for _ in 0..3 {
        refused = refused.or(store.write(&space("n"), batch()).await.err());
    }
    let Some(Error::RateLimited { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(!retry_after.is_zero());
    one_in(store, "other", set("a", "x")).await;
    assert!(store.namespace_stats(&space("n")).await.unwrap().rate_limit_rejections >= 1);
}

pub(crate) async fn a_lowered_limit_holds_at_once(world: &impl World) {
    let store = world.store();
    let sets = (0..900).map(|n| set(&format!("k{n}"), "x")).collect();
    many_in(store, "n", sets).await;
    let lower = |spec: &mut crate::store::NamespaceSpec| spec.policy.keys_max = at_most(10);
    store.update_namespace(&space("n"), None, false, lower).await.unwrap();
    assert_eq!(store.namespace(&space("n")).await.unwrap().usage.keys, 10);
    assert!(value_in(store, "n", "k899").await.is_some());
}

pub(crate) async fn tenants_pay_for_themselves(world: &impl World) {
    let store = world.store();
    store.apply_settings(Settings { total_bytes_max: 1 << 20, ..store.settings() });
    let large = "x".repeat(4096);
    for n in 0..20 {
        one_in(store, "small", set(&format!("k{n}"), &large)).await;
    }
    for n in 0..1000 {
        one_in(store, "greedy", set(&format!("k{n}"), &large)).await;
    }
    let usage = async |name| store.namespace(&space(name)).await.unwrap().usage;
    let (small, greedy) = (usage("small").await, usage("greedy").await);
    assert_eq!(small.keys, 20, "the greedy one evicts its own");
    assert!(small.bytes + greedy.bytes <= 1 << 20);
    for n in 0..100 {
        one_in(store, "small", set(&format!("more{n}"), &large)).await;
    }
    assert_eq!(usage("small").await.keys, 120, "who is below the fair share takes from the other");
    assert!(usage("greedy").await.keys < greedy.keys);
}

pub(crate) async fn a_full_store_refuses_and_reads_go_on(world: &impl World) {
    let store = world.store();
    store.apply_settings(Settings { total_bytes_max: 10_000, ..store.settings() });
    make(store, "n", Policy { eviction: Some(Eviction::None), ..Policy::default() }).await;
    let large = "x".repeat(1000);
    let mut refused = None;
    for n in 0..20 {
        refused = refused.or(refusal(store, "n", &format!("k{n}"), &large).await);
    }
    assert_eq!(refused, Some(Refusal::MemoryExhausted));
    assert!(value_in(store, "n", "k0").await.is_some());
}

pub(crate) async fn a_read_only_store_reads(world: &impl World) {
    let store = world.store();
    one_in(store, "n", set("a", "1")).await;
    store.apply_settings(Settings { read_only: true, ..store.settings() });
    let batch = Batch { commands: vec![set("a", "2")], atomic: false };
    assert_eq!(store.write(&space("n"), batch).await.unwrap_err(), Error::ReadOnly);
    assert_eq!(store.clear_namespace(&space("n")).await.unwrap_err(), Error::ReadOnly);
    assert_eq!(value_in(store, "n", "a").await.as_deref(), Some("1"));
    store.persist(b"this is how it ends").await.unwrap();
    store.apply_settings(Settings { read_only: false, ..store.settings() });
    one_in(store, "n", set("a", "2")).await;
}

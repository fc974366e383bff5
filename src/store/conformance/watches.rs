//! Watches: what is told, in which order, and from where on.

use super::{World, add, delete, make, many_in, one, one_in, set, set_for, set_if, space, ttl};
use crate::model::{Bound, Policy, Version};
use crate::store::{
    Batch, Command, Condition, Delivery, Error, Event, EventKind, Expiration, Filter, Start, Store,
    Values, View, WatchError, WatchOrder, Watching,
};

/// What ends the reading of a watch in a test: it is written last.
const MARK: &str = "~mark";

fn order(start: Start) -> WatchOrder {
    WatchOrder { filter: Filter::default(), start, values: Values::Included }
}

fn filtered(keys: &[&str], prefixes: &[&str]) -> Filter {
    let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    Filter::new(keys.iter().map(|key| super::key(key)).collect(), prefixes)
}

async fn watch<S: Store>(store: &S, start: Start) -> S::Watching {
    store.watch(&space("default"), order(start)).await.unwrap()
}

async fn version(store: &impl Store) -> Version {
    store.namespace(&space("default")).await.unwrap().usage.version
}

/// Everything up to the mark, which is set now.
async fn told(store: &impl Store, watching: &mut impl Watching) -> Vec<Delivery> {
    one(store, set(MARK, "")).await;
    let mut deliveries = Vec::new();
    loop {
        let mut delivery = watching.next().await.unwrap();
        let is_last = delivery.events.iter().any(|event| event.key == MARK);
        delivery.events.retain(|event| event.key != MARK);
        deliveries.push(delivery);
        if is_last {
            return deliveries;
        }
    }
}

fn events(deliveries: Vec<Delivery>) -> Vec<(EventKind, String)> {
    let events = deliveries.into_iter().flat_map(|delivery| delivery.events);
    events.map(|event| (event.kind, event.key)).collect()
}

fn named(kind: EventKind, key: &str) -> (EventKind, String) {
    (kind, key.to_owned())
}

pub(crate) async fn a_watch_tells_what_happens_in_order(world: &impl World) {
    let store = world.store();
    one(store, set("before", "x")).await;
    let mut watching = watch(store, Start::Now).await;
    one(store, set("a", "1")).await;
    one(store, add("n", 5)).await;
    one(store, set("a", "2")).await;
    let touch = Command::Touch {
        key: super::key("a"),
        expiration: Expiration::After(ttl(5000)),
        condition: None,
        view: View::Key,
    };
    one(store, touch).await;
    one(store, delete("a")).await;
    one(store, delete("nothing")).await;
    let deliveries = told(store, &mut watching).await;
    let last = version(store).await;
    assert_eq!(deliveries.last().unwrap().version, last);
    let told: Vec<Event> = deliveries.into_iter().flat_map(|delivery| delivery.events).collect();
    let text = |event: &Event| String::from_utf8(event.entry.value.to_vec()).unwrap();
    let brief: Vec<_> = told.iter().map(|e| (e.kind, e.key.as_str(), text(e))).collect();
    let expected = [
        (EventKind::Set, "a", "1"),
        (EventKind::Set, "n", "5"),
        (EventKind::Set, "a", "2"),
        (EventKind::Deleted, "a", ""),
    ];
    assert_eq!(brief, expected.map(|(kind, key, value)| (kind, key, value.to_owned())));
    assert!(told.is_sorted_by(|a, b| a.entry.version < b.entry.version));
}

pub(crate) async fn a_watch_tells_why_an_entry_went(world: &impl World) {
    let store = world.store();
    let keys_max = Some(Bound::AtMost(3.try_into().unwrap()));
    make(store, "small", Policy { keys_max, ..Policy::default() }).await;
    let mut watching = store.watch(&space("small"), order(Start::Now)).await.unwrap();
    one_in(store, "small", set_for("e", "", Expiration::After(ttl(100)))).await;
    one_in(store, "small", set("d", "")).await;
    one_in(store, "small", delete("d")).await;
    world.advance(100);
    world.keep();
    many_in(store, "small", ["1", "2", "3", "4"].map(|key| set(key, "")).to_vec()).await;
    store.clear_namespace(&space("small")).await.unwrap();
    let mut found = Vec::new();
    while found.last() != Some(&named(EventKind::Cleared, "")) {
        found.extend(events(vec![watching.next().await.unwrap()]));
    }
    let expected = [
        named(EventKind::Set, "e"),
        named(EventKind::Set, "d"),
        named(EventKind::Deleted, "d"),
        named(EventKind::Expired, "e"),
        named(EventKind::Set, "1"),
        named(EventKind::Set, "2"),
        named(EventKind::Set, "3"),
        named(EventKind::Evicted, "1"),
        named(EventKind::Set, "4"),
        named(EventKind::Cleared, ""),
    ];
    assert_eq!(found, expected);
}

pub(crate) async fn a_watch_goes_on_after_any_version(world: &impl World) {
    let store = world.store();
    let first = version(store).await;
    for n in 0..20 {
        one(store, set(&format!("k{n}"), "x")).await;
    }
    let mut whole = watch(store, Start::After(first)).await;
    let whole: Vec<Event> =
        told(store, &mut whole).await.into_iter().flat_map(|delivery| delivery.events).collect();
    assert_eq!(whole.len(), 20);
    for (at, event) in whole.iter().enumerate() {
        let mut rest = watch(store, Start::After(event.entry.version)).await;
        let rest = told(store, &mut rest).await.into_iter().flat_map(|delivery| delivery.events);
        assert_eq!(rest.collect::<Vec<_>>(), whole[at + 1..]);
    }
}

pub(crate) async fn a_watch_begins_with_what_is_there(world: &impl World) {
    let store = world.store();
    let mut expected: Vec<String> = (0..600).map(|n| format!("k{n}")).collect();
    many_in(store, "default", expected.iter().map(|key| set(key, "v")).collect()).await;
    one(store, set("gone", "")).await;
    one(store, delete("gone")).await;
    let begun = version(store).await;
    let mut watching = watch(store, Start::Entries).await;
    let mut found = Vec::new();
    let complete = loop {
        let delivery = watching.next().await.unwrap();
        let is_complete = delivery.initial_complete;
        assert_eq!(delivery.version, if is_complete { begun } else { Version(0) });
        for event in &delivery.events {
            assert_eq!((event.kind, &event.entry.value[..]), (EventKind::Initial, &b"v"[..]));
            found.push(event.key.clone());
        }
        if is_complete {
            break delivery;
        }
    };
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(watching.position(), complete.version);
    one(store, set("k0", "w")).await;
    assert_eq!(events(told(store, &mut watching).await), [named(EventKind::Set, "k0")]);
}

pub(crate) async fn what_is_written_meanwhile_is_told_once(world: &impl World) {
    let store = world.store();
    let names: Vec<String> = (0..900).map(|n| format!("k{n:03}")).collect();
    many_in(store, "default", names.iter().map(|key| set(key, "old")).collect()).await;
    let mut watching = watch(store, Start::Entries).await;
    let mut told_initial = watching.next().await.unwrap().events;
    // Behind the first page: one written, one touched, one gone, one gone and back, one new.
    one(store, set("k800", "new")).await;
    let touch = Command::Touch {
        key: super::key("k801"),
        expiration: Expiration::After(ttl(60_000)),
        condition: None,
        view: View::Key,
    };
    one(store, touch).await;
    one(store, delete("k802")).await;
    one(store, delete("k803")).await;
    one(store, set_if("k803", "back", Some(Condition::Absent))).await;
    one(store, set("k804x", "fresh")).await;
    loop {
        let delivery = watching.next().await.unwrap();
        told_initial.extend(delivery.events);
        if delivery.initial_complete {
            break;
        }
    }
    assert!(told_initial.iter().all(|event| event.kind == EventKind::Initial));
    assert!(told_initial.iter().all(|event| event.entry.value == "old"));
    let mut initial: Vec<&str> = told_initial.iter().map(|event| event.key.as_str()).collect();
    initial.sort_unstable();
    let later = ["k800", "k802", "k803"];
    let expected: Vec<_> =
        names.iter().map(String::as_str).filter(|key| !later.contains(key)).collect();
    assert_eq!(initial, expected);
    let expected = [
        named(EventKind::Set, "k800"),
        named(EventKind::Deleted, "k802"),
        named(EventKind::Deleted, "k803"),
        named(EventKind::Set, "k803"),
        named(EventKind::Set, "k804x"),
    ];
    assert_eq!(events(told(store, &mut watching).await), expected);
}

pub(crate) async fn a_watch_tells_of_its_keys_and_prefixes_only(world: &impl World) {
    let store = world.store();
    let filter = filtered(&["x", MARK, "user:1"], &["user:", "a/"]);
    let first = version(store).await;
    let mut watchings = Vec::new();
    for start in [Start::Now, Start::After(first)] {
        let order = WatchOrder { filter: filter.clone(), start, values: Values::Omitted };
        watchings.push(store.watch(&space("default"), order).await.unwrap());
    }
    let sets = ["x", "xx", "user:1", "user", "a", "a/b", "user:2"].map(|key| set(key, "four"));
    many_in(store, "default", sets.to_vec()).await;
    let before = version(store).await;
    one(store, set("other", "")).await;
    for watching in &mut watchings {
        let deliveries = told(store, watching).await;
        let mut all: Vec<_> = deliveries.iter().flat_map(|d| d.events.iter()).collect();
        assert!(all.iter().all(|event| event.entry.value.is_empty()));
        all.retain(|event| event.entry.value_bytes == 4);
        let keys: Vec<_> = all.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(keys, ["x", "user:1", "a/b", "user:2"]);
        assert!(watching.position() > before, "it moves on with what is not told, too");
    }
    let entries = WatchOrder { filter, start: Start::Entries, values: Values::Omitted };
    let mut watching = store.watch(&space("default"), entries).await.unwrap();
    let mut keys = Vec::new();
    loop {
        let delivery = watching.next().await.unwrap();
        keys.extend(delivery.events.into_iter().map(|event| event.key));
        if delivery.initial_complete {
            break;
        }
    }
    keys.sort();
    assert_eq!(keys, ["a/b", "user:1", "user:2", "x", MARK]);
}

pub(crate) async fn what_a_batch_did_is_told_together(world: &impl World) {
    let store = world.store();
    let first = version(store).await;
    let mut live = watch(store, Start::Now).await;
    for round in 0..50 {
        let commands = (0..20).map(|n| set(&format!("{round}/{n}"), "x")).collect();
        let batch = Batch { commands, atomic: true };
        assert!(store.write(&space("default"), batch).await.unwrap().committed);
    }
    let mut behind = watch(store, Start::After(first)).await;
    for watching in [&mut live, &mut behind] {
        let mut rounds = Vec::new();
        for delivery in told(store, watching).await {
            let round = |event: &Event| event.key.split('/').next().unwrap().to_owned();
            let mut of_delivery: Vec<_> = delivery.events.iter().map(round).collect();
            of_delivery.dedup();
            assert_eq!(delivery.events.len(), of_delivery.len() * 20, "none is split");
            rounds.extend(of_delivery);
        }
        assert_eq!(rounds, (0..50).map(|round| round.to_string()).collect::<Vec<_>>());
    }
}

pub(crate) async fn a_watch_from_a_version_still_to_come_is_refused(world: &impl World) {
    let store = world.store();
    one(store, set("a", "")).await;
    let next = version(store).await.next();
    let refused = store.watch(&space("default"), order(Start::After(next))).await.err();
    assert_eq!(refused, Some(Error::Watch(WatchError::VersionInFuture { version: next })));
    let elsewhere = order(Start::After(Version(1)));
    let refused = store.watch(&space("elsewhere"), elsewhere).await.err();
    assert_eq!(refused, Some(Error::Watch(WatchError::VersionInFuture { version: Version(1) })));
    let mut settings = store.settings();
    settings.auto_create_namespaces = false;
    store.apply_settings(settings);
    let refused = store.watch(&space("elsewhere"), order(Start::Now)).await.err();
    assert_eq!(refused, Some(Error::NamespaceNotFound("elsewhere".to_owned())));
}

pub(crate) async fn a_watch_waits_for_its_namespace_and_ends_with_it(world: &impl World) {
    let store = world.store();
    let name = space("later");
    let mut watching = store.watch(&name, order(Start::Now)).await.unwrap();
    assert_eq!(watching.position(), Version(0));
    let (delivery, _) = tokio::join!(watching.next(), one_in(store, "later", set("a", "1")));
    assert_eq!(events(vec![delivery.unwrap()]), [named(EventKind::Set, "a")]);
    assert_eq!(store.namespace_stats(&name).await.unwrap().active_watches, 1);
    store.delete_namespace(&name, true).await.unwrap();
    let ended = watching.next().await;
    assert_eq!(ended, Err(Error::NamespaceNotFound("later".to_owned())));
}

pub(crate) async fn a_watch_that_ended_is_not_counted(world: &impl World) {
    let store = world.store();
    let count = async || store.namespace_stats(&space("default")).await.unwrap().active_watches;
    let watchings = [Start::Now, Start::Entries, Start::After(Version(0))];
    let mut open = Vec::new();
    for start in watchings {
        let mut watching = watch(store, start).await;
        one(store, set("a", "")).await;
        watching.next().await.unwrap();
        open.push(watching);
    }
    assert_eq!(count().await, 3);
    open.clear();
    assert_eq!(count().await, 0);
}

//! Watchers that read late.

use crate::model::{Durability, Policy, Version};
use crate::store::conformance::{key, make, many_in, set, space};
use crate::store::embedded::Watcher;
use crate::store::embedded::tests::{Home, block_on};
use crate::store::{Error, Filter, Start, Store, Values, WatchError, WatchOrder, Watching};

async fn home(watch_history_events: u32) -> Home {
    let home = Home::new();
    let policy = Policy {
        durability: Some(Durability::Memory),
        watch_history_events: Some(watch_history_events),
        ..Policy::default()
    };
    make(&home.store, "n", policy).await;
    home
}

async fn watch(home: &Home, keys: &[&str]) -> Watcher {
    watch_from(home, keys, Start::Now).await
}

async fn watch_from(home: &Home, keys: &[&str], start: Start) -> Watcher {
    let filter = Filter::new(keys.iter().map(|name| key(name)).collect(), Vec::new());
    let order = WatchOrder { filter, start, values: Values::Omitted };
    home.store.watch(&space("n"), order).await.unwrap()
}

/// Writes `name`, so many times, each in a turn of its own, and lets the desks give out.
async fn write(home: &Home, name: &str, times: usize) {
    for _ in 0..times {
        many_in(&home.store, "n", vec![set(name, "x")]).await;
        tokio::task::yield_now().await;
    }
}

async fn read(watcher: &mut Watcher, count: usize) -> Vec<Version> {
    let mut versions = Vec::new();
    while versions.len() < count {
        let delivery = watcher.next().await.unwrap();
        versions.extend(delivery.events.iter().map(|event| event.entry.version));
    }
    versions
}

#[test]
fn who_reads_late_catches_up_and_goes_on() {
    block_on(async {
        let home = home(10_000).await;
        let mut watcher = watch(&home, &[]).await;
        write(&home, "a", 1).await;
        let first = read(&mut watcher, 1).await[0];
        for _ in 0..3 {
            write(&home, "a", 900).await;
            let versions = read(&mut watcher, 900).await;
            assert!(versions.windows(2).all(|pair| pair[1] == pair[0].next()));
        }
        assert_eq!(watcher.position(), Version(first.0 + 2_700));
    });
}

#[test]
fn who_has_more_to_catch_up_on_than_is_read_at_once_misses_nothing() {
    block_on(async {
        let home = home(10_000).await;
        let mut watcher = watch(&home, &[]).await;
        write(&home, "a", 1).await;
        let first = read(&mut watcher, 1).await[0];
        write(&home, "a", 3_000).await;
        let mut back = watch_from(&home, &[], Start::After(first)).await;
        let mut versions = vec![first];
        versions.extend(read(&mut back, 1).await);
        assert!(versions.len() < 3_000, "it is still behind");
        write(&home, "a", 1).await;
        versions.extend(read(&mut back, 3_002 - versions.len()).await);
        assert!(versions.windows(2).all(|pair| pair[1] == pair[0].next()), "{versions:?}");
        assert_eq!(versions.len(), 3_002, "each exactly once");
    });
}

#[test]
fn a_quiet_watch_is_not_behind_because_of_what_did_not_concern_it() {
    block_on(async {
        let home = home(300).await;
        let mut watcher = watch(&home, &["own"]).await;
        write(&home, "own", 1).await;
        read(&mut watcher, 1).await;
        // More than is kept, and nothing of it for this watch; then more than waits for it.
        write(&home, "other", 3_000).await;
        write(&home, "own", 250).await;
        let versions = read(&mut watcher, 250).await;
        assert!(versions.windows(2).all(|pair| pair[1] == pair[0].next()));
    });
}

#[test]
fn who_reads_too_late_is_told_so_and_nobody_else() {
    block_on(async {
        let home = home(0).await;
        let (mut late, mut quiet) = (watch(&home, &[]).await, watch(&home, &["end"]).await);
        write(&home, "a", 1).await;
        let first = read(&mut late, 1).await[0];
        write(&home, "a", 2_000).await;
        assert_eq!(late.next().await, Err(Error::Watch(WatchError::Lagging { last: Some(first) })));
        write(&home, "end", 1).await;
        assert_eq!(read(&mut quiet, 1).await.len(), 1);
    });
}

#[test]
fn a_history_is_memory_and_goes_before_entries_do() {
    block_on(async {
        let home = home(10_000).await;
        let shared = home.store.0.shared.get().unwrap();
        let entries = async || home.store.namespace(&space("n")).await.unwrap().usage;
        for round in 0..4 {
            let batch = (0..200).map(|n| set(&format!("{round}/{n}"), &"v".repeat(1_000)));
            many_in(&home.store, "n", batch.collect()).await;
        }
        let held = entries().await;
        let history = shared.budget.used() - held.bytes;
        assert!(history > 800_000, "{history} bytes of history");
        let mut settings = home.store.settings();
        settings.total_bytes_max = held.bytes + 100_000;
        home.store.apply_settings(settings);
        crate::store::conformance::World::keep(&home);
        assert!(shared.budget.used() <= held.bytes + 100_000);
        assert_eq!(entries().await.keys, held.keys, "no entry went");
    });
}

#[test]
fn who_reads_initial_entries_notes_no_keys_that_he_did_not_ask_for() {
    block_on(async {
        let home = home(10_000).await;
        for n in 0..1_000 {
            many_in(&home.store, "n", vec![set(&format!("own/{n}"), "x")]).await;
        }
        let filter = Filter::new(Vec::new(), vec!["own/".into()]);
        let order = WatchOrder { filter, start: Start::Entries, values: Values::Omitted };
        let mut watcher = home.store.watch(&space("n"), order).await.unwrap();
        watcher.next().await.unwrap();
        // Without a pause in which the desk would give them out, to nobody.
        for n in 0..100 {
            many_in(&home.store, "n", vec![set(&format!("foreign/{n}"), "x")]).await;
        }
        many_in(&home.store, "n", vec![set("own/1", "x")]).await;
        watcher.next().await.unwrap();
        assert_eq!(watcher.written_meanwhile(), 1);
    });
}

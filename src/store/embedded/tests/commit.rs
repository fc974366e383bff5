//! When an answer may leave.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{Home, block_on, settings};
use crate::model::{Durability, Policy};
use crate::store::conformance::{
    World, delete, key, make, many_in, one, one_in, set, set_for, space, ttl,
};
use crate::store::embedded::keeper::Rounds;
use crate::store::{
    Batch, Error, Expiration, Filter, NamespaceSpec, Settings, Start, Store, Values, View,
    WatchOrder, Watching,
};

impl Home {
    /// From now on the log is synced by hand only.
    pub(super) fn stop_syncing(&self) {
        let shared = self.store.0.shared.get().unwrap();
        shared.commit.stop();
        let log_thread = self.store.0.threads.lock().remove(0);
        log_thread.join().unwrap();
    }

    pub(super) fn sync(&self) {
        let shared = self.store.0.shared.get().unwrap();
        shared.log.sync().unwrap();
        shared.commit.wake_desks();
    }
}

/// Whether `future` is still waiting after everything else had its turn.
pub(in crate::store::embedded) async fn waits<F: Future>(
    future: &mut std::pin::Pin<&mut F>,
) -> bool {
    for _ in 0..10 {
        let done = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if done {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[test]
fn a_sync_write_is_answered_and_read_only_once_it_is_on_disk() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one(store, set("old", "1")).await;
        one(store, set("removed", "1")).await;
        home.stop_syncing();
        let name = space("default");
        let batch = Batch { commands: vec![set("new", "2"), delete("removed")], atomic: false };
        let mut write = pin!(store.write(&name, batch));
        assert!(waits(&mut write).await);
        let (new, removed) = (key("new"), key("removed"));
        let mut read = pin!(store.get(&name, &new, View::Full));
        assert!(waits(&mut read).await, "nobody learns of what a power failure could undo");
        let mut miss = pin!(store.get(&name, &removed, View::Full));
        assert!(waits(&mut miss).await, "nor of an absence that it could undo");
        assert!(store.get(&name, &key("old"), View::Full).await.unwrap().is_some());
        home.sync();
        assert!(write.await.is_ok());
        assert!(read.await.unwrap().is_some());
        assert!(miss.await.unwrap().is_none());
    });
}

#[test]
fn async_and_memory_writes_do_not_wait_for_the_disk() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        for (name, durability) in [("async", Durability::Async), ("memory", Durability::Memory)] {
            make(store, name, Policy { durability: Some(durability), ..Policy::default() }).await;
            // The first one reserves versions, which is on disk before it is answered.
            one_in(store, name, set("a", "1")).await;
        }
        home.stop_syncing();
        for name in ["async", "memory"] {
            for n in 0..100 {
                one_in(store, name, set(&format!("k{n}"), "1")).await;
            }
        }
        assert_eq!(home.killed().store().count(&space("async"), "").await.unwrap(), 101);
    });
}

#[test]
fn who_brings_more_than_the_disk_takes_waits_for_it_and_nobody_else() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        for name in ["much", "little"] {
            let durability = Some(Durability::Async);
            make(store, name, Policy { durability, ..Policy::default() }).await;
            one_in(store, name, set("a", "1")).await;
        }
        home.stop_syncing();
        let (much, value) = (space("much"), "x".repeat(100_000));
        let large = || Batch { commands: vec![set("large", &value)], atomic: false };
        for _ in 0..2 {
            assert!(store.write(&much, large()).await.is_ok(), "the disk has room for as much");
        }
        let mut third = pin!(store.write(&much, large()));
        assert!(waits(&mut third).await);
        one_in(store, "little", set("b", "1")).await;
        home.sync();
        assert!(third.await.is_ok());
        assert!(store.write(&much, large()).await.is_ok(), "what is on disk does not count");
    });
}

#[test]
fn versions_are_reserved_on_disk_before_they_are_told() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        let policy = Policy { durability: Some(Durability::Memory), ..Policy::default() };
        make(store, "memory", policy).await;
        home.stop_syncing();
        let name = space("memory");
        let batch = || Batch { commands: vec![set("a", "1")], atomic: false };
        let mut write = pin!(store.write(&name, batch()));
        assert!(waits(&mut write).await);
        home.sync();
        assert!(write.await.is_ok());
        assert!(store.write(&name, batch()).await.is_ok());
    });
}

#[test]
fn what_is_told_of_namespaces_survives_a_power_failure() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one_in(store, "dropped", set("a", "1")).await;
        home.stop_syncing();
        let (default, dropped) = (space("default"), space("dropped"));
        let edit = |spec: &mut NamespaceSpec| spec.description = "new".to_owned();
        let mut update = pin!(store.update_namespace(&default, None, false, edit));
        assert!(waits(&mut update).await);
        let mut etag = pin!(store.namespace(&default));
        assert!(waits(&mut etag).await, "an etag that could be taken back is not told");
        let mut drop = pin!(store.delete_namespace(&dropped, true));
        assert!(waits(&mut drop).await);
        let a = key("a");
        let mut absent = pin!(store.get(&dropped, &a, View::Full));
        assert!(waits(&mut absent).await, "nor an absence");
        let mut missing = pin!(store.namespace(&dropped));
        assert!(waits(&mut missing).await);
        home.sync();
        assert_eq!(etag.await.unwrap().definition.description, "new");
        assert!(absent.await.unwrap().is_none() && missing.await.is_err());
        assert!(update.await.is_ok() && drop.await.is_ok());
    });
}

#[test]
fn a_reader_is_not_told_a_version_before_it_is_reserved() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "n", Policy { durability: Some(Durability::Async), ..Policy::default() }).await;
        home.stop_syncing();
        let (name, a) = (space("n"), key("a"));
        let batch = Batch { commands: vec![set("a", "1")], atomic: false };
        let mut write = pin!(store.write(&name, batch));
        assert!(waits(&mut write).await);
        let mut read = pin!(store.get(&name, &a, View::Full));
        assert!(waits(&mut read).await);
        home.sync();
        assert!(read.await.unwrap().is_some() && write.await.is_ok());
    });
}

#[test]
fn an_entry_that_expires_before_it_is_on_disk_is_not_yet_gone_for_readers() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one(store, set("a", "for good")).await;
        home.stop_syncing();
        let (name, a) = (space("default"), key("a"));
        let short = set_for("a", "2", Expiration::After(ttl(1)));
        let mut write = pin!(store.write(&name, Batch { commands: vec![short], atomic: false }));
        assert!(waits(&mut write).await);
        home.advance(5);
        let mut read = pin!(store.get(&name, &a, View::Full));
        assert!(waits(&mut read).await, "after a power failure the old value would be back");
        home.sync();
        assert!(read.await.unwrap().is_none() && write.await.is_ok());
    });
}

#[test]
fn every_slice_of_a_deletion_is_as_safe_as_it_should_be() {
    block_on(async {
        let home = Home::new();
        make(
            home.store(),
            "n",
            Policy { durability: Some(Durability::Async), ..Policy::default() },
        )
        .await;
        let sets = (0..600).map(|n| set(&format!("k{n:03}"), "x")).collect();
        many_in(home.store(), "n", sets).await;
        let home = home.restarted();
        let name = space("n");
        home.store().count(&name, "k").await.unwrap();
        home.stop_syncing();
        let mut deletion = pin!(home.store().delete_prefix(&name, "k"));
        // The first slice reserves versions, and is on disk before the others are taken.
        assert!(poll_fn(|cx| Poll::Ready(deletion.as_mut().poll(cx).is_pending())).await);
        home.sync();
        let done = poll_fn(|cx| Poll::Ready(deletion.as_mut().poll(cx).is_ready())).await;
        if !done && waits(&mut deletion).await {
            home.sync();
        }
        assert_eq!(home.killed().store().count(&name, "").await.unwrap(), 0);
    });
}

#[test]
fn nobody_pays_for_a_write_that_is_refused() {
    block_on(async {
        let home = Home::with(Settings { total_bytes_max: 1 << 20, ..settings() });
        let store = home.store();
        let value = "x".repeat(900);
        for n in 0..1000 {
            one_in(store, "large", set(&format!("k{n}"), &value)).await;
        }
        make(store, "small", Policy::default()).await;
        let keys = async || store.namespace(&space("large")).await.unwrap().usage.keys;
        let before = keys().await;
        store.apply_settings(Settings { read_only: true, ..store.settings() });
        let batch = Batch { commands: vec![set("a", &"x".repeat(500_000))], atomic: false };
        assert_eq!(store.write(&space("small"), batch).await.unwrap_err(), Error::ReadOnly);
        assert_eq!(keys().await, before);
    });
}

#[test]
fn a_count_leaves_sweeps_short_and_all_that_expired_goes() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "n", Policy { durability: Some(Durability::Memory), ..Policy::default() })
            .await;
        for n in 0..40 {
            let name = |k| format!("{n}/{k}");
            let sets = (0..1000).map(|k| set_for(&name(k), "x", Expiration::After(ttl(10))));
            many_in(store, "n", sets.collect()).await;
        }
        home.advance(1_000);
        assert_eq!(store.count(&space("n"), "").await.unwrap(), 0);
        let shared = home.store.0.shared.get().unwrap();
        let mut rounds = Rounds::due();
        // Each takes its share; an interval of an hour does not lie between them.
        for _ in 0..4 {
            shared.keep(&mut rounds);
        }
        assert_eq!(store.namespace_stats(&space("n")).await.unwrap().usage.keys, 0);
    });
}

#[test]
fn a_watch_is_not_told_what_is_not_on_disk_nor_a_version_of_it() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "n", Policy::default()).await;
        let order =
            |start| WatchOrder { filter: Filter::default(), start, values: Values::Omitted };
        let mut watching = store.watch(&space("n"), order(Start::Now)).await.unwrap();
        let before = watching.position();
        home.stop_syncing();
        let name = space("n");
        let batch = Batch { commands: vec![set("a", "1")], atomic: false };
        let mut write = pin!(store.write(&name, batch));
        assert!(waits(&mut write).await);
        {
            let mut next = pin!(watching.next());
            assert!(waits(&mut next).await);
        }
        assert_eq!(watching.position(), before);
        let mut late = pin!(store.watch(&name, order(Start::Now)));
        assert!(waits(&mut late).await, "the version it would begin at is not safe yet");
        home.sync();
        assert!(write.await.unwrap().outcomes[0].is_ok());
        assert_eq!(watching.next().await.unwrap().version, before.next());
        assert_eq!(late.await.unwrap().position(), before.next());
    });
}

#[test]
fn a_namespace_that_is_only_written_to_lets_go_of_what_is_on_disk() {
    block_on(async {
        let home = Home::new();
        for n in 0..500 {
            one(home.store(), set(&format!("k{n}"), "x")).await;
        }
        let shared = home.store.0.shared.get().unwrap();
        let namespace = shared.registry.find(&space("default")).unwrap();
        let waiting = namespace.enter().unwrap().state.unsynced.len();
        assert!(waiting < 10, "{waiting} turns are still said to wait for the disk");
    });
}

//! When an answer may leave.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{Home, block_on};
use crate::model::{Durability, Policy};
use crate::store::conformance::{World, delete, key, make, one, one_in, set, space};
use crate::store::{Batch, Store, View};

impl Home {
    /// From now on the log is synced by hand only.
    fn stop_syncing(&self) {
        let shared = self.store.0.shared.get().unwrap();
        shared.commit.stop();
        let log_thread = self.store.0.threads.lock().remove(0);
        log_thread.join().unwrap();
    }

    fn sync(&self) {
        let shared = self.store.0.shared.get().unwrap();
        shared.log.sync().unwrap();
        shared.commit.wake_desks();
    }
}

/// Whether `future` is still waiting after everything else had its turn.
async fn waits<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
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

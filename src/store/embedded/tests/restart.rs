//! What is there after a start: after an orderly end, and after a kill.

use super::{Home, block_on, settings};
use crate::engine::ImageCursor;
use crate::model::{Bound, Durability, Policy, Version};
use crate::store::conformance::{
    World, delete, key, many_in, one, one_in, peek, set, set_for, space, ttl, value, value_in,
};
use crate::store::{Batch, Command, Error, Expiration, NamespaceSpec, Settings, Store, Usage};

async fn make(home: &Home, name: &str, durability: Durability) {
    let policy = Policy { durability: Some(durability), ..Policy::default() };
    crate::store::conformance::make(home.store(), name, policy).await;
}

async fn usage(home: &Home, name: &str) -> Usage {
    home.store().namespace(&space(name)).await.unwrap().usage
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    block_on(async {
        let home = Home::new();
        make(&home, "sync", Durability::Sync).await;
        make(&home, "async", Durability::Async).await;
        for n in 0..50 {
            for name in ["sync", "async"] {
                one_in(home.store(), name, set(&format!("k{n}"), &n.to_string())).await;
            }
            if n % 10 == 0 {
                let killed = home.killed();
                for name in ["sync", "async"] {
                    let (then, now) = (usage(&home, name).await, usage(&killed, name).await);
                    assert_eq!((now.keys, now.bytes), (then.keys, then.bytes), "{name}");
                    assert!(now.version >= then.version, "{name}");
                    let last = value_in(killed.store(), name, &format!("k{n}")).await;
                    assert_eq!(last, Some(n.to_string()));
                }
            }
        }
    });
}

#[test]
fn everything_is_there_after_an_orderly_end() {
    block_on(async {
        let home = Home::new();
        let labels = [("team".to_owned(), "a".to_owned())].into();
        let policy = Policy { keys_max: Some(Bound::Unlimited), ..Policy::default() };
        let spec = NamespaceSpec { description: "kept".to_owned(), labels, policy };
        let made = home.store().create_namespace(&space("n"), spec).await.unwrap();
        one_in(home.store(), "n", set_for("a", "1", Expiration::After(ttl(5000)))).await;
        one_in(home.store(), "n", set("b", "2")).await;
        one_in(home.store(), "n", delete("b")).await;
        home.store().persist(b"text").await.unwrap();
        let deadline = async |home: &Home| {
            let found = home.store().get(&space("n"), &key("a"), VIEW).await;
            found.unwrap().and_then(|entry| entry.deadline)
        };
        let before = (usage(&home, "n").await, deadline(&home).await);
        let home = home.restarted();
        assert_eq!((usage(&home, "n").await, deadline(&home).await), before);
        let info = home.store().namespace(&space("n")).await.unwrap();
        assert_eq!((info.definition, info.etag), (made.definition, made.etag));
        assert_eq!(home.store().persisted().as_deref(), Some(&b"text"[..]));
        assert_eq!(value_in(home.store(), "n", "b").await, None);
        home.advance(5000);
        assert_eq!(value_in(home.store(), "n", "a").await, None);
    });
}

const VIEW: crate::store::View = crate::store::View::Metadata;

#[test]
fn what_is_not_logged_is_gone_and_its_versions_are_not_given_again() {
    block_on(async {
        let mut home = Home::new();
        let mut highest = Version(0);
        make(&home, "m", Durability::Memory).await;
        for _ in 0..3 {
            assert_eq!(usage(&home, "m").await.keys, 0);
            one_in(home.store(), "m", set("a", "1")).await;
            let version = usage(&home, "m").await.version;
            assert!(version > highest, "{version:?} after {highest:?}");
            highest = version;
            let killed = home.killed();
            assert!(usage(&killed, "m").await.version >= highest);
            home = home.restarted();
        }
    });
}

#[test]
fn a_namespace_that_leaves_the_log_does_not_come_back_from_it() {
    block_on(async {
        let home = Home::new();
        let durability =
            |durability| move |spec: &mut NamespaceSpec| spec.policy.durability = Some(durability);
        let update = async |home: &Home, to| {
            let edit = durability(to);
            home.store().update_namespace(&space("n"), None, true, edit).await.unwrap();
        };
        many_in(home.store(), "n", vec![set("a", "1"), set("deleted", "1")]).await;
        update(&home, Durability::Memory).await;
        assert_eq!(
            value_in(home.store(), "n", "a").await.as_deref(),
            Some("1"),
            "as long as it runs"
        );
        one_in(home.store(), "n", set("a", "2")).await;
        assert_eq!(value_in(home.killed().store(), "n", "a").await, None);
        many_in(home.store(), "n", vec![set("b", "3"), delete("deleted")]).await;
        update(&home, Durability::Sync).await;
        let killed = home.killed();
        assert_eq!(value_in(killed.store(), "n", "deleted").await, None, "the log still has it");
        assert_eq!(value_in(killed.store(), "n", "a").await.as_deref(), Some("2"));
        assert_eq!(value_in(killed.store(), "n", "b").await.as_deref(), Some("3"));
        assert!(usage(&killed, "n").await.version >= usage(&home, "n").await.version);
    });
}

#[test]
fn what_was_dropped_cleared_or_evicted_stays_away() {
    block_on(async {
        let home = Home::new();
        for name in ["dropped", "cleared", "evicted"] {
            many_in(home.store(), name, vec![set("a", "1"), set("b", "2")]).await;
        }
        let before = usage(&home, "dropped").await.version;
        home.store().delete_namespace(&space("dropped"), true).await.unwrap();
        home.store().clear_namespace(&space("cleared")).await.unwrap();
        let one = Some(Bound::AtMost(std::num::NonZeroU64::MIN));
        let edit = |spec: &mut NamespaceSpec| spec.policy.keys_max = one;
        home.store().update_namespace(&space("evicted"), None, false, edit).await.unwrap();
        for home in [home.killed(), home.killed().restarted()] {
            let missing = home.store().namespace(&space("dropped")).await.unwrap_err();
            assert_eq!(missing, Error::NamespaceNotFound("dropped".to_owned()));
            assert_eq!(usage(&home, "cleared").await.keys, 0);
            assert_eq!(usage(&home, "evicted").await.keys, 1);
            assert_eq!(value_in(home.store(), "evicted", "b").await.as_deref(), Some("2"));
            one_in(home.store(), "dropped", set("a", "1")).await;
            assert!(usage(&home, "dropped").await.version > before);
        }
    });
}

#[test]
fn a_compaction_beside_writes_loses_nothing() {
    block_on(async {
        let home = Home::new();
        make(&home, "m", Durability::Memory).await;
        one_in(home.store(), "m", set("a", "1")).await;
        one_in(home.store(), "gone", set("a", "1")).await;
        home.store().delete_namespace(&space("gone"), true).await.unwrap();
        home.store().persist(b"text").await.unwrap();
        for round in 0..4 {
            let sets = (0..1000).map(|n| set(&format!("k{n}"), &format!("{round}"))).collect();
            many_in(home.store(), "default", sets).await;
            home.store().compact(false).await.unwrap();
            for n in (0..1000).step_by(7) {
                one(home.store(), set(&format!("k{n}"), &format!("{round} beside"))).await;
                one(home.store(), delete(&format!("k{}", n + 1))).await;
            }
            let compacted = home.store().compact(true).await.unwrap();
            assert!(!compacted.log.compaction_running);
            let killed = home.killed();
            assert_eq!(usage(&killed, "default").await, usage(&home, "default").await);
            assert_eq!(killed.store().persisted().as_deref(), Some(&b"text"[..]));
            for n in 0..1000 {
                let name = format!("k{n}");
                let (expected, found) = (peek(home.store(), &name), peek(killed.store(), &name));
                assert_eq!(found.await, expected.await, "{name} in round {round}");
            }
            assert!(usage(&killed, "m").await.version >= usage(&home, "m").await.version);
        }
    });
}

#[test]
fn the_clock_does_not_fall_behind_the_log() {
    block_on(async {
        let home = Home::new();
        one(home.store(), set_for("a", "1", Expiration::After(ttl(1000)))).await;
        home.advance(10_000);
        one(home.store(), set("b", "2")).await;
        let Home { store, dir, clock } = home;
        store.close().unwrap();
        drop(store);
        let home = Home::open(dir, settings(), super::NOW);
        assert_eq!(value(home.store(), "a").await, None, "a clock set back resurrects nothing");
        assert!(home.clock.now() >= clock.now());
    });
}

#[test]
fn a_closed_store_answers_that_it_is_closed() {
    block_on(async {
        let home = Home::with(Settings { read_only: false, ..settings() });
        one(home.store(), set("a", "1")).await;
        home.store().close().unwrap();
        home.store().close().unwrap();
        let error = home.store().namespace(&space("default")).await.unwrap_err();
        assert_eq!(error, Error::Stopped);
    });
}

#[test]
fn a_log_that_is_mostly_obsolete_is_compacted_unasked() {
    block_on(async {
        let home = Home::with(Settings { wal_records_max: 200, ..settings() });
        for n in 0..300 {
            one(home.store(), set(&format!("k{}", n % 10), "x")).await;
        }
        let shared = home.store.0.shared.get().unwrap();
        home.keep();
        shared.compactor.join();
        let log = home.store().stats().await.unwrap().log;
        assert!(log.last_compaction.is_some() && log.records < 200, "{log:?}");
        assert_eq!(usage(&home.killed(), "default").await.keys, 10);
    });
}

#[test]
fn a_touch_waits_until_its_entry_is_in_the_log() {
    block_on(async {
        let home = Home::new();
        one(home.store(), set("a", "1")).await;
        let shared = home.store.0.shared.get().unwrap();
        shared.keeper.stop();
        home.store.0.threads.lock().remove(1).join().unwrap();
        let namespace = shared.registry.find(&space("default")).unwrap();
        namespace.enter().unwrap().state.imaging = Some(ImageCursor::default());
        let touch = || Command::Touch {
            key: key("a"),
            expiration: Expiration::Never,
            condition: None,
            view: VIEW,
        };
        let batch = Batch { commands: vec![touch()], atomic: false };
        let error = home.store().write(&space("default"), batch).await.unwrap_err();
        assert!(matches!(error, Error::Overloaded { .. }), "{error:?}");
        home.keep();
        one(home.store(), touch()).await;
    });
}

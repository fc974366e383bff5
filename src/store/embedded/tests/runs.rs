//! When the answers of a run may leave, and what of it the log has.

use std::pin::pin;

use super::commit::waits;
use super::{Home, block_on};
use crate::model::{Durability, Policy};
use crate::store::conformance::{World, delete, key, make, one, one_in, set, space, value};
use crate::store::{Answer, Batch, Command, Error, Expiration, Operation, Step, Store, View};

fn get(namespace: &str, name: &str) -> Step {
    Step::new(space(namespace), Operation::Get { key: key(name), view: View::Full })
}

fn write(namespace: &str, command: Command) -> Step {
    Step::new(space(namespace), Operation::Write(command))
}

fn touch(name: &str) -> Command {
    let (expiration, view) = (Expiration::Never, View::Metadata);
    Command::Touch { key: key(name), expiration, condition: None, view }
}

fn records(home: &Home) -> u64 {
    home.store.0.shared.get().unwrap().log_info().records
}

#[test]
fn a_run_is_answered_once_all_of_it_is_on_disk() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "m", Policy { durability: Some(Durability::Memory), ..Policy::default() })
            .await;
        one(store, set("old", "1")).await;
        one_in(store, "m", set("a", "0")).await;
        home.stop_syncing();
        let mut steps = vec![
            get("default", "old"),
            write("m", set("a", "1")),
            write("default", set("new", "2")),
            get("default", "new"),
        ];
        let mut run = pin!(store.run(&mut steps));
        assert!(waits(&mut run).await);
        home.sync();
        let answers = run.await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        // What waits for nothing does not wait.
        let mut steps = vec![write("m", set("a", "2")), get("m", "a"), get("default", "new")];
        assert_eq!(store.run(&mut steps).await.len(), 3);
    });
}

#[test]
fn an_unanswered_run_does_not_tell_what_a_power_failure_could_undo() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one(store, set("a", "1")).await;
        home.stop_syncing();
        let name = space("default");
        let batch = Batch { commands: vec![set("a", "2"), delete("gone")], atomic: false };
        let mut write = pin!(store.write(&name, batch));
        assert!(waits(&mut write).await);
        let mut steps = vec![get("default", "a")];
        let mut run = pin!(store.run(&mut steps));
        assert!(waits(&mut run).await, "somebody else's write is not on disk yet");
        home.sync();
        assert!(matches!(&run.await[..], [Ok(Answer::Get(Some(entry)))] if entry.value == "2"));
        write.await.unwrap();
    });
}

#[test]
fn writes_that_follow_each_other_are_one_record_and_survive_as_one() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one(store, set("first", "0")).await;
        let before = records(&home);
        let mut steps: Vec<Step> =
            (0..100).map(|n| write("default", set(&format!("k{n}"), "x"))).collect();
        steps.insert(50, get("default", "first"));
        steps.push(write("other", set("a", "1")));
        let answers = store.run(&mut steps).await;
        assert!(answers.iter().all(Result::is_ok));
        // Two on either side of the read, one that makes the namespace, one in it, and what reserves
        // its versions.
        assert!((4..=5).contains(&(records(&home) - before)), "{}", records(&home) - before);
        let after = home.killed();
        assert_eq!(after.store().count(&space("default"), "k").await.unwrap(), 100);
        assert_eq!(value(after.store(), "first").await.as_deref(), Some("0"));
    });
}

#[test]
fn a_run_that_is_dropped_while_it_waits_was_done_whole() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one(store, set("first", "0")).await;
        home.stop_syncing();
        {
            let mut steps: Vec<Step> =
                (0..10).map(|n| write("default", set(&format!("k{n}"), "x"))).collect();
            let mut run = pin!(store.run(&mut steps));
            assert!(waits(&mut run).await);
        }
        home.sync();
        assert_eq!(store.count(&space("default"), "k").await.unwrap(), 10);
    });
}

#[test]
fn a_touch_that_has_to_wait_holds_nobody_else_up() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "n", Policy { durability: Some(Durability::Memory), ..Policy::default() })
            .await;
        one_in(store, "n", set("a", "1")).await;
        // Enough that it is not logged in one go.
        for n in 0..200 {
            one_in(store, "n", set(&format!("k{n}"), &"x".repeat(4096))).await;
        }
        let durability = Some(Durability::Sync);
        let edit = |spec: &mut crate::store::NamespaceSpec| spec.policy.durability = durability;
        let name = space("n");
        let mut update = pin!(store.update_namespace(&name, None, false, edit));
        // It has begun, and waits between two slices.
        let begun = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(update.as_mut().poll(cx).is_pending())
        });
        assert!(begun.await);
        let mut steps = vec![
            write("n", set("b", "1")),
            write("n", touch("a")),
            write("n", set("c", "1")),
            get("n", "c"),
        ];
        let answers = store.run(&mut steps).await;
        assert!(matches!(answers[1], Err(Error::Overloaded { .. })), "{answers:?}");
        assert!(matches!(answers[0], Ok(Answer::Write(Ok(_)))), "{answers:?}");
        assert!(matches!(answers[2], Ok(Answer::Write(Ok(_)))), "{answers:?}");
        assert!(matches!(answers[3], Ok(Answer::Get(Some(_)))), "{answers:?}");
        update.await.unwrap();
    });
}

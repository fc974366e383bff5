//! Compare and set, and counters.

use std::collections::HashSet;

use super::{World, add, delete, key, many_in, one, peek, set, set_if, space, value};
use crate::model::Version;
use crate::store::{Batch, Command, Condition, Expiration, Outcome, Refusal, Store};

pub(crate) async fn conditions_rule_over_sets_and_deletes(world: &impl World) {
    let store = world.store();
    let holds = async |condition| one(store, set_if("a", "x", Some(condition))).await.holds();
    assert!(!holds(Condition::Present).await);
    assert!(!holds(Condition::Version(Version(1))).await, "there is nothing to have a version");
    assert!(holds(Condition::Absent).await);
    assert!(!holds(Condition::Absent).await);
    assert!(holds(Condition::Present).await);
    let current = peek(store, "a").await.unwrap().version;
    let unmet =
        one(store, set_if("a", "y", Some(Condition::Version(Version(u64::MAX >> 8))))).await;
    let Outcome::Set { applied: false, entry: Some(entry), .. } = unmet else {
        panic!("the entry that stands in the way is shown: {unmet:?}");
    };
    assert_eq!(entry.version, current);
    let delete = |condition| Command::Delete {
        key: key("a"),
        condition: Some(condition),
        return_previous: false,
    };
    assert!(!one(store, delete(Condition::Version(Version(current.0 + 1)))).await.holds());
    assert!(one(store, delete(Condition::Version(current))).await.holds());
    assert_eq!(value(store, "a").await, None);
}

pub(crate) async fn fifty_tasks_that_compare_and_set_lose_no_update(world: &impl World) {
    let store = world.store();
    one(store, set("n", "0")).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    let entry = store.get(&space("default"), &key("n"), super::View::Full).await;
                    let entry = entry.unwrap().unwrap();
                    // Lets the others in between.
                    tokio::task::yield_now().await;
                    let number: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                    let condition = Some(Condition::Version(entry.version));
                    let next = set_if("n", &(number + 1).to_string(), condition);
                    if one(&store, next).await.holds() {
                        return;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(store, "n").await.as_deref(), Some("50"));
}

pub(crate) async fn a_version_never_comes_back(world: &impl World) {
    let store = world.store();
    let mut seen = HashSet::new();
    for _ in 0..20 {
        one(store, set("a", "x")).await;
        assert!(seen.insert(peek(store, "a").await.unwrap().version));
        one(store, delete("a")).await;
    }
}

pub(crate) async fn a_counter_begins_and_goes_on(world: &impl World) {
    let store = world.store();
    let Outcome::Increment { value: 5, applied: true, created: true, .. } =
        one(store, add("n", 5)).await
    else {
        panic!("it begins with what is added to zero");
    };
    let Outcome::Increment { value: 2, created: false, .. } = one(store, add("n", -3)).await else {
        panic!("it goes on from there");
    };
    assert_eq!(value(store, "n").await.as_deref(), Some("2"), "it is decimal text");
}

pub(crate) async fn a_counter_keeps_its_bounds(world: &impl World) {
    let store = world.store();
    let bounded = |delta| Command::Increment {
        key: key("n"),
        delta,
        initial: 8,
        lower_bound: Some(0),
        upper_bound: Some(10),
        expiration: Expiration::Default,
        refresh_expiration: false,
    };
    for (delta, expected, held) in [(2, 10, true), (1, 10, false), (-11, 10, false), (-10, 0, true)]
    {
        let outcome = one(store, bounded(delta)).await;
        let Outcome::Increment { value, applied, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((value, applied), (expected, held), "{delta}");
    }
}

pub(crate) async fn a_counter_refuses_what_is_no_number_or_does_not_fit(world: &impl World) {
    let store = world.store();
    let largest = i64::MAX.to_string();
    many_in(store, "default", vec![set("word", "12a"), set("large", &largest)]).await;
    let commands = vec![add("word", 1), add("large", 1), add("large", -1)];
    let batch = Batch { commands, atomic: false };
    let outcomes = store.write(&space("default"), batch).await.unwrap().outcomes;
    assert_eq!(outcomes[0], Err(Refusal::ValueNotInteger));
    assert_eq!(outcomes[1], Err(Refusal::CounterOverflow));
    assert!(outcomes[2].is_ok(), "what does not fit has changed nothing");
    assert_eq!(value(store, "word").await.as_deref(), Some("12a"));
}

pub(crate) async fn many_tasks_count_exactly(world: &impl World) {
    let store = world.store();
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(count(store.clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(store, "n").await.as_deref(), Some("6400"));
}

async fn count(store: impl Store) {
    for _ in 0..100 {
        one(&store, add("n", 1)).await;
    }
}

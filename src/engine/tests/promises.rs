//! Single promises, one by one.

use super::*;
use crate::engine::{Outcome, Quota, Reading, Refusal, Scan};
use crate::model::{Cause, Change, Eviction, Mutation, Rules, Ttl, Version};

fn lru(keys_max: u64) -> Engine {
    Engine::new(Rules { keys_max: Some(keys_max), ..Rules::default() })
}

#[test]
fn what_was_set_is_read_and_what_was_deleted_is_not() {
    let mut engine = Engine::new(Rules::default());
    run(&mut engine, &[set("a", b"1"), set("b", b"2")], false);
    assert_eq!(value(&mut engine, "a").as_deref(), Some(&b"1"[..]));
    let delete = Command::Delete { key: key("a"), condition: None, return_previous: true };
    let decided = run(&mut engine, &[delete], false).outcomes.remove(0).unwrap();
    let Outcome::Delete { deleted: true, entry: None, previous: Some(previous) } = decided else {
        panic!("{decided:?}");
    };
    assert_eq!(&*previous.value, b"1");
    assert_eq!(value(&mut engine, "a"), None);
    assert_eq!(engine.usage().keys, 1);
    assert_eq!(engine.version(), Version(3));
}

#[test]
fn the_least_recently_used_entry_goes_and_goes_first() {
    let mut engine = lru(2);
    run(&mut engine, &[set("a", b"1"), set("b", b"2")], false);
    assert!(value(&mut engine, "a").is_some());
    let commands = [set("c", b"3")];
    let decision = run(&mut engine, &commands, false);
    let first = &decision.mutations[0];
    let expected = Change::Remove { key: "b".into(), cause: Cause::Evicted };
    assert_eq!((first.version, &first.change), (Version(3), &expected));
    assert_eq!(decision.mutations[1].version, Version(4));
    assert_eq!(value(&mut engine, "b"), None);
    assert!(value(&mut engine, "a").is_some());
}

#[test]
fn an_atomic_batch_does_not_evict_its_own_writes() {
    let mut engine = lru(2);
    run(&mut engine, &[set("old", b"")], false);
    let commands = [set("a", b""), set("b", b""), set("c", b"")];
    let decision = run(&mut engine, &commands, true);
    let full = Refusal::QuotaExceeded { quota: Quota::Keys, limit: 2 };
    assert_eq!(decision.outcomes[2], Err(full));
    assert!(!decision.committed && decision.mutations.is_empty());
    assert!(value(&mut engine, "old").is_some());
    let decision = run(&mut engine, &commands, false);
    assert_eq!(decision.mutations.len(), 5, "two go, the second one of the batch itself");
    assert!(value(&mut engine, "a").is_none());
    assert_eq!(engine.usage().keys, 2);
}

#[test]
fn a_full_namespace_that_does_not_evict_refuses_until_something_expires() {
    let rules = Rules { keys_max: Some(1), eviction: Eviction::None, ..Rules::default() };
    let mut engine = Engine::new(rules);
    let mortal = Command::Set {
        key: key("a"),
        value: Bytes::new(),
        expiration: Expiration::After(Ttl::from_millis(1000).unwrap()),
        condition: None,
        return_previous: false,
    };
    run(&mut engine, &[mortal], false);
    let commands = [set("b", b"")];
    let refused = Err(Refusal::QuotaExceeded { quota: Quota::Keys, limit: 1 });
    assert_eq!(run(&mut engine, &commands, false).outcomes[0], refused);
    let later = UnixMillis::from_millis(NOW.as_millis() + 1000);
    let decision = engine.decide(&commands, false, later, u64::MAX);
    assert!(decision.outcomes[0].is_ok(), "the expired entry was not swept, but makes room");
    let expected = Change::Remove { key: "a".into(), cause: Cause::Expired };
    assert_eq!(decision.mutations[0].change, expected);
}

#[test]
fn the_process_is_full_where_nothing_can_be_given() {
    let mut engine = Engine::new(Rules::default());
    let commands = [set("a", b"123")];
    let decision = engine.decide(&commands, false, NOW, 10);
    assert_eq!(decision.outcomes[0], Err(Refusal::MemoryExhausted));
    run(&mut engine, &[set("old", b"12345678901234567890")], false);
    let decision = engine.decide(&commands, false, NOW, 10);
    assert_eq!(decision.mutations.len(), 2, "the old entry is evicted for it");
}

#[test]
fn clearing_takes_everything_and_hands_the_memory_out() {
    let mut engine = Engine::new(Rules::default());
    run(&mut engine, &[set("a", b"1"), set("b", b"2")], false);
    engine.index_step(10);
    assert!(engine.index_ready() && engine.take_garbage().is_none());
    engine.apply(&Mutation { version: Version(3), change: Change::Clear });
    assert_eq!((engine.usage().keys, engine.usage().bytes), (0, 0));
    assert!(engine.take_garbage().is_some() && engine.take_garbage().is_none());
    assert!(engine.index_ready());
    run(&mut engine, &[set("c", b"3")], false);
    let scan = Scan {
        prefix: String::new(),
        start_after: None,
        entries_max: 10,
        bytes_max: 1000,
        view: View::Key,
        reading: Reading::Use,
    };
    let (found, more) = engine.scan(&scan, NOW);
    assert_eq!((found.len(), found[0].0.as_str(), more), (1, "c", false));
}

#[test]
fn a_counter_counts_within_its_bounds() {
    let mut engine = Engine::new(Rules::default());
    let mut check =
        |delta: i64, upper_bound: Option<i64>, expected: Result<(i64, bool), Refusal>| {
            let command = Command::Increment {
                key: key("n"),
                delta,
                initial: 10,
                lower_bound: Some(0),
                upper_bound,
                expiration: Expiration::Default,
                refresh_expiration: false,
            };
            let commands = [command];
            let outcome = run(&mut engine, &commands, false).outcomes.remove(0);
            let got = outcome.map(|outcome| match outcome {
                Outcome::Increment { value, applied, .. } => (value, applied),
                Outcome::Set { .. }
                | Outcome::Delete { .. }
                | Outcome::Touch { .. }
                | Outcome::Check { .. } => panic!("{outcome:?}"),
            });
            assert_eq!(got, expected);
        };
    check(0, None, Ok((10, true)));
    check(-11, None, Ok((10, false)));
    check(5, None, Ok((15, true)));
    check(-15, None, Ok((0, true)));
    check(i64::MAX, None, Ok((i64::MAX, true)));
    check(1, None, Err(Refusal::CounterOverflow));
    check(1, Some(i64::MAX), Ok((i64::MAX, false)));
    run(&mut engine, &[set("n", b"1.5")], false);
    let command = Command::Increment {
        key: key("n"),
        delta: 0,
        initial: 0,
        lower_bound: None,
        upper_bound: None,
        expiration: Expiration::Default,
        refresh_expiration: false,
    };
    let commands = [command];
    let outcome = run(&mut engine, &commands, false).outcomes.remove(0);
    assert_eq!(outcome, Err(Refusal::ValueNotInteger));
}

#[test]
fn a_fact_that_is_not_newer_than_what_stands_changes_nothing() {
    let mut engine = Engine::new(Rules::default());
    let fact = |version, change| Mutation { version: Version(version), change };
    let written = |value: &'static [u8]| Change::Set {
        key: "a".into(),
        value: value.into(),
        deadline: None,
        written: NOW,
    };
    engine.apply(&fact(5, written(b"new")));
    let remove = Change::Remove { key: "a".into(), cause: Cause::Deleted };
    let touch = Change::Touch { key: "a".into(), deadline: Some(NOW) };
    for version in [4, 5] {
        engine.apply(&fact(version, written(b"old")));
        engine.apply(&fact(version, touch.clone()));
        engine.apply(&fact(version, remove.clone()));
        engine.apply(&fact(version, Change::Clear));
    }
    assert_eq!(value(&mut engine, "a").as_deref(), Some(&b"new"[..]));
    assert_eq!((engine.version(), engine.counters().sets), (Version(5), 1));
    engine.apply(&fact(6, remove));
    assert_eq!((value(&mut engine, "a"), engine.version()), (None, Version(6)));
}

#[test]
fn a_read_of_many_stops_where_values_become_too_many_and_counts_what_it_read() {
    let mut engine = Engine::new(Rules::default());
    run(&mut engine, &[set("a", &[b'a'; 60]), set("b", &[b'b'; 60]), set("c", b"c")], false);
    let ask = |engine: &mut Engine, view, bytes_max| {
        let keys = ["none", "a", "b", "c"].into_iter().map(|key| (key, view));
        engine.get_many(keys, NOW, bytes_max)
    };
    let found = ask(&mut engine, View::Value, 119);
    assert_eq!((found.len(), found.values_bytes()), (2, 60));
    let counters = engine.counters();
    assert_eq!((counters.hits, counters.misses), (1, 1));
    assert_eq!(ask(&mut engine, View::Value, 120).len(), 3);
    assert_eq!(ask(&mut engine, View::Value, 121).len(), 4);
    assert_eq!(ask(&mut engine, View::Value, 1).len(), 2, "the first value may be larger");
    assert_eq!(ask(&mut engine, View::Metadata, 1).len(), 4, "no values, no limit");
}

/// Keys of which two have the same hash: so many of 32 bits hold several such pairs.
fn of_one_hash(engine: &Engine) -> [String; 2] {
    let mut seen = std::collections::HashMap::new();
    let mut keys = (0..).map(|number| format!("key-{number}"));
    let pair = keys.find_map(|key| {
        let hash = engine.entries.hash(key.as_bytes());
        let other = seen.insert(hash, key.clone())?;
        Some([other, key])
    });
    pair.unwrap()
}

#[test]
fn keys_of_one_hash_are_kept_apart() {
    let mut engine = Engine::new(Rules::default());
    let [a, b] = of_one_hash(&engine);
    let read = |engine: &mut Engine| {
        let keys = [&a, &b, &a].into_iter().map(|key| (key.as_str(), View::Value));
        let found = engine.get_many(keys, NOW, usize::MAX);
        let many: Vec<_> = found.iter().map(|seen| seen.map(|seen| seen.value.to_vec())).collect();
        let one = [&a, &b, &a].map(|key| value(engine, key).map(Vec::from));
        assert_eq!(many, one);
        many
    };
    let (of_a, of_b) = (Some(b"1".to_vec()), Some(b"2".to_vec()));
    run(&mut engine, &[set(&a, b"1")], false);
    assert_eq!(read(&mut engine), [of_a.clone(), None, of_a.clone()]);
    run(&mut engine, &[set(&b, b"2")], false);
    assert_eq!(read(&mut engine), [of_a.clone(), of_b.clone(), of_a]);
    let delete = Command::Delete { key: key(&a), condition: None, return_previous: false };
    run(&mut engine, &[delete], false);
    assert_eq!(read(&mut engine), [None, of_b, None]);
}

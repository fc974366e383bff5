//! Reading and writing.

use bytes::Bytes;

use super::{World, delete, key, many_in, one, peek, set, set_if, space, value};
use crate::model::{KEY_BYTES_MAX, Keys, VALUE_BYTES_DEFAULT_MAX};
use crate::store::{
    Batch, Command, Condition, Error, Expiration, Outcome, Refusal, Store, VALUES_BYTES_MAX, View,
};

pub(crate) async fn what_was_written_is_read(world: &impl World) {
    let store = world.store();
    assert_eq!(value(store, "a").await, None);
    one(store, set("a", "1")).await;
    assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    let gone = one(store, delete("a")).await;
    assert_eq!(gone, Outcome::Delete { deleted: true, entry: None, previous: None });
    assert_eq!(value(store, "a").await, None);
    let again = one(store, delete("a")).await;
    assert_eq!(again, Outcome::Delete { deleted: false, entry: None, previous: None });
}

pub(crate) async fn an_overwrite_takes_another_version(world: &impl World) {
    let store = world.store();
    let mut versions = Vec::new();
    for text in ["1", "2", "2"] {
        one(store, set("a", text)).await;
        versions.push(peek(store, "a").await.unwrap().version);
    }
    versions.dedup();
    assert_eq!(versions.len(), 3, "the same value written again is a change, too");
}

pub(crate) async fn keys_and_values_of_any_content_come_back(world: &impl World) {
    let store = world.store();
    let longest = "k".repeat(KEY_BYTES_MAX);
    let values = [vec![], vec![0, 255, 10, 13], vec![7; VALUE_BYTES_DEFAULT_MAX]];
    for name in ["}{*?[\\\0\r\n", "ü/../%2f", " ", &longest] {
        for bytes in &values {
            let value = Bytes::copy_from_slice(bytes);
            let command = Command::Set {
                key: key(name),
                value: value.clone(),
                expiration: Expiration::Never,
                condition: None,
                return_previous: false,
            };
            one(store, command).await;
            let found = store.get(&space("default"), &key(name), View::Full).await.unwrap();
            let found = found.unwrap();
            assert_eq!((found.value_bytes as usize, &found.value), (bytes.len(), &value));
        }
    }
}

pub(crate) async fn many_keys_are_answered_in_their_order(world: &impl World) {
    let store = world.store();
    let sets = (0..500).map(|n| set(&format!("k{}", 2 * n), &format!("v{}", 2 * n)));
    many_in(store, "default", sets.collect()).await;
    let keys: Keys = (0..1001).rev().map(|n| key(&format!("k{n}"))).collect();
    let found = store.get_many(&space("default"), &keys, View::Value).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (key, entry) in keys.iter().zip(found.iter()) {
        let number: usize = key[1..].parse().unwrap();
        let expected = (number.is_multiple_of(2) && number < 1000).then(|| format!("v{number}"));
        let value = entry.map(|entry| entry.value);
        assert_eq!(value, expected.as_deref().map(str::as_bytes), "{number}");
    }
}

pub(crate) async fn values_beyond_one_answer_are_not_gathered(world: &impl World) {
    let store = world.store();
    let name = space("default");
    let value = "x".repeat(VALUES_BYTES_MAX / 8);
    one(store, set("a", &value)).await;
    let keys = |count| std::iter::repeat_n(key("a"), count).collect::<Keys>();
    let most = store.get_many(&name, &keys(8), View::Full).await.unwrap();
    assert_eq!((most.len(), most.values_bytes()), (8, VALUES_BYTES_MAX));
    let error = store.get_many(&name, &keys(9), View::Full).await.unwrap_err();
    assert_eq!(error, Error::TooMuch { limit_bytes: VALUES_BYTES_MAX });
    let described = store.get_many(&name, &keys(9), View::Metadata).await.unwrap();
    assert_eq!(described.len(), 9, "what has no values is not too much");
}

pub(crate) async fn a_batch_is_ruled_upon_in_order(world: &impl World) {
    let store = world.store();
    let commands = vec![
        set("a", "1"),
        set_if("a", "2", Some(Condition::Absent)),
        delete("a"),
        set_if("a", "3", Some(Condition::Absent)),
    ];
    let applied = |outcome: &Outcome| outcome.holds();
    let outcomes = many_in(store, "default", commands).await;
    assert_eq!(outcomes.iter().map(applied).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(value(store, "a").await.as_deref(), Some("3"));
}

pub(crate) async fn a_bad_command_does_not_spoil_the_others(world: &impl World) {
    let store = world.store();
    one(store, set("word", "no number")).await;
    let commands = vec![set("a", "1"), super::add("word", 1), set("b", "2")];
    let batch = Batch { commands, atomic: false };
    let written = store.write(&space("default"), batch).await.unwrap();
    assert!(written.committed);
    assert_eq!(written.outcomes[1], Err(Refusal::ValueNotInteger));
    assert_eq!(value(store, "b").await.as_deref(), Some("2"));
}

pub(crate) async fn an_atomic_batch_is_all_or_nothing(world: &impl World) {
    let store = world.store();
    one(store, set("word", "no number")).await;
    let version = peek(store, "word").await.unwrap().version;
    let unmet = vec![set("a", "1"), set_if("b", "2", Some(Condition::Present))];
    let batch = Batch { commands: unmet, atomic: true };
    let written = store.write(&space("default"), batch).await.unwrap();
    assert!(!written.committed && !written.outcomes[1].as_ref().unwrap().holds());
    let refused = vec![set("a", "1"), super::add("word", 1)];
    let batch = Batch { commands: refused, atomic: true };
    let error = store.write(&space("default"), batch).await.unwrap_err();
    assert_eq!(error, Error::Refused { index: 1, refusal: Refusal::ValueNotInteger });
    assert_eq!(value(store, "a").await, None);
    let good = vec![
        Command::Check { key: key("word"), condition: Condition::Version(version) },
        set("a", "1"),
        set("b", "2"),
    ];
    let batch = Batch { commands: good, atomic: true };
    assert!(store.write(&space("default"), batch).await.unwrap().committed);
    assert_eq!(value(store, "b").await.as_deref(), Some("2"));
}

pub(crate) async fn an_empty_batch_changes_nothing(world: &impl World) {
    let store = world.store();
    for atomic in [false, true] {
        let batch = Batch { commands: vec![], atomic };
        let written = store.write(&space("default"), batch).await.unwrap();
        assert!(written.committed && written.outcomes.is_empty());
    }
}

pub(crate) async fn previous_entries_come_back_when_asked_for(world: &impl World) {
    let store = world.store();
    one(store, set("a", "1")).await;
    let replace = Command::Set {
        key: key("a"),
        value: Bytes::from_static(b"2"),
        expiration: Expiration::Default,
        condition: None,
        return_previous: true,
    };
    let Outcome::Set { previous: Some(previous), .. } = one(store, replace).await else {
        panic!("the replaced entry was asked for");
    };
    assert_eq!(previous.value, "1");
    let take = Command::Delete { key: key("a"), condition: None, return_previous: true };
    let Outcome::Delete { previous: Some(previous), .. } = one(store, take).await else {
        panic!("the deleted entry was asked for");
    };
    assert_eq!(previous.value, "2");
}

//! What of an entry goes out, by view; and what is left out when an answer grows too large.

use bytes::Bytes;

use super::*;
use crate::model::Version;
use crate::service::RESPONSE_BYTES_MAX;
use crate::store::{Condition, Expiration, Quota};

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_500);

fn now() -> UnixMillis {
    NOW
}

fn key(text: &str) -> Key {
    Key::parse(text.to_owned()).unwrap()
}

/// An entry of five bytes that expires 2.25 s from now.
fn stored() -> Entry {
    Entry {
        value: Bytes::from_static(b"value"),
        value_bytes: 5,
        version: Version(7),
        deadline: Some(UnixMillis::from_millis(NOW.as_millis() + 2250)),
        written: UnixMillis::from_millis(1_600_000_000_001),
    }
}

fn described() -> wire::Entry {
    wire::Entry {
        key: "k".into(),
        value: Bytes::new(),
        version: 7,
        expire_time: Some(Timestamp { seconds: 1_700_000_002, nanos: 750_000_000 }),
        ttl: Some(WireDuration { seconds: 2, nanos: 250_000_000 }),
        update_time: Some(Timestamp { seconds: 1_600_000_000, nanos: 1_000_000 }),
        size_bytes: 5,
    }
}

#[test]
fn a_view_shows_what_the_schema_says_and_nothing_else() {
    let value = Bytes::from_static(b"value");
    let check = |view, expected| assert_eq!(entry(key("k"), stored(), view, now), expected);
    check(View::Key, wire::Entry { key: "k".into(), ..wire::Entry::default() });
    check(View::Metadata, described());
    check(View::Full, wire::Entry { value: value.clone(), ..described() });
    check(View::Value, wire::Entry { value, version: 7, ..wire::Entry::default() });
}

#[test]
fn a_value_is_handed_on_without_a_copy() {
    let stored = stored();
    let bytes = stored.value.as_ptr();
    assert_eq!(entry(key("k"), stored, View::Value, now).value.as_ptr(), bytes);
}

#[test]
fn an_entry_that_does_not_expire_has_no_deadline_and_asks_no_clock() {
    let stored = Entry { deadline: None, ..stored() };
    let message = entry(key("k"), stored, View::Full, || unreachable!("no deadline, no clock"));
    assert_eq!((message.expire_time, message.ttl), (None, None));
}

#[test]
fn what_is_left_of_a_deadline_that_has_passed_is_nothing() {
    let past = Entry { deadline: Some(UnixMillis::from_millis(5)), ..stored() };
    assert_eq!(entry(key("k"), past, View::Metadata, now).ttl, Some(WireDuration::default()));
}

fn set(return_previous: bool) -> Command {
    let (expiration, condition) = (Expiration::Default, None);
    Command::Set { key: key("k"), value: Bytes::new(), expiration, condition, return_previous }
}

#[test]
fn each_outcome_becomes_the_result_of_its_kind() {
    use wire::write_result::Result;
    let bare = || Entry { value: Bytes::new(), ..stored() };
    let full = wire::Entry { value: Bytes::from_static(b"value"), ..described() };

    let previous = Some(stored());
    let done = Outcome::Set { applied: true, entry: Some(bare()), previous };
    let (entry, previous) = (Some(described()), Some(full.clone()));
    let expected = wire::SetResponse { applied: true, entry, previous };
    assert_eq!(outcome(set(true), done, now), Result::Set(expected));

    let command = Command::Delete { key: key("k"), condition: None, return_previous: true };
    let done = Outcome::Delete { deleted: true, entry: None, previous: Some(stored()) };
    let expected =
        wire::DeleteResponse { deleted: true, entry: None, previous: Some(full.clone()) };
    assert_eq!(outcome(command, done, now), Result::Delete(expected));

    let (expiration, condition) = (Expiration::Default, None);
    let command = Command::Touch { key: key("k"), expiration, condition, view: View::Full };
    let done = Outcome::Touch { applied: true, entry: Some(stored()) };
    let expected = wire::TouchResponse { applied: true, entry: Some(full) };
    assert_eq!(outcome(command, done, now), Result::Touch(expected));

    let command = Command::Increment {
        key: key("k"),
        delta: 1,
        initial: 0,
        lower_bound: None,
        upper_bound: None,
        expiration: Expiration::Default,
        refresh_expiration: false,
    };
    let done =
        Outcome::Increment { value: -3, applied: false, created: false, entry: Some(bare()) };
    let entry = Some(described());
    let expected = wire::IncrementResponse { value: -3, applied: false, created: false, entry };
    assert_eq!(outcome(command, done, now), Result::Increment(expected));

    let command = Command::Check { key: key("k"), condition: Condition::Present };
    let done = Outcome::Check { held: false, entry: None };
    let expected = wire::CheckResult { held: false, entry: None };
    assert_eq!(outcome(command, done, now), Result::Check(expected));
}

#[test]
fn a_refused_step_of_a_batch_is_an_error_in_its_place() {
    let full = Refusal::QuotaExceeded { quota: Quota::Keys, limit: 1 };
    let result = write_result(set(false), Err(full), "acme", now).result;
    let Some(wire::write_result::Result::Error(error)) = result else { panic!("{result:?}") };
    assert_eq!(error.code, tonic::Code::ResourceExhausted as i32);
}

fn replaced(key: &str, value_bytes: usize) -> wire::WriteResult {
    let entry = |value: Bytes| wire::Entry {
        key: key.to_owned(),
        size_bytes: int64(value.len() as u64),
        value,
        ..wire::Entry::default()
    };
    let set = wire::SetResponse {
        applied: true,
        entry: Some(entry(Bytes::new())),
        previous: Some(entry(vec![b'v'; value_bytes].into())),
    };
    wire::WriteResult { result: Some(wire::write_result::Result::Set(set)) }
}

fn previous(result: &wire::WriteResult) -> &wire::Entry {
    let Some(wire::write_result::Result::Set(set)) = &result.result else {
        panic!("another outcome")
    };
    set.previous.as_ref().unwrap()
}

#[test]
fn values_that_do_not_fit_an_answer_are_left_out_from_the_end() {
    let results = [1 << 20, 2 << 20, 3 << 20, 10].map(|bytes| replaced("k", bytes)).to_vec();
    let mut response = wire::BatchWriteResponse { committed: true, results };
    fit(&mut response, RESPONSE_BYTES_MAX);
    assert!(response.encoded_len() <= RESPONSE_BYTES_MAX);
    let kept: Vec<usize> = response.results.iter().map(|r| previous(r).value.len()).collect();
    assert_eq!(kept, [1 << 20, 2 << 20, 0, 0]);
    let sizes: Vec<i64> = response.results.iter().map(|r| previous(r).size_bytes).collect();
    assert_eq!(sizes, [1 << 20, 2 << 20, 3 << 20, 10], "the size tells that there was a value");
}

#[test]
fn an_answer_that_fits_is_left_alone() {
    let results = vec![replaced("k", 1 << 20), replaced("l", 1 << 20)];
    let mut response = wire::BatchWriteResponse { committed: true, results };
    let before = response.clone();
    fit(&mut response, RESPONSE_BYTES_MAX);
    assert_eq!(response, before);
}

#[test]
fn a_thousand_longest_keys_and_what_they_replaced_fit_an_answer() {
    let long = "k".repeat(crate::model::KEY_BYTES_MAX);
    let results = (0..crate::service::BATCH_ITEMS_MAX).map(|_| replaced(&long, 1)).collect();
    let mut response = wire::BatchWriteResponse { committed: true, results };
    assert!(response.encoded_len() > RESPONSE_BYTES_MAX);
    fit(&mut response, RESPONSE_BYTES_MAX);
    assert!(response.encoded_len() <= RESPONSE_BYTES_MAX);
    assert!(response.results.iter().all(|result| previous(result).size_bytes == 1));
}

#[test]
fn a_count_that_does_not_fit_is_cut_not_wrapped() {
    assert_eq!(int64(5), 5);
    assert_eq!(int64(u64::MAX), i64::MAX);
}

#[test]
fn times_keep_their_milliseconds() {
    let last = Timestamp { seconds: 253_402_300_799, nanos: 999_000_000 };
    assert_eq!(timestamp(UnixMillis::MAX), last);
    assert_eq!(timestamp(UnixMillis::ZERO), Timestamp::default());
    let short = WireDuration { seconds: 0, nanos: 1_000_000 };
    assert_eq!(duration(Duration::from_millis(1)), short);
}

#[test]
fn what_was_found_for_many_keys_is_written_as_it_would_be_for_one() {
    let keys: Keys = ["a", "gone", "b"].into_iter().map(key).collect();
    let lasting = Entry { deadline: None, value_bytes: 0, value: Bytes::new(), ..stored() };
    for view in [View::Key, View::Metadata, View::Value, View::Full] {
        let seen = |entry: &Entry| match view {
            View::Value | View::Full => entry.clone(),
            View::Key | View::Metadata => Entry { value: Bytes::new(), ..entry.clone() },
        };
        let entries = [Some(seen(&stored())), None, Some(seen(&lasting))];
        let all: Found = entries.clone().into_iter().collect();
        let expected = keys.iter().zip(entries).map(|(text, found)| {
            let entry = found.map(|found| entry(key(text), found, view, now));
            wire::BatchGetResult { entry }
        });
        assert_eq!(
            found(&keys, &all, view, now).results(),
            expected.collect::<Vec<_>>(),
            "{view:?}"
        );
    }
}

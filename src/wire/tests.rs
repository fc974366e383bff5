//! What is written by hand, held against what would be generated.

use bytes::{Buf, Bytes};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost_types::{Duration, Timestamp};

use super::v1::{BatchGetRequest, BatchGetResponse, BatchGetResult, Entry};
use super::{EntryFields, Texts};

/// The request as it would be generated.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
    #[prost(int32, tag = "3")]
    view: i32,
}

/// The response as it would be generated.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    results: Vec<BatchGetResult>,
}

fn texts(of: &BatchGetRequest) -> Vec<String> {
    of.keys.iter().map(str::to_owned).collect()
}

fn by_hand(request: &Request) -> BatchGetRequest {
    let Request { namespace, keys, view } = request.clone();
    BatchGetRequest { namespace, keys: keys.into_iter().collect(), view }
}

fn fields(entry: &Entry) -> EntryFields<'_> {
    EntryFields {
        key: &entry.key,
        value: &entry.value,
        version: entry.version,
        expire_time: entry.expire_time,
        ttl: entry.ttl,
        update_time: entry.update_time,
        size_bytes: entry.size_bytes,
    }
}

/// Both ways of reading `bytes` come to the same, good or bad, in one piece or in two.
fn read_alike(bytes: &[u8], cut: usize) {
    let generated = Request::decode(bytes);
    let (front, back) = bytes.split_at(cut.min(bytes.len()));
    for hand in [BatchGetRequest::decode(bytes), BatchGetRequest::decode(front.chain(back))] {
        match (&generated, &hand) {
            (Ok(generated), Ok(hand)) => assert_eq!(*hand, by_hand(generated)),
            (Err(generated), Err(hand)) => {
                let (generated, hand) = (generated.to_string(), hand.to_string());
                assert_eq!(generated.replace("Request.", "BatchGetRequest."), hand);
            }
            (generated, hand) => panic!("{generated:?} but {hand:?}"),
        }
    }
    let generated = Response::decode(bytes);
    match (generated, BatchGetResponse::decode(bytes)) {
        (Ok(generated), Ok(hand)) => assert_eq!(hand.results(), generated.results),
        (Err(_), Err(_)) => {}
        (generated, hand) => panic!("{generated:?} but {hand:?}"),
    }
}

fn request() -> impl Strategy<Value = Request> {
    let key = prop_oneof![8 => ".{0,9}", 1 => "k{127}", 1 => "k{128}", 1 => "ü{100}"];
    (".{0,5}", vec(key, 0..9), any::<i32>()).prop_map(|(namespace, keys, view)| Request {
        namespace,
        keys,
        view,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let number = prop_oneof![Just(0), 1..200_i64, any::<i64>()];
    let moment = || proptest::option::of((any::<i64>(), 0..1_000_000_000_i32));
    let bytes = prop_oneof![vec(any::<u8>(), 0..5), vec(any::<u8>(), 120..140)];
    let times = (moment(), moment(), moment());
    (".{0,5}", bytes, number.clone(), times, number).prop_map(
        |(key, value, version, (expires, ttl, updated), size_bytes)| Entry {
            key,
            value: Bytes::from(value),
            version,
            expire_time: expires.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            ttl: ttl.map(|(seconds, nanos)| Duration { seconds, nanos }),
            update_time: updated.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
            size_bytes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_batch_request_by_hand_is_the_same_bytes(request in request(), cut in 0..40_usize) {
        let bytes = request.encode_to_vec();
        let hand = by_hand(&request);
        prop_assert_eq!(&hand.encode_to_vec(), &bytes);
        prop_assert_eq!(hand.encoded_len(), bytes.len());
        prop_assert_eq!(texts(&hand), request.keys);
        read_alike(&bytes, cut);
    }

    #[test]
    fn any_bytes_are_read_alike(bytes in vec(any::<u8>(), 0..60), cut in 0..60_usize) {
        read_alike(&bytes, cut);
    }

    #[test]
    fn a_spoilt_batch_request_is_read_alike(
        request in request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in 0..40_usize,
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_alike(&bytes, cut);
            read_alike(&bytes[..at], cut);
        }
    }

    #[test]
    fn a_batch_response_by_hand_is_the_same_bytes(
        entries in vec(proptest::option::of(entry()), 0..6),
    ) {
        let mut hand = BatchGetResponse::default();
        for entry in &entries {
            hand.push(entry.as_ref().map(fields).as_ref());
        }
        let results = entries.into_iter().map(|entry| BatchGetResult { entry }).collect();
        let generated = Response { results };
        let bytes = generated.encode_to_vec();
        prop_assert_eq!(&hand.encode_to_vec(), &bytes);
        prop_assert_eq!(hand.results(), generated.results);
        prop_assert_eq!(BatchGetResponse::decode(&*bytes).unwrap(), hand);
    }
}

#[test]
fn room_is_not_made_for_what_is_only_announced() {
    // One key, then five megabytes of a field that nobody knows.
    let mut bytes = vec![0x12, 1, b'k', 0x7a, 0x80, 0x80, 0xc0, 0x02];
    bytes.resize(bytes.len() + (5 << 20), 0);
    let read = BatchGetRequest::decode(&*bytes).unwrap();
    assert_eq!(read.keys, ["k"].into_iter().collect::<Texts>());
    let (text, ends) = read.keys.into_parts();
    assert!(text.capacity() + 4 * ends.capacity() < 100_000);
}

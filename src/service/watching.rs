//! A watch as a stream of messages.

use std::time::Instant;

use async_stream::stream;
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

use super::places::Place;
use super::validate::Watch;
use super::{Now, RESPONSE_BYTES_MAX, convert, status};
use crate::model::Version;
use crate::store::{Delivery, Event, EventKind, Values, View, Watching};
use crate::telemetry::{self, Method};
use crate::wire::v1 as wire;

pub(super) const METHOD: &str = "/pykv.v1.KeyValueService/Watch";

/// Bytes of a message that are not its events.
const ENVELOPE_BYTES: usize = 32;

/// The messages of `watching`, as `watch` has ordered it, until it ends; `place` is held until then.
/// The first message tells where it begins, unless entries come first.
pub(super) fn messages(
    watching: impl Watching,
    watch: Watch,
    now: Now,
    place: Place,
) -> impl Stream<Item = Result<wire::WatchResponse, Status>> {
    let method = telemetry::find(METHOD);
    stream! {
        let _place = place;
        let mut watching = watching;
        let Watch { namespace, order, progress_interval } = watch;
        // Up to where everything was told in messages; what follows is never less.
        let mut told = watching.position();
        if order.start != crate::store::Start::Entries {
            yield Ok(progress(told));
        }
        let mut silence = std::pin::pin!(tokio::time::sleep(progress_interval));
        loop {
            let next = tokio::select! {
                biased;
                next = watching.next() => Some(next),
                () = silence.as_mut() => None,
            };
            let mut begun = telemetry::message_begins();
            silence.as_mut().reset(tokio::time::Instant::from_std(begun) + progress_interval);
            let delivery = match next {
                None => {
                    told = told.max(watching.position());
                    yield Ok(progress(told));
                    continue;
                }
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => {
                    let failed = status::of_error(&error, namespace.as_str()).into_status();
                    count(method, begun, Err(&failed));
                    yield Err(failed);
                    return;
                }
            };
            let before = std::mem::replace(&mut told, delivery.version);
            for message in of_delivery(delivery, order.values, before, &now) {
                telemetry::note_keys(message.events.len());
                count(method, begun, Ok(&message));
                yield Ok(message);
                // How long the caller took for this part is not our time.
                begun = telemetry::message_begins();
            }
        }
    }
}

/// Counts a message, or why the stream ends.
fn count(
    method: Option<&'static Method>,
    begun: Instant,
    outcome: Result<&wire::WatchResponse, &Status>,
) {
    let Some(method) = method else { return };
    let now = Instant::now();
    method.answered(begun, now, outcome.err(), || outcome.map_or(0, Message::encoded_len));
}

fn progress(version: Version) -> wire::WatchResponse {
    wire::WatchResponse { version: convert::int64(version.0), ..wire::WatchResponse::default() }
}

/// A delivery is one message. Only where one turn has changed more than a message can carry, values
/// are left out, the last ones first; and if keys alone are too much, it takes several messages, of
/// which only the last moves the version on.
fn of_delivery(
    delivery: Delivery,
    values: Values,
    before: Version,
    now: &Now,
) -> Vec<wire::WatchResponse> {
    let Delivery { events, version, initial_complete } = delivery;
    let events = events.into_iter().map(|event| message(event, values, now)).collect();
    let version = convert::int64(version.0);
    let mut whole = wire::WatchResponse { events, version, initial_complete };
    leave_out_values(&mut whole);
    let mut parts = Vec::new();
    while whole.encoded_len() > RESPONSE_BYTES_MAX {
        let rest = whole.events.split_off(fitting(&whole.events));
        let events = std::mem::replace(&mut whole.events, rest);
        let version = convert::int64(before.0);
        parts.push(wire::WatchResponse { events, version, initial_complete: false });
    }
    parts.push(whole);
    parts
}

fn leave_out_values(message: &mut wire::WatchResponse) {
    let mut excess = message.encoded_len().saturating_sub(RESPONSE_BYTES_MAX);
    for entry in message.events.iter_mut().rev().filter_map(|event| event.entry.as_mut()) {
        if excess == 0 {
            return;
        }
        excess = excess.saturating_sub(entry.value.len());
        entry.value = bytes::Bytes::new();
    }
}

/// How many of `events` fit into a message; at least one.
fn fitting(events: &[wire::WatchEvent]) -> usize {
    let mut bytes = ENVELOPE_BYTES;
    let fits = |event: &&wire::WatchEvent| {
        // The event's own tag and length come to its bytes.
        bytes += event.encoded_len() + 8;
        bytes <= RESPONSE_BYTES_MAX
    };
    events.iter().take_while(fits).count().max(1)
}

fn message(event: Event, values: Values, now: &Now) -> wire::WatchEvent {
    let Event { kind, key, entry, at } = event;
    let kind_of = |kind: wire::WatchEventType| kind.into();
    let gone = |key: String, version: Version| wire::Entry {
        key,
        version: convert::int64(version.0),
        ..wire::Entry::default()
    };
    let stands = |key: String, entry| {
        let view = if values == Values::Included { View::Full } else { View::Metadata };
        convert::event_entry(key, entry, view, || now())
    };
    let (kind, entry) = match kind {
        EventKind::Initial => (wire::WatchEventType::Initial, stands(key, entry)),
        EventKind::Set => (wire::WatchEventType::Set, stands(key, entry)),
        EventKind::Deleted => (wire::WatchEventType::Deleted, gone(key, entry.version)),
        EventKind::Expired => (wire::WatchEventType::Expired, gone(key, entry.version)),
        EventKind::Evicted => (wire::WatchEventType::Evicted, gone(key, entry.version)),
        EventKind::Cleared => (wire::WatchEventType::Cleared, gone(key, entry.version)),
    };
    let event_time = Some(convert::timestamp(at));
    wire::WatchEvent { r#type: kind_of(kind), entry: Some(entry), event_time }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::UnixMillis;
    use crate::store::Entry;

    fn delivery(count: usize, key_bytes: usize, value_bytes: usize) -> Delivery {
        let value = bytes::Bytes::from(vec![b'v'; value_bytes]);
        let event = |n: usize| Event {
            kind: EventKind::Set,
            key: format!("{n:0key_bytes$}"),
            entry: Entry {
                value_bytes: u32::try_from(value_bytes).unwrap(),
                value: value.clone(),
                version: Version(100 + n as u64),
                deadline: None,
                written: UnixMillis::ZERO,
            },
            at: UnixMillis::ZERO,
        };
        let events = (0..count).map(event).collect();
        let version = Version(100 + count as u64);
        Delivery { events, version, initial_complete: false }
    }

    fn parts(delivery: Delivery) -> Vec<wire::WatchResponse> {
        let now: Now = Arc::new(|| UnixMillis::ZERO);
        of_delivery(delivery, Values::Included, Version(99), &now)
    }

    #[test]
    fn a_delivery_is_one_message() {
        let messages = parts(delivery(10, 10, 100));
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].events.len(), messages[0].version), (10, 110));
    }

    #[test]
    fn values_that_do_not_fit_are_left_out_and_their_sizes_told() {
        let messages = parts(delivery(5, 10, 1 << 20));
        assert_eq!(messages.len(), 1);
        let entries: Vec<_> =
            messages[0].events.iter().filter_map(|event| event.entry.as_ref()).collect();
        assert!(entries.iter().all(|entry| entry.size_bytes == 1 << 20));
        let with_value = entries.iter().map(|entry| !entry.value.is_empty());
        assert_eq!(with_value.collect::<Vec<_>>(), [true, true, true, false, false]);
    }

    #[test]
    fn keys_that_do_not_fit_come_in_parts_of_which_the_last_moves_on() {
        let messages = parts(delivery(1500, 4096, 10));
        assert!(messages.iter().all(|message| message.encoded_len() <= RESPONSE_BYTES_MAX));
        let versions: Vec<_> = messages.iter().map(|message| message.version).collect();
        assert_eq!(versions, [99, 1600]);
        assert_eq!(messages.iter().map(|message| message.events.len()).sum::<usize>(), 1500);
    }
}

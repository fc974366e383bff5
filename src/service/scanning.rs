//! `KeyValueService.ScanEntries`: entries by key order, as one stream.
//!
//! Each message is a page of its own, read when the one before has been taken: whoever reads slowly
//! holds nothing up and keeps nothing in memory, and other requests are served in between.

use std::time::Instant;

use async_stream::stream;
use prost::Message;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_stream::Stream;
use tonic::Status;

use super::validate::Scanning;
use super::{Now, convert, status};
use crate::store::{Error, Page, Reading, Scan, Store, View};
use crate::telemetry::{self, Method};
use crate::wire::v1 as wire;

pub(super) const METHOD: &str = "/pykv.v1.KeyValueService/ScanEntries";

/// Bytes of keys and values in a message, unless a single entry has more: large enough for the cost of
/// a message not to matter, small enough for a page to be a moment's work.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Most entries in a message; well below a millisecond of a namespace's time.
const PAGE_ENTRIES_MAX: usize = 1000;

/// The entries that `scanning` asks for.
pub(super) fn scan<S: Store>(
    store: S,
    now: Now,
    scanning: Scanning,
) -> impl Stream<Item = Result<wire::ScanEntriesResponse, Status>> + Send {
    let method = telemetry::find(METHOD);
    let Scanning { namespace, prefix, start_after, entries_max, view } = scanning;
    let mut scan = Scan {
        prefix,
        start_after,
        entries_max: 0,
        bytes_max: PAGE_BYTES_MAX,
        view,
        // Whoever copies everything uses nothing of it.
        reading: Reading::Look,
    };
    let mut left = entries_max;
    let mut is_first = true;
    stream! {
        while left > 0 {
            scan.entries_max = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_ENTRIES_MAX);
            let begun = telemetry::message_begins();
            let page = match store.scan(&namespace, scan.clone()).await {
                Ok(page) => page,
                // Only the beginning can be refused: what was begun goes on at the namespace's rate.
                Err(Error::RateLimited { retry_after }) if !is_first => {
                    sleep(retry_after).await;
                    continue;
                }
                Err(error) => {
                    let failed = status::of_error(&error, namespace.as_str()).into_status();
                    count(method, begun, Err(&failed));
                    yield Err(failed);
                    return;
                }
            };
            is_first = false;
            let Page { entries, more } = page;
            let Some((last, _)) = entries.last() else { return };
            scan.start_after = Some(last.as_str().to_owned());
            left = left.saturating_sub(entries.len() as u64);
            telemetry::note_keys(entries.len());
            let message = message(entries, view, &now);
            count(method, begun, Ok(&message));
            yield Ok(message);
            if !more {
                return;
            }
            yield_now().await;
        }
    }
}

fn message(
    entries: Vec<(crate::model::Key, crate::store::Entry)>,
    view: View,
    now: &Now,
) -> wire::ScanEntriesResponse {
    let entries = entries.into_iter();
    let entries = entries.map(|(key, entry)| convert::entry(key, entry, view, || now()));
    wire::ScanEntriesResponse { entries: entries.collect() }
}

fn count(
    method: Option<&'static Method>,
    begun: Instant,
    outcome: Result<&wire::ScanEntriesResponse, &Status>,
) {
    let Some(method) = method else { return };
    let now = Instant::now();
    method.answered(begun, now, outcome.err(), || outcome.map_or(0, Message::encoded_len));
}

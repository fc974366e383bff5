//! Requests of the key-value service.

use tonic::Status;

use super::{At, Problems};
use crate::model::{Key, Keys, NamespaceName};
use crate::service::BATCH_ITEMS_MAX;
use crate::service::pages::PageOf;
use crate::store::{Batch, Command, View};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

/// Most entries on one page of a list.
const PAGE_ENTRIES_MAX: usize = 1000;
const PAGE_ENTRIES_DEFAULT: usize = 100;

/// A page of entries asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) namespace: NamespaceName,
    pub(crate) prefix: String,
    pub(crate) start_after: Option<String>,
    pub(crate) entries_max: usize,
    pub(crate) view: View,
    pub(crate) count: Count,
}

/// Entries asked for as one stream.
#[derive(Debug)]
pub(crate) struct Scanning {
    pub(crate) namespace: NamespaceName,
    pub(crate) prefix: String,
    pub(crate) start_after: Option<String>,
    pub(crate) entries_max: u64,
    pub(crate) view: View,
}

/// Whether to count all matches too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Skip,
    Include,
}

/// Checks a get.
pub(crate) fn get(
    request: wire::GetRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Key, View), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    let key = problems.key(request.key, KEY);
    let view = view_or(request.view, View::Full);
    problems.refuse(namespace.zip(key).map(|(namespace, key)| (namespace, key, view)))
}

/// Checks a read of many keys.
pub(crate) fn batch_get(
    request: wire::BatchGetRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Keys, View), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    problems.items(request.keys.len(), At::Field(&At::Top, "keys"));
    let (text, ends) = request.keys.into_parts();
    let keys = Keys::parse(text, ends, |index, error| {
        // Who sends too many is not told of each.
        if index < BATCH_ITEMS_MAX {
            problems.add::<()>(At::Item(&At::Top, "keys", index), ErrorReason::KeyInvalid, error);
        }
    });
    let view = view_or(request.view, View::Full);
    problems.refuse(namespace.zip(keys).map(|(namespace, keys)| (namespace, keys, view)))
}

/// Checks a set.
pub(crate) fn set(
    request: wire::SetRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Command), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    let command = problems.set(request, At::Top);
    problems.refuse(namespace.zip(command))
}

/// Checks a delete.
pub(crate) fn delete(
    request: wire::DeleteRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Command), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    let command = problems.delete(request, At::Top);
    problems.refuse(namespace.zip(command))
}

/// Checks a touch; also says which view was asked for.
pub(crate) fn touch(
    request: wire::TouchRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Command), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    let command = problems.touch(request, At::Top);
    problems.refuse(namespace.zip(command))
}

/// Checks an increment.
pub(crate) fn increment(
    request: wire::IncrementRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Command), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    let command = problems.increment(request, At::Top);
    problems.refuse(namespace.zip(command))
}

/// Checks a batch of writes.
pub(crate) fn batch_write(
    request: wire::BatchWriteRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, Batch), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    problems.items(request.operations.len(), OPERATIONS);
    problems.batch_bytes(&request.operations);
    let named = named_or(&request.namespace, default);
    let mut commands = Vec::with_capacity(request.operations.len().min(BATCH_ITEMS_MAX));
    // Who sends too many is not told of each.
    for (index, step) in request.operations.into_iter().enumerate().take(BATCH_ITEMS_MAX) {
        let at = At::Item(&At::Top, "operations", index);
        commands.extend(problems.operation(step, at, named));
    }
    let atomic = request.atomic;
    problems.refuse(namespace.map(|namespace| (namespace, Batch { commands, atomic })))
}

/// Checks a list.
pub(crate) fn list_entries(
    request: wire::ListEntriesRequest,
    default: &NamespaceName,
) -> Result<Listing, Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    problems.prefix(&request.prefix);
    let entries_max = problems.page_size(request.page_size, PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX);
    let view = view_or(request.view, View::Metadata);
    let named = named_or(&request.namespace, default);
    let page = PageOf::Entries { namespace: named, prefix: &request.prefix, view };
    let start_after = problems.page_token(&request.page_token, page);
    let count = if request.include_total_size { Count::Include } else { Count::Skip };
    let parsed = namespace.zip(entries_max).zip(start_after);
    problems.refuse(parsed.map(|((namespace, entries_max), start_after)| Listing {
        namespace,
        prefix: request.prefix,
        start_after,
        entries_max,
        view,
        count,
    }))
}

/// Checks a scan.
pub(crate) fn scan_entries(
    request: wire::ScanEntriesRequest,
    default: &NamespaceName,
) -> Result<Scanning, Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    problems.prefix(&request.prefix);
    problems.no_longer_than_a_key(&request.start_after, At::Field(&At::Top, "start_after"));
    let entries_max = problems.limit(request.limit);
    let start_after = Some(request.start_after).filter(|key| !key.is_empty());
    let view = view_or(request.view, View::Full);
    let prefix = request.prefix;
    problems.refuse(namespace.zip(entries_max).map(|(namespace, entries_max)| Scanning {
        namespace,
        prefix,
        start_after,
        entries_max,
        view,
    }))
}

/// Checks a delete by prefix.
pub(crate) fn delete_prefix(
    request: wire::DeletePrefixRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, String), Status> {
    let mut problems = Problems::default();
    let namespace = problems.namespace(&request.namespace, NAMESPACE, default);
    if request.prefix.is_empty() {
        let text = "must not be empty; to empty a namespace there is ClearNamespace";
        problems.add::<()>(PREFIX, ErrorReason::PrefixEmpty, text);
    }
    problems.prefix(&request.prefix);
    problems.refuse(namespace.map(|namespace| (namespace, request.prefix)))
}

const NAMESPACE: At<'_> = At::Field(&At::Top, "namespace");
const KEY: At<'_> = At::Field(&At::Top, "key");
pub(super) const PREFIX: At<'_> = At::Field(&At::Top, "prefix");
pub(super) const OPERATIONS: At<'_> = At::Field(&At::Top, "operations");

fn named_or<'a>(namespace: &'a str, default: &'a NamespaceName) -> &'a str {
    if namespace.is_empty() { default.as_str() } else { namespace }
}

/// The view asked for; `default` where none was, or one that this server does not know.
pub(super) fn view_or(view: i32, default: View) -> View {
    match wire::EntryView::try_from(view) {
        Ok(wire::EntryView::Key) => View::Key,
        Ok(wire::EntryView::Metadata) => View::Metadata,
        Ok(wire::EntryView::Full) => View::Full,
        Ok(wire::EntryView::Value) => View::Value,
        Ok(wire::EntryView::Unspecified) | Err(_) => default,
    }
}

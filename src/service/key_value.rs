//! `pykv.v1.KeyValueService`.

use std::pin::Pin;
use std::sync::Arc;

use prost::Message;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Gate, admitted};
use super::opening::counted;
use super::pipeline::Pipelines;
use super::places::{Place, Places, StreamLimits};
use super::validate::{self, Count};
use super::{
    Now, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, convert, pages, pipeline, scanning, status,
    watching,
};
use crate::model::{NamespaceName, UnixMillis};
use crate::store::{Batch, Command, Error, Reading, Refusal, Scan, Store, Written};
use crate::telemetry;
use crate::wire::v1 as wire;
use crate::wire::v1::key_value_service_server::{KeyValueService, KeyValueServiceServer};

/// Most bytes of keys and values on one page of a list; the rest of a response is room for what
/// surrounds a thousand of them, and for the page token.
const PAGE_BYTES_MAX: usize = RESPONSE_BYTES_MAX - (256 << 10);

type Answer<T> = Result<Response<T>, Status>;

/// The messages of an answer that is a stream.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Reads and writes of entries, over any store.
#[derive(Clone)]
pub struct KeyValue<S> {
    store: S,
    now: Now,
    default: NamespaceName,
    gate: Gate,
    watches: Places,
    pipelines: Places,
}

impl<S> std::fmt::Debug for KeyValue<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyValue").finish_non_exhaustive()
    }
}

impl<S: Store> KeyValue<S> {
    /// The service over `store`, behind `gate`; `now` is the store's clock.
    pub fn new(store: S, now: Now, gate: Gate, limits: StreamLimits) -> Self {
        let watches = Places::new(limits.watches_max);
        let pipelines = Places::new(limits.pipelines_max);
        KeyValue { store, now, default: NamespaceName::default(), gate, watches, pipelines }
    }

    /// The service with its limits, ready to be routed to.
    pub fn server(service: Arc<Self>) -> KeyValueServiceServer<Self> {
        KeyValueServiceServer::from_arc(service)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The moment an answer is built.
    fn now(&self) -> UnixMillis {
        (self.now)()
    }

    /// Runs one command and returns what came of it.
    async fn write_one(
        &self,
        namespace: &NamespaceName,
        command: Command,
    ) -> Result<wire::write_result::Result, Status> {
        let batch = Batch { commands: vec![command], atomic: false };
        let written = self.store.write(namespace, batch).await;
        let mut written = written.map_err(|error| failed(&error, namespace))?;
        match (written.commands.pop(), written.outcomes.pop()) {
            (Some(command), Some(Ok(outcome))) => {
                Ok(convert::outcome(command, outcome, || self.now()))
            }
            (_, Some(Err(refusal))) => {
                Err(status::of_refusal(refusal, namespace.as_str()).into_status())
            }
            (_, None) | (None, _) => Err(no_answer()),
        }
    }

    async fn open_watch(
        &self,
        request: wire::WatchRequest,
    ) -> Result<(S::Watching, validate::Watch, Place), Status> {
        let watch = validate::watch(request, &self.default)?;
        let place = self.watches.take()?;
        let watching = self.store.watch(&watch.namespace, watch.order.clone()).await;
        let watching = watching.map_err(|error| failed(&error, &watch.namespace))?;
        Ok((watching, watch, place))
    }

    fn batch_response(&self, written: Written, namespace: &str) -> wire::BatchWriteResponse {
        let Written { commands, outcomes, committed } = written;
        let results = convert::write_results(commands, outcomes, namespace, || self.now());
        wire::BatchWriteResponse { committed, results: results.collect() }
    }
}

#[tonic::async_trait]
impl<S: Store> KeyValueService for KeyValue<S> {
    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::GetResponse> {
        let (namespace, key, view) = validate::get(admitted(&self.gate, request)?, &self.default)?;
        let found = self.store.get(&namespace, &key, view).await;
        let found = found.map_err(|error| failed(&error, &namespace))?;
        let entry = found.map(|entry| convert::entry(key, entry, view, || self.now()));
        Ok(Response::new(wire::GetResponse { entry }))
    }

    async fn set(&self, request: Request<wire::SetRequest>) -> Answer<wire::SetResponse> {
        let (namespace, command) = validate::set(admitted(&self.gate, request)?, &self.default)?;
        let answer = self.write_one(&namespace, command).await?;
        let wire::write_result::Result::Set(response) = answer else { return Err(wrong_answer()) };
        Ok(Response::new(response))
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Answer<wire::DeleteResponse> {
        let (namespace, command) = validate::delete(admitted(&self.gate, request)?, &self.default)?;
        let answer = self.write_one(&namespace, command).await?;
        let wire::write_result::Result::Delete(response) = answer else {
            return Err(wrong_answer());
        };
        Ok(Response::new(response))
    }

    async fn touch(&self, request: Request<wire::TouchRequest>) -> Answer<wire::TouchResponse> {
        let (namespace, command) = validate::touch(admitted(&self.gate, request)?, &self.default)?;
        let answer = self.write_one(&namespace, command).await?;
        let wire::write_result::Result::Touch(response) = answer else {
            return Err(wrong_answer());
        };
        Ok(Response::new(response))
    }

    async fn increment(
        &self,
        request: Request<wire::IncrementRequest>,
    ) -> Answer<wire::IncrementResponse> {
        let (namespace, command) =
            validate::increment(admitted(&self.gate, request)?, &self.default)?;
        let answer = self.write_one(&namespace, command).await?;
        let wire::write_result::Result::Increment(response) = answer else {
            return Err(wrong_answer());
        };
        Ok(Response::new(response))
    }

    async fn batch_get(
        &self,
        request: Request<wire::BatchGetRequest>,
    ) -> Answer<wire::BatchGetResponse> {
        let (namespace, keys, view) =
            validate::batch_get(admitted(&self.gate, request)?, &self.default)?;
        let found = self.store.get_many(&namespace, &keys, view).await;
        let found = found.map_err(|error| failed(&error, &namespace))?;
        let response = convert::found(&keys, &found, view, || self.now());
        if response.encoded_len() > RESPONSE_BYTES_MAX {
            return Err(status::response_too_large(RESPONSE_BYTES_MAX));
        }
        Ok(Response::new(response))
    }

    async fn batch_write(
        &self,
        request: Request<wire::BatchWriteRequest>,
    ) -> Answer<wire::BatchWriteResponse> {
        let (namespace, batch) =
            validate::batch_write(admitted(&self.gate, request)?, &self.default)?;
        let atomic = batch.atomic;
        let returns_values = batch.commands.iter().any(Command::returns_value);
        let written = self.store.write(&namespace, batch).await;
        let written = written.map_err(|error| failed(&error, &namespace))?;
        if let (true, Some((index, refusal))) = (atomic, first_refusal(&written)) {
            let failure = status::of_refused_operation(index, refusal, namespace.as_str());
            return Err(failure.into_status());
        }
        let mut response = self.batch_response(written, namespace.as_str());
        if returns_values {
            convert::fit(&mut response, RESPONSE_BYTES_MAX);
        }
        Ok(Response::new(response))
    }

    async fn list_entries(
        &self,
        request: Request<wire::ListEntriesRequest>,
    ) -> Answer<wire::ListEntriesResponse> {
        let listing = validate::list_entries(admitted(&self.gate, request)?, &self.default)?;
        let validate::Listing { namespace, prefix, start_after, entries_max, view, count } =
            listing;
        let total_size = match count {
            Count::Skip => None,
            Count::Include => {
                let total = self.store.count(&namespace, &prefix).await;
                Some(convert::int64(total.map_err(|error| failed(&error, &namespace))?))
            }
        };
        let (scan_prefix, bytes_max) = (prefix.clone(), PAGE_BYTES_MAX);
        let reading = Reading::Use;
        let scan = Scan { prefix: scan_prefix, start_after, entries_max, bytes_max, view, reading };
        let page = self.store.scan(&namespace, scan).await;
        let page = page.map_err(|error| failed(&error, &namespace))?;
        let next_page_token = match page.entries.last() {
            Some((last, _)) if page.more => {
                let (namespace, prefix) = (namespace.as_str(), prefix.as_str());
                pages::token(pages::PageOf::Entries { namespace, prefix, view }, last.as_str())
            }
            Some(_) | None => String::new(),
        };
        telemetry::note_keys(page.entries.len());
        let entries = page.entries.into_iter();
        let entries =
            entries.map(|(key, entry)| convert::entry(key, entry, view, || self.now())).collect();
        Ok(Response::new(wire::ListEntriesResponse { entries, next_page_token, total_size }))
    }

    async fn delete_prefix(
        &self,
        request: Request<wire::DeletePrefixRequest>,
    ) -> Answer<wire::DeletePrefixResponse> {
        let request = admitted(&self.gate, request)?;
        let validate_only = request.validate_only;
        let (namespace, prefix) = validate::delete_prefix(request, &self.default)?;
        let deleted = if validate_only {
            self.store.count(&namespace, &prefix).await
        } else {
            self.store.delete_prefix(&namespace, &prefix).await
        };
        let deleted = deleted.map_err(|error| failed(&error, &namespace))?;
        telemetry::note_keys(usize::try_from(deleted).unwrap_or(usize::MAX));
        Ok(Response::new(wire::DeletePrefixResponse { deleted_count: convert::int64(deleted) }))
    }

    type ScanEntriesStream = Messages<wire::ScanEntriesResponse>;

    async fn scan_entries(
        &self,
        request: Request<wire::ScanEntriesRequest>,
    ) -> Answer<Self::ScanEntriesStream> {
        let begun = telemetry::message_begins();
        let scanning = validate::scan_entries(admitted(&self.gate, request)?, &self.default);
        let scanning = counted(scanning::METHOD, begun, scanning)?;
        let messages = scanning::scan(self.store.clone(), Arc::clone(&self.now), scanning);
        Ok(Response::new(Box::pin(messages)))
    }

    type WatchStream = Messages<wire::WatchResponse>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        let begun = telemetry::message_begins();
        let opened = self.open_watch(admitted(&self.gate, request)?).await;
        let (watching, watch, place) = counted(watching::METHOD, begun, opened)?;
        let messages = watching::messages(watching, watch, Arc::clone(&self.now), place);
        Ok(Response::new(Box::pin(messages)))
    }

    type PipelineStream = Messages<wire::PipelineResponse>;

    async fn pipeline(
        &self,
        request: Request<Streaming<wire::PipelineRequest>>,
    ) -> Answer<Self::PipelineStream> {
        let begun = telemetry::message_begins();
        let pass = self.gate.pass(request.extensions())?;
        let place = counted(pipeline::METHOD, begun, self.pipelines.take())?;
        let (store, now, default) =
            (self.store.clone(), Arc::clone(&self.now), self.default.clone());
        let pipelines = Pipelines { store, now, default, pass };
        Ok(Response::new(Box::pin(pipelines.answer(request.into_inner(), place))))
    }
}

fn failed(error: &Error, namespace: &NamespaceName) -> Status {
    status::of_error(error, namespace.as_str()).into_status()
}

fn first_refusal(written: &Written) -> Option<(usize, Refusal)> {
    let refusals = written.outcomes.iter().enumerate();
    refusals.filter_map(|(index, ruling)| Some((index, *ruling.as_ref().err()?))).next()
}

/// A store broke its promise of one outcome for each command: a bug, so no reason is given.
fn no_answer() -> Status {
    Status::internal("the store gave no outcome for a command")
}

fn wrong_answer() -> Status {
    Status::internal("the store gave the outcome of another command")
}

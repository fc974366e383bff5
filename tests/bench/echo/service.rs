//! The service of the echo servers: the generated code of the schema, and nothing behind it.

use bytes::Bytes;
use pykv::wire::v1::key_value_service_server::KeyValueService;
use pykv::wire::v1::{
    BatchGetRequest, BatchGetResponse, BatchWriteRequest, BatchWriteResponse, DeletePrefixRequest,
    DeletePrefixResponse, DeleteRequest, DeleteResponse, Entry, GetRequest, GetResponse,
    IncrementRequest, IncrementResponse, ListEntriesRequest, ListEntriesResponse, PipelineRequest,
    PipelineResponse, ScanEntriesRequest, ScanEntriesResponse, SetRequest, SetResponse,
    TouchRequest, TouchResponse, WatchRequest, WatchResponse,
};
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// As many bytes as the values of the measured store.
const VALUE: &[u8] = &[b'v'; 100];

/// Answers every Get with the same entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Echo;

type Answer<T> = Result<Response<T>, Status>;

fn none<T>() -> Answer<T> {
    Err(Status::unimplemented("an echo answers Get only"))
}

#[async_trait]
impl KeyValueService for Echo {
    type ScanEntriesStream = Empty<Result<ScanEntriesResponse, Status>>;
    type WatchStream = Empty<Result<WatchResponse, Status>>;
    type PipelineStream = Empty<Result<PipelineResponse, Status>>;

    async fn get(&self, _: Request<GetRequest>) -> Answer<GetResponse> {
        let value = Bytes::from_static(VALUE);
        let entry = Entry { value, version: 1, size_bytes: 100, ..Entry::default() };
        Ok(Response::new(GetResponse { entry: Some(entry) }))
    }

    async fn set(&self, _: Request<SetRequest>) -> Answer<SetResponse> {
        none()
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        none()
    }

    async fn touch(&self, _: Request<TouchRequest>) -> Answer<TouchResponse> {
        none()
    }

    async fn increment(&self, _: Request<IncrementRequest>) -> Answer<IncrementResponse> {
        none()
    }

    async fn batch_get(&self, _: Request<BatchGetRequest>) -> Answer<BatchGetResponse> {
        none()
    }

    async fn batch_write(&self, _: Request<BatchWriteRequest>) -> Answer<BatchWriteResponse> {
        none()
    }

    async fn list_entries(&self, _: Request<ListEntriesRequest>) -> Answer<ListEntriesResponse> {
        none()
    }

    async fn scan_entries(
        &self,
        _: Request<ScanEntriesRequest>,
    ) -> Answer<Self::ScanEntriesStream> {
        none()
    }

    async fn delete_prefix(&self, _: Request<DeletePrefixRequest>) -> Answer<DeletePrefixResponse> {
        none()
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        none()
    }

    async fn pipeline(
        &self,
        _: Request<Streaming<PipelineRequest>>,
    ) -> Answer<Self::PipelineStream> {
        none()
    }
}

//! The calls that are made in this process most often, by their messages alone: without the frames,
//! bodies and trailers that a call needs only to travel.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response};
use tonic::body::Body;
use tonic::{Request, Status};

use super::services::Answer;
use crate::gateway::Message;
use crate::service::access::Pass;
use crate::service::{KeyValue, REQUEST_BYTES_MAX};
use crate::store::embedded::Embedded;
use crate::telemetry;
use crate::wire::v1::key_value_service_server::KeyValueService;

/// The answer to the call at `path`, if it is one of these. A message that is too large is refused
/// where all others are.
pub(super) fn answer(
    service: &Arc<KeyValue<Embedded>>,
    path: &str,
    message: &Bytes,
    pass: Option<&Pass>,
) -> Option<Answer> {
    if message.len() > REQUEST_BYTES_MAX {
        return None;
    }
    let (service, message, pass) = (Arc::clone(service), message.clone(), pass.cloned());
    match path {
        "/pykv.v1.KeyValueService/Get" => {
            Some(Box::pin(run(message, pass, async move |request| service.get(request).await)))
        }
        "/pykv.v1.KeyValueService/Set" => {
            Some(Box::pin(run(message, pass, async move |request| service.set(request).await)))
        }
        "/pykv.v1.KeyValueService/Delete" => {
            Some(Box::pin(run(message, pass, async move |request| service.delete(request).await)))
        }
        _ => None,
    }
}

async fn run<Q, A, F>(
    message: Bytes,
    pass: Option<Pass>,
    call: impl FnOnce(Request<Q>) -> F,
) -> Result<Response<Body>, Infallible>
where
    Q: prost::Message + Default,
    A: prost::Message,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    telemetry::note_received(message.len());
    let answered = match Q::decode(message) {
        Ok(request) => {
            let mut request = Request::new(request);
            if let Some(pass) = pass {
                request.extensions_mut().insert(pass);
            }
            call(request).await
        }
        Err(_) => Err(Status::internal("a call was made with something else than its message")),
    };
    Ok(match answered {
        Err(status) => status.into_http(),
        Ok(answer) => {
            let bytes = Bytes::from(answer.into_inner().encode_to_vec());
            telemetry::note_received(bytes.len());
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
            response.extensions_mut().insert(Message(bytes));
            response
        }
    })
}

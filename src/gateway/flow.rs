//! Streams of answers over HTTP: lines of JSON, or server-sent events.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};
use tonic::Status;
use tonic::body::Body;

use super::caller::Messages;
use super::json;
use super::refusal::Refusal;
use super::schema::{Rpc, Schema};
use crate::service::{Fault, Foreign};

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

/// Lets a stream go on where a reader was cut off who says how far it has read.
///
/// Errors: what it says is no such place.
pub(super) fn resume(message: &mut DynamicMessage, headers: &HeaderMap) -> Result<(), Status> {
    let (Some(place), true) = (
        headers.get("last-event-id").filter(|place| !place.is_empty()),
        message.descriptor().get_field_by_name("start_version").is_some(),
    ) else {
        return Ok(());
    };
    let version = place.to_str().ok().and_then(|place| place.parse::<i64>().ok());
    let Some(version) = version else {
        let (field, text) = ("Last-Event-ID".into(), "must be a version".into());
        return Err(Foreign::Malformed(vec![Fault { field, text }]).into());
    };
    message.set_field_by_name("start_version", Value::I64(version));
    // A browser repeats its request as it was. What came first has come.
    message.clear_field_by_name("include_initial");
    Ok(())
}

/// The answers of a call as they come, in the form that the caller accepts.
///
/// Errors: the status of a call that ends before its first answer.
pub(super) async fn answer(
    schema: &'static Schema,
    rpc: &Rpc,
    headers: &HeaderMap,
    mut messages: Messages,
) -> Result<Response<Body>, Status> {
    let first = messages.next().await.transpose()?;
    let form = form(headers);
    let output = rpc.descriptor.output();
    let content_type = match form {
        Form::Lines => LINES,
        Form::Events => EVENTS,
    };
    let pieces = async_stream::stream! {
        let mut next = first.map(Ok);
        while let Some(answer) = next {
            let (piece, over) = match answer.and_then(|answer| form.piece(&output, answer)) {
                Ok(piece) => (piece, false),
                Err(status) => (form.end(schema, &status), true),
            };
            yield Ok::<_, Status>(Frame::data(Bytes::from(piece)));
            next = if over { None } else { messages.next().await };
        }
    };
    let mut response = Response::new(Body::new(StreamBody::new(pieces)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies shall pass on each piece as it comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

#[derive(Clone, Copy)]
enum Form {
    Lines,
    Events,
}

fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    let wants_events =
        kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == EVENTS));
    if wants_events { Form::Events } else { Form::Lines }
}

impl Form {
    /// One answer.
    fn piece(self, output: &MessageDescriptor, answer: Bytes) -> Result<Vec<u8>, Status> {
        let unreadable = |_| Status::internal("an answer cannot be read");
        let unwritable = |_| Status::internal("an answer cannot be written");
        let message = DynamicMessage::decode(output.clone(), answer).map_err(unreadable)?;
        let mut piece = Vec::new();
        match self {
            Form::Lines => {
                piece.extend_from_slice(b"{\"result\":");
                json::write(&message, &mut piece).map_err(unwritable)?;
                piece.extend_from_slice(b"}\n");
            }
            Form::Events => {
                // Where to resume; before there is such a place, a reader begins anew.
                let version = message.get_field_by_name("version").and_then(|v| v.as_i64());
                if let Some(version) = version.filter(|version| *version > 0) {
                    piece.extend_from_slice(format!("id: {version}\n").as_bytes());
                }
                piece.extend_from_slice(b"data: ");
                json::write(&message, &mut piece).map_err(unwritable)?;
                piece.extend_from_slice(b"\n\n");
            }
        }
        Ok(piece)
    }

    /// The status that ends a stream which has begun.
    fn end(self, schema: &Schema, status: &Status) -> Vec<u8> {
        let error = Refusal::from(status).body(schema);
        match self {
            Form::Lines => [&error[..], b"\n"].concat(),
            Form::Events => [b"event: error\ndata: ", &error[..], b"\n\n"].concat(),
        }
    }
}

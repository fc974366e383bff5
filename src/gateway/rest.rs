//! `/v1`: the annotated methods as JSON over HTTP.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::body::Body;

use super::arrival::{Arrival, Content, JSON_BYTES_MAX, content};
use super::caller::Caller;
use super::refusal::Refusal;
use super::schema::{Part, Route, Rpc, Schema};
use super::{answers, asked, flow, json};
use crate::service::Foreign;
use crate::wire::v1::GetRequest;

/// The method whose answer without an entry is an error here, as it is everywhere in HTTP.
const GET: &str = "pykv.v1.KeyValueService.Get";

/// Answers a request below `/v1/`.
pub(super) async fn answer(
    schema: &'static Schema,
    caller: Caller,
    arrival: Arrival,
) -> Response<Body> {
    let (route, found) = match fitting(schema, &arrival) {
        Ok(fitting) => fitting,
        Err(allowed) => return astray(schema, &arrival, &allowed),
    };
    let rpc = &schema.rpcs[route.rpc];
    match called(schema, &caller, route, rpc, &found, arrival).await {
        Ok(response) => response,
        Err(status) => Refusal::from(&status).answer(schema),
    }
}

/// The route of a request with what its variables are. Errors: the methods there are at its path.
fn fitting(
    schema: &'static Schema,
    arrival: &Arrival,
) -> Result<(&'static Route, Vec<String>), Vec<Method>> {
    let path = arrival.path();
    let verb = arrival.verb();
    for route in schema.routes.iter().filter(|route| route.verb == *verb) {
        if let Some(found) = route.template.matched(path) {
            return Ok((route, found.into_iter().map(str::to_owned).collect()));
        }
    }
    let there = schema.routes.iter().filter(|route| route.template.matched(path).is_some());
    Err(there.map(|route| route.verb.clone()).collect())
}

/// The answer to a request that no route fits.
fn astray(schema: &Schema, arrival: &Arrival, verbs: &[Method]) -> Response<Body> {
    if verbs.is_empty() {
        return Refusal::from(&Foreign::RouteNotFound.into()).answer(schema);
    }
    let mut allowed = Vec::from(verbs);
    if verbs.contains(&Method::GET) {
        allowed.push(Method::HEAD);
    }
    allowed.push(Method::OPTIONS);
    let mut response = match arrival.head.method {
        Method::OPTIONS => answers::empty(StatusCode::NO_CONTENT),
        _ => Refusal::from(&Foreign::MethodNotAllowed.into()).answer(schema),
    };
    answers::allow(&mut response, &allowed);
    response
}

async fn called(
    schema: &'static Schema,
    caller: &Caller,
    route: &'static Route,
    rpc: &'static Rpc,
    found: &[String],
    mut arrival: Arrival,
) -> Result<Response<Body>, Status> {
    let path = rpc.path.path();
    let Some(body) = caller.body(path, &mut arrival, JSON_BYTES_MAX).await? else {
        return Err(caller.refusal(&rpc.path, arrival.take_head()).await);
    };
    let is_json = match content(&arrival.head.headers) {
        Content::Json => true,
        Content::Unsaid => body.is_empty(),
        Content::Other => false,
    };
    if !is_json && !matches!(route.body, Part::Nothing) {
        return Err(Foreign::MediaTypeUnsupported { expected: answers::JSON }.into());
    }
    let found: Vec<_> = found.iter().map(String::as_str).collect();
    let input = rpc.descriptor.input();
    let query = arrival.query();
    let asked = || asked::message(&input, route, &found, query, &body).map_err(Foreign::Malformed);
    if !rpc.is_unary() {
        let mut message = asked()?;
        flow::resume(&mut message, &arrival.head.headers)?;
        let (message, head) = (message.encode_to_vec().into(), arrival.take_head());
        let messages = caller.stream(&rpc.path, message, head).await?;
        return flow::answer(schema, rpc, &arrival.head.headers, messages).await;
    }
    let message = match asked::of_path(route, &found, query, &body) {
        Some(message) => message,
        None => asked()?.encode_to_vec().into(),
    };
    let bytes = caller.unary(&rpc.path, message.clone(), arrival.take_head()).await?;
    // An answer of Get has nothing but its entry.
    if rpc.descriptor.full_name() == GET && bytes.is_empty() {
        let asked = GetRequest::decode(message).unwrap_or_default();
        return Err(Foreign::KeyNotFound { namespace: asked.namespace }.into());
    }
    Ok(answers::json(StatusCode::OK, written(schema, route, rpc, &bytes)?))
}

/// The body of an answer.
fn written(schema: &Schema, route: &Route, rpc: &Rpc, bytes: &Bytes) -> Result<Vec<u8>, Status> {
    let output = rpc.descriptor.output();
    let Part::Field(field) = &route.response else { return whole(schema, &output, bytes) };
    let unreadable = |_| Status::internal("an answer cannot be read");
    let answer = DynamicMessage::decode(output, bytes.clone()).map_err(unreadable)?;
    let mut buffer = Vec::new();
    if let Some(inside) = answer.get_field(field).as_message() {
        json::write(inside, &mut buffer).map_err(json::unwritable)?;
    }
    Ok(buffer)
}

/// An answer as JSON.
pub(super) fn whole(
    schema: &Schema,
    output: &MessageDescriptor,
    bytes: &Bytes,
) -> Result<Vec<u8>, Status> {
    let mut buffer = Vec::with_capacity(2 * bytes.len() + 128);
    if schema.printer.print(output, bytes, &mut buffer).is_none() {
        buffer.clear();
        let unreadable = |_| Status::internal("an answer cannot be read");
        let answer = DynamicMessage::decode(output.clone(), bytes.clone()).map_err(unreadable)?;
        json::write(&answer, &mut buffer).map_err(json::unwritable)?;
    }
    Ok(buffer)
}

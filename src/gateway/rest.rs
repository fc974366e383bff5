//! `/v1`: the annotated methods as JSON over HTTP.

use http::{Method, Response, StatusCode};
use prost_reflect::DynamicMessage;
use tonic::Status;
use tonic::body::Body;

use super::arrival::{Arrival, Content, JSON_BYTES_MAX, content};
use super::caller::Caller;
use super::refusal::Refusal;
use super::schema::{Part, Route, Rpc, Schema};
use super::{answers, asked, flow, json};
use crate::service::Foreign;

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
    let mut allowed = Vec::new();
    for route in &schema.routes {
        if let Some(found) = route.template.matched(path) {
            if route.verb == *verb {
                return Ok((route, found.into_iter().map(str::to_owned).collect()));
            }
            allowed.push(route.verb.clone());
        }
    }
    Err(allowed)
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
    let body = arrival.body(JSON_BYTES_MAX).await?;
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
    let message = asked::message(&input, route, &found, arrival.query(), &body);
    let mut message = message.map_err(Foreign::Malformed)?;
    let head = arrival.take_head();
    if !rpc.is_unary() {
        flow::resume(&mut message, &arrival.head.headers)?;
        let messages = caller.stream(&rpc.path, &message, head).await?;
        return flow::answer(schema, rpc, &arrival.head.headers, messages).await;
    }
    let bytes = caller.unary(&rpc.path, &message, head).await?;
    let unreadable = |_| Status::internal("an answer cannot be read");
    let answer = DynamicMessage::decode(rpc.descriptor.output(), bytes).map_err(unreadable)?;
    if rpc.descriptor.full_name() == GET && !answer.has_field_by_name("entry") {
        let namespace = message.get_field_by_name("namespace");
        let namespace = namespace.and_then(|value| value.as_str().map(str::to_owned));
        return Err(Foreign::KeyNotFound { namespace: namespace.unwrap_or_default() }.into());
    }
    Ok(answers::json(StatusCode::OK, written(route, &answer)?))
}

/// The body of an answer.
fn written(route: &Route, answer: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut buffer = Vec::with_capacity(256);
    let written = match &route.response {
        Part::Whole | Part::Nothing => json::write(answer, &mut buffer),
        Part::Field(field) => match answer.get_field(field).as_message() {
            Some(inside) => json::write(inside, &mut buffer),
            None => Ok(()),
        },
    };
    written.map_err(|_| Status::internal("an answer cannot be written"))?;
    Ok(buffer)
}

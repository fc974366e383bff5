//! Other ways in than gRPC, on the same port: each turns what it gets into a call, and the answer back.
//!
//! # How it works
//! [`Gateway`] answers every request that is no gRPC call. It admits it ([`browsers`]), finds the
//! surface it is for, and has that make the call of it: [`rest`] by the annotations of the schema,
//! [`values`] by HTTP's own headers, [`connect`] by the path of the call, [`original`] as the original
//! server did; gRPC-Web is what tonic has for it. [`openapi`] describes it all, and [`pages`] show that.
//! A call goes through a [`Caller`] into the same services, with the same counts, deadlines and limits,
//! as one that came over gRPC. What the schema says is read from its descriptors when the server
//! starts ([`schema`]).
//!
//! # Why
//! A rule about data that stood here would hold on one way in only. So there is none: this room
//! knows JSON and HTTP, and everything else is the services' to say.
//!
//! # Invariants
//! Every refusal is a status of the services in the form of its surface. Everything wrong with how a
//! request is written is told at once. A key is taken from a path as it was sent: escapes are undone
//! once, and nothing is collapsed.
//!
//! # Not here
//! What is right or wrong about a request: `service`. Sockets, deadlines, drain: `server`.

mod answers;
mod arrival;
mod asked;
mod browsers;
mod caller;
mod connect;
mod flow;
mod json;
mod openapi;
mod original;
mod pages;
mod printer;
mod refusal;
mod rest;
mod schema;
mod template;
mod values;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use crate::telemetry;
use arrival::Arrival;
pub use browsers::Visitors;
pub use caller::{Caller, Message};
use refusal::Refusal;
use schema::Schema;
pub use schema::SchemaError;

/// How the content types of gRPC-Web begin.
const GRPC_WEB: &str = "application/grpc-web";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is configured about the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whom to answer.
    pub visitors: Visitors,
    /// How long the body of a request may take.
    pub patience: Duration,
}

/// Answers requests that are no gRPC calls. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Gateway {
    schema: &'static Schema,
    caller: Caller,
    settings: Arc<Settings>,
}

/// A gateway that has read the schema, and lacks only someone to make its calls.
#[derive(Clone, Debug)]
pub struct Plan {
    schema: &'static Schema,
    settings: Arc<Settings>,
}

impl Plan {
    /// Reads the schema.
    ///
    /// Errors: it cannot be served.
    pub fn new(settings: Settings) -> Result<Plan, SchemaError> {
        Ok(Plan { schema: schema::schema()?, settings: settings.into() })
    }

    /// The gateway that makes its calls by `caller`.
    #[must_use]
    pub fn calling(&self, caller: Caller) -> Gateway {
        Gateway { schema: self.schema, caller, settings: self.settings.clone() }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Body>> for Gateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut arrival = Arrival::new(request, self.settings.patience);
        let visit = Visit {
            settings: Arc::clone(&self.settings),
            id: telemetry::request_id(&arrival.head.headers),
            origin: arrival.header(&ORIGIN).cloned(),
            is_head: arrival.head.method == Method::HEAD,
            has_body: arrival.has_body(),
        };
        // The calls that are made of it have the same name.
        arrival.head.headers.insert(REQUEST_ID, visit.id.clone());
        let visitors = &visit.settings.visitors;
        if let Err(foreign) = visitors.admit(&arrival.head) {
            let mut refusal = Refusal::from(&foreign.into()).answer(self.schema);
            answers::part(&mut refusal);
            return visit.with(std::future::ready(refusal));
        }
        if let Some(response) = visitors.preflight(&arrival.head) {
            return visit.with(std::future::ready(response));
        }
        self.routed(arrival, visit)
    }
}

impl Gateway {
    /// Has the surface answer that a request is for.
    fn routed(&self, arrival: Arrival, visit: Visit) -> Answer {
        let (schema, caller) = (self.schema, self.caller.clone());
        let path = arrival.path();
        if let Some(place) = values::Place::of(path) {
            return visit.with(values::answer(schema, caller, place, arrival));
        }
        if path.starts_with("/v1/") || path.starts_with("/v1:") {
            return visit.with(rest::answer(schema, caller, arrival));
        }
        let content_type = arrival.header(&CONTENT_TYPE);
        if content_type.is_some_and(|kind| kind.as_bytes().starts_with(GRPC_WEB.as_bytes())) {
            return visit.with(over_grpc_web(caller, arrival));
        }
        if schema.is_call(path) {
            return visit.with(connect::answer(schema, caller, arrival));
        }
        if let Some(page) = pages::answer(schema, &arrival) {
            return visit.with(std::future::ready(page));
        }
        visit.with(original::answer(caller, arrival))
    }
}

/// Has tonic make a call of gRPC-Web. Its one message is read first, so that the connection can go on
/// whatever comes of the call.
async fn over_grpc_web(caller: Caller, mut arrival: Arrival) -> Response<Body> {
    let path = arrival.path().to_owned();
    let body = caller.body(&path, &mut arrival, arrival::JSON_BYTES_MAX).await;
    // Whatever its body, it will be refused.
    match body.map(Option::unwrap_or_default) {
        Ok(body) => {
            let request = arrival.into_request(Body::new(Full::new(body)));
            let answer = GrpcWebLayer::new().layer(caller).call(request).await;
            answer.unwrap_or_else(|never| match never {})
        }
        Err(foreign) => {
            let mut response = Status::from(foreign).into_http();
            let kind = HeaderValue::from_static("application/grpc-web+proto");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            answers::part(&mut response);
            response
        }
    }
}

/// What is remembered of a request for its answer.
struct Visit {
    settings: Arc<Settings>,
    id: HeaderValue,
    origin: Option<HeaderValue>,
    is_head: bool,
    has_body: bool,
}

impl Visit {
    /// An answer, with what every answer has. Surfaces come one to a future, so that none is as large
    /// as the largest of them.
    fn with(self, answer: impl Future<Output = Response<Body>> + Send + 'static) -> Answer {
        Box::pin(async move {
            let mut response = answer.await;
            self.settings.visitors.mark(self.origin, &mut response);
            answers::ask_who(&mut response, self.has_body);
            response.headers_mut().insert(REQUEST_ID, self.id);
            Ok(if self.is_head { answers::without_body(response) } else { response })
        })
    }
}

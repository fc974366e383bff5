//! Other ways in than gRPC, on the same port: each turns what it gets into a call, and the answer back.
//!
//! # How it works
//! [`Gateway`] answers every request that is no gRPC call. It admits it ([`browsers`]), finds the
//! surface it is for, and has that make the call of it: [`rest`] by the annotations of the schema,
//! [`values`] by HTTP's own headers, [`connect`] by the path of the call, [`original`] as the original
//! server did; gRPC-Web is what tonic has for it.
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
mod ids;
mod json;
mod original;
mod refusal;
mod rest;
mod schema;
mod template;
mod values;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderName, Method, Request, Response};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use arrival::Arrival;
pub use browsers::Visitors;
pub use caller::Caller;
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
    settings: std::sync::Arc<Settings>,
}

/// A gateway that has read the schema, and lacks only someone to make its calls.
#[derive(Clone, Debug)]
pub struct Plan {
    schema: &'static Schema,
    settings: std::sync::Arc<Settings>,
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

impl Service<Request<Body>> for Gateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.answer(request).await) })
    }
}

impl Gateway {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let mut arrival = Arrival::new(request, self.settings.patience);
        let id = ids::of(&arrival.head.headers);
        let origin = arrival.header(ORIGIN.as_str()).cloned();
        let is_head = arrival.head.method == Method::HEAD;
        arrival.head.headers.insert(REQUEST_ID, id.clone());
        let visitors = &self.settings.visitors;
        let mut response = match visitors.admit(&arrival.head) {
            Err(foreign) => Refusal::from(&foreign.into()).answer(self.schema),
            Ok(()) => match visitors.preflight(&arrival.head) {
                Some(response) => response,
                None => self.routed(arrival).await,
            },
        };
        visitors.mark(origin, &mut response);
        response.headers_mut().insert(REQUEST_ID, id);
        if is_head { answers::without_body(response) } else { response }
    }

    async fn routed(&self, arrival: Arrival) -> Response<Body> {
        if values::is_value(arrival.path()) {
            return values::answer(self.schema, &self.caller, arrival).await;
        }
        if arrival.path().starts_with("/v1/") || arrival.path().starts_with("/v1:") {
            return rest::answer(self.schema, &self.caller, arrival).await;
        }
        let content_type = arrival.header(CONTENT_TYPE.as_str());
        if content_type.is_some_and(|kind| kind.as_bytes().starts_with(GRPC_WEB.as_bytes())) {
            let mut web = GrpcWebLayer::new().layer(self.caller.clone());
            let answer = web.call(arrival.into_request()).await;
            return answer.unwrap_or_else(|never| match never {});
        }
        if self.schema.is_call(arrival.path()) {
            return connect::answer(self.schema, &self.caller, arrival).await;
        }
        original::answer(&self.caller, arrival).await
    }
}

//! All gRPC services under their paths.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::v1::ServerReflectionServer;
use tonic_reflection::server::{Builder, v1alpha};
use tower::Service;

use super::direct;
use super::error::Error;
use super::observed::Observed;
use crate::config::Config;
use crate::gateway::Message;
use crate::model::UnixMillis;
use crate::server::{Readiness, RunError, health};
use crate::service::access::Gate;
use crate::service::{Admin, KeyValue, Namespaces, Now, ServerFacts, in_our_words};
use crate::store::embedded::Embedded;
use crate::wire::v1::admin_service_server::AdminServiceServer;
use crate::wire::v1::key_value_service_server::KeyValueServiceServer;
use crate::wire::v1::namespace_service_server::NamespaceServiceServer;
use crate::{telemetry, wire};

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// An answer on its way, with the statuses that tonic chooses put into our words.
pub(super) struct Reworded(Answer);

impl Future for Reworded {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_ok(in_our_words)
    }
}

/// Something that answers requests.
trait Handler: Send + Sync {
    fn handle(&self, request: Request<Body>) -> Answer;
}

impl<S> Handler for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync,
    S::Future: Send + 'static,
{
    fn handle(&self, request: Request<Body>) -> Answer {
        Box::pin(self.clone().call(request))
    }
}

/// The services. The three of the schema have places of their own, because a router costs as much
/// as a lookup in the store; the others are asked for rarely.
/// A clone is one count: each request takes one.
#[derive(Clone)]
pub(super) struct Services(Arc<All>);

struct All {
    /// The same, for calls that are only messages.
    direct: Arc<KeyValue<Embedded>>,
    key_value: KeyValueServiceServer<KeyValue<Embedded>>,
    namespaces: NamespaceServiceServer<Namespaces<Embedded>>,
    admin: AdminServiceServer<Admin<Embedded>>,
    others: Vec<Named>,
}

impl Services {
    pub(super) fn new(
        store: &Embedded,
        readiness: &Readiness,
        started: Instant,
        started_at: UnixMillis,
        config: &Config,
        observed: &Arc<Observed>,
        gate: &Gate,
    ) -> Result<Services, Error> {
        let clock = store.clock().clone();
        let now: Now = Arc::new(move || clock.now());
        let facts = ServerFacts {
            version: env!("CARGO_PKG_VERSION"),
            build_target: env!("PYKV_TARGET"),
            started,
            started_at,
            namespaces_max: config.namespaces_max,
            config: Arc::<Observed>::clone(observed),
        };
        let direct = Arc::new(KeyValue::new(store.clone(), now, gate.clone(), config.streams));
        let key_value = KeyValue::server(Arc::clone(&direct));
        let namespaces = Namespaces::new(store.clone(), gate.clone()).into_server();
        let admin = Admin::new(store.clone(), facts, gate.clone()).into_server();
        let others = others(readiness)?;
        Ok(Services(Arc::new(All { direct, key_value, namespaces, admin, others })))
    }
}

/// A service under the name its paths begin with.
type Named = (&'static str, Box<dyn Handler>);

fn named<S: NamedService + Handler + 'static>(service: S) -> Named {
    (S::NAME, Box::new(service))
}

fn others(readiness: &Readiness) -> Result<Vec<Named>, Error> {
    let known = [
        <KeyValueServiceServer<KeyValue<Embedded>> as NamedService>::NAME,
        <NamespaceServiceServer<Namespaces<Embedded>> as NamedService>::NAME,
        <AdminServiceServer<Admin<Embedded>> as NamedService>::NAME,
    ];
    let sets = [
        wire::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    for set in sets {
        telemetry::register(set).map_err(RunError::from)?;
    }
    let reflection = || {
        let builder = Builder::configure();
        builder
            .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health: HealthServer<_> = health::service(readiness.clone(), &known);
    let v1: ServerReflectionServer<_> = reflection().build_v1().map_err(Error::Reflection)?;
    let v1alpha: v1alpha::ServerReflectionServer<_> =
        reflection().build_v1alpha().map_err(Error::Reflection)?;
    Ok(vec![named(health), named(v1), named(v1alpha)])
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Reworded;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Reworded {
        if let Some(message) = request.extensions_mut().remove::<Message>() {
            let pass = request.extensions().get();
            match direct::answer(&self.0.direct, request.uri().path(), &message.0, pass) {
                Some(answer) => return Reworded(answer),
                None => *request.body_mut() = message.into_body(),
            }
        }
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        let service = path.split_once('/').map_or("", |(service, _method)| service);
        Reworded(match service {
            "pykv.v1.KeyValueService" => self.0.key_value.clone().call(request),
            "pykv.v1.NamespaceService" => self.0.namespaces.clone().call(request),
            "pykv.v1.AdminService" => self.0.admin.clone().call(request),
            other => match self.0.others.iter().find(|(name, _)| *name == other) {
                Some((_, handler)) => handler.handle(request),
                None => Box::pin(ready(Ok(nobody(&request)))),
            },
        })
    }
}

/// What a request hears that is for none of the services.
fn nobody(request: &Request<Body>) -> Response<Body> {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    if content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return Status::unimplemented("there is no such service").into_http();
    }
    let mut response = Response::new(Body::new("not found\n".to_owned()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

//! A server on a free port, with a health service whose service names choose what it does; what
//! stands behind a "/" only tells one call from another.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_stream::{Stream, iter, pending};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::server::gatekeeper::Everybody;
use crate::server::{Limits, Listening, Readiness, RunError, Server, Side, bind, health, run};
use crate::telemetry;

/// Longer than anything a test waits for; a promise not kept fails instead of hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A service name whose watch has a reply at any time, more than anybody can read.
pub(super) const ENDLESS: &str = "2147483647";

/// What the tests need of a service: answers at once, never, or not at all.
#[derive(Clone, Debug)]
struct Odd;

#[tonic::async_trait]
impl Health for Odd {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let asked = request.into_inner().service;
        telemetry::note_subject(telemetry::Subject { namespace: &asked, key: "", keys: 0 });
        match asked.split('/').next().unwrap_or_default() {
            "never" => std::future::pending().await,
            "panic" => panic!("asked to"),
            "refuse" => Err(Status::not_found("asked to")),
            _ => Ok(Response::new(HealthCheckResponse { status: 1 })),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let count = request.into_inner().service.parse().unwrap_or(1);
        let replies = iter((0..count).map(|status| Ok(HealthCheckResponse { status })));
        let forever = tokio_stream::StreamExt::chain(replies, pending());
        Ok(Response::new(Box::pin(forever)))
    }
}

/// Answers everything with 404.
#[derive(Clone, Debug)]
struct NoWeb;

impl tower::Service<http::Request<Body>> for NoWeb {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        std::future::ready(Ok(response))
    }
}

/// A running server.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) readiness: Readiness,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Running {
    fn start<T: Health + Clone>(
        limits: Limits,
        readiness: Readiness,
        service: HealthServer<T>,
    ) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = vec![Listening { listener, side: Side::Public, tls: None }];
        let gate = Arc::new(Everybody);
        let (stop, stopped) = oneshot::channel();
        let metrics = Some(telemetry::install());
        let server =
            Server { listeners, workers: 2, limits, readiness: readiness.clone(), gate, metrics };
        let routes = tonic::service::Routes::new(service).prepare();
        let shutdown = async { drop(stopped.await) };
        let thread =
            std::thread::spawn(move || run(server, move |_| routes.clone(), |_| NoWeb, shutdown));
        Self { address, readiness, stop: Some(stop), thread: Some(thread) }
    }

    /// With the service made for these tests.
    pub(super) fn odd(limits: Limits) -> Self {
        let readiness = Readiness::new();
        readiness.set_ready(true);
        Self::start(limits, readiness, HealthServer::new(Odd))
    }

    /// With the health service that is shipped.
    pub(super) fn healthy(limits: Limits) -> Self {
        let readiness = Readiness::new();
        let service = health::service(readiness.clone(), &["pykv.v1.KeyValueService"]);
        Self::start(limits, readiness, service)
    }

    pub(super) async fn client(&self) -> HealthClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        HealthClient::new(channel.connect().await.unwrap())
    }

    pub(super) async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Begins the way out.
    pub(super) fn shut_down(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the server has ended.
    pub(super) async fn ended(mut self) {
        self.shut_down();
        let thread = self.thread.take().unwrap();
        let joined = patiently(tokio::task::spawn_blocking(|| thread.join())).await;
        joined.unwrap().unwrap().unwrap();
    }
}

pub(super) fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

/// The outcome of `future`, which must come.
pub(super) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should not take this long")
}

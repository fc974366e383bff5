//! `grpc.health.v1`: one answer for the server, its readiness, its liveness and each service.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::answers;
use super::readiness::{Phase, Readiness, TICK};

/// Health as [`Readiness`] has it.
#[derive(Clone, Debug)]
pub struct OwnHealth {
    readiness: Readiness,
    services: Vec<&'static str>,
}

/// The health service. Beside `services`, by full name, it knows `""` and `readiness`, which both
/// say whether traffic should come, and `liveness`.
pub fn service(readiness: Readiness, services: &[&'static str]) -> HealthServer<OwnHealth> {
    HealthServer::new(OwnHealth { readiness, services: services.into() })
}

impl OwnHealth {
    fn status(&self, name: &str) -> ServingStatus {
        let well = match name {
            "liveness" => self.readiness.is_alive(),
            "" | "readiness" => self.readiness.is_ready(),
            service if self.services.contains(&service) => self.readiness.is_ready(),
            _ => return ServingStatus::ServiceUnknown,
        };
        if well { ServingStatus::Serving } else { ServingStatus::NotServing }
    }

    /// Tells every change of `name` until the watcher leaves or the server does.
    async fn tell(self, name: String, watcher: mpsc::Sender<Result<HealthCheckResponse, Status>>) {
        let mut changes = self.readiness.subscribe();
        // Liveness has no event to wait for.
        let mut ticks = tokio::time::interval(TICK);
        let mut told = None;
        loop {
            let draining = changes.borrow_and_update().phase >= Phase::Draining;
            let status = self.status(&name);
            if told != Some(status) {
                told = Some(status);
                if watcher.send(Ok(response(status))).await.is_err() {
                    return;
                }
            }
            if draining {
                // The watcher may be gone already; there is nothing left to tell either way.
                let _ = watcher.send(Err(answers::shutting_down())).await;
                return;
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = ticks.tick(), if name == "liveness" => {}
                () = watcher.closed() => return,
            }
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for OwnHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.into_inner().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no service of this name")),
            known @ (ServingStatus::Serving
            | ServingStatus::NotServing
            | ServingStatus::Unknown) => Ok(Response::new(response(known))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (watcher, stream) = mpsc::channel(1);
        tokio::spawn(self.clone().tell(request.into_inner().service, watcher));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

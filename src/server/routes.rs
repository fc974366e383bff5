//! The routes that the server answers itself: metrics and probes.

use http::{Method, Request, Response, StatusCode};
use tonic::body::Body;

use super::answers;
use super::readiness::{Phase, Readiness};
use crate::telemetry;

/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// A route of the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Metrics,
    Live,
    Ready,
}

impl Own {
    /// The route that a request is for; none if it is not one of these.
    pub(super) fn of(request: &Request<Body>) -> Option<Own> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return None;
        }
        match request.uri().path() {
            "/metrics" => Some(Own::Metrics),
            "/livez" => Some(Own::Live),
            "/readyz" => Some(Own::Ready),
            _ => None,
        }
    }

    /// What it answers; none where there are no metrics.
    pub(super) fn answer(
        self,
        readiness: &Readiness,
        metrics: Option<&telemetry::Handle>,
    ) -> Option<Response<Body>> {
        match self {
            Own::Metrics => {
                metrics.map(|handle| answers::text(StatusCode::OK, METRICS_TYPE, handle.render()))
            }
            Own::Live => Some(probe(readiness.is_alive(), "alive\n", "stuck\n")),
            Own::Ready => Some(probe(readiness.is_ready(), "ready\n", "not ready\n")),
        }
    }
}

/// Turns a request away that does not speak gRPC, if the server is on its way out.
pub(super) fn turned_away(readiness: &Readiness) -> Option<Response<Body>> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (readiness.phase() >= Phase::Draining)
        .then(|| answers::plain_error(status, "UNAVAILABLE", "the server is shutting down"))
}

fn probe(well: bool, yes: &str, no: &str) -> Response<Body> {
    if well {
        answers::text(StatusCode::OK, TEXT_TYPE, yes.into())
    } else {
        answers::text(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, no.into())
    }
}

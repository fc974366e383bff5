//! Statuses as FastAPI would have answered.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};

use crate::gateway::answers;
use crate::gateway::refusal::Refusal;

/// An answer that ends a request early.
pub(super) type Refused = Box<Response<Body>>;

/// Marks the answer of a server that is not ready yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starting;

/// `{"detail": ...}`.
pub(super) fn detailed(status: StatusCode, detail: Value) -> Response<Body> {
    answers::json(status, json!({ "detail": detail }).to_string())
}

/// The answer to a request by `method` whose call ended with `status`.
pub(super) fn refused(status: &Status, method: &Method) -> Refused {
    let refusal = Refusal::from(status);
    let code = match (refusal.code, refusal.reason.as_str()) {
        (_, "VALUE_TOO_LARGE" | "REQUEST_TOO_LARGE") => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::InvalidArgument, _) => return Box::new(invalid(status, method)),
        (Code::ResourceExhausted, "RATE_LIMITED") => StatusCode::TOO_MANY_REQUESTS,
        (Code::ResourceExhausted, _) => StatusCode::INSUFFICIENT_STORAGE,
        (Code::FailedPrecondition, _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, _) => refusal.http(),
    };
    let detail = match (code, refusal.reason.as_str()) {
        (StatusCode::UNAUTHORIZED, _) => "Not authenticated",
        (StatusCode::FORBIDDEN, _) => "Forbidden",
        (_, "VALUE_TOO_LARGE") => "Value too large",
        (StatusCode::INTERNAL_SERVER_ERROR, _) => "Internal Server Error",
        (_, _) => &refusal.message,
    };
    let mut body = json!({ "detail": detail });
    if !refusal.reason.is_empty() {
        body["reason"] = json!(refusal.reason);
    }
    let mut response = answers::json(code, body.to_string());
    refusal.say_when(&mut response);
    if refusal.reason == "STARTING_UP" {
        response.extensions_mut().insert(Starting);
    }
    Box::new(response)
}

/// Everything that the services found wrong, each where the caller wrote it.
fn invalid(status: &Status, method: &Method) -> Response<Body> {
    let bad = status.get_details_bad_request();
    let violations = bad.map(|bad| bad.field_violations).unwrap_or_default();
    let item = |violation: &FieldViolation| {
        let place = match (violation.field.split('.').next().unwrap_or_default(), method) {
            ("expiration", _) => ["body", "ttl"],
            ("namespace", &Method::POST) => ["body", "namespace"],
            ("namespace", _) => ["query", "ns"],
            ("value", _) => ["body", "value"],
            ("key", &Method::POST) => ["body", "key"],
            (_, _) => ["path", "key"],
        };
        let kind = violation.reason.to_ascii_lowercase();
        json!({ "type": kind, "loc": place, "msg": violation.description, "input": null })
    };
    let items: Vec<_> = violations.iter().map(item).collect();
    detailed(StatusCode::UNPROCESSABLE_ENTITY, json!(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Fault, Foreign};

    #[test]
    fn every_kind_of_status_has_the_code_its_callers_know() {
        let fault = Fault { field: "expiration.ttl".into(), text: "is odd".into() };
        for (status, expected) in [
            (Status::unauthenticated("x"), 401),
            (Status::permission_denied("x"), 403),
            (Status::from(Foreign::Malformed(vec![fault])), 422),
            (Status::from(Foreign::TooLarge { limit: 1 }), 413),
            (Status::from(Foreign::TooSlow), 408),
            (Status::resource_exhausted("x"), 507),
            (Status::failed_precondition("x"), 503),
            (Status::unavailable("x"), 503),
            (Status::deadline_exceeded("x"), 504),
            (Status::internal("x"), 500),
            (Status::unknown("x"), 500),
        ] {
            let response = refused(&status, &Method::POST);
            assert_eq!(response.status().as_u16(), expected, "{status}");
        }
    }
}

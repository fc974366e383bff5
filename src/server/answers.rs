//! Answers that the server gives in the place of the services.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How long a caller who was turned away should wait: another server has taken over by then.
const RETRY_DELAY: Duration = Duration::from_secs(1);

const DOMAIN: &str = "pykv";

/// The time of a call is up.
pub(super) fn deadline_exceeded() -> Status {
    let details = reason("DEADLINE_EXCEEDED");
    Status::with_error_details(Code::DeadlineExceeded, "the call took too long", details)
}

/// The server is on its way out.
pub(super) fn shutting_down() -> Status {
    let mut details = reason("SHUTTING_DOWN");
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, "the server is shutting down", details)
}

/// There is no room for a request now.
pub(super) fn overloaded(delay: Duration) -> Status {
    let mut details = reason("OVERLOADED");
    details.set_retry_info(Some(delay));
    let text = "the server has too many large requests at this moment";
    Status::with_error_details(Code::Unavailable, text, details)
}

/// A service panicked. What it said is in the log and not for callers.
pub(super) fn internal() -> Status {
    Status::internal("the server failed on this call")
}

/// A status as the trailers of an answer that has begun.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only text that is no header value can fail; the number never does.
        let code = HeaderValue::from(i32::from(status.code()));
        trailers.insert("grpc-status", code);
    }
    trailers
}

/// A short text.
pub(super) fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A refusal for callers that do not speak gRPC, with the error body of the REST surface.
pub(super) fn plain_error(status: StatusCode, name: &str, message: &str) -> Response<Body> {
    let body = format!(
        "{{\"error\":{{\"code\":{},\"status\":\"{name}\",\"message\":\"{message}\"}}}}",
        status.as_u16()
    );
    let mut response = text(status, "application/json", body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = HeaderValue::from(RETRY_DELAY.as_secs());
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// A refusal of the gatekeeper for callers that do not speak gRPC.
pub(super) fn turned_away(status: &Status) -> Response<Body> {
    let known = [
        (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        (Code::PermissionDenied, StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
    ];
    let found = known.into_iter().find(|(code, ..)| *code == status.code());
    // What is served elsewhere is not here.
    let (code, name) =
        found.map_or((StatusCode::NOT_FOUND, "NOT_FOUND"), |(_, code, name)| (code, name));
    // Not the text of the status: it may repeat what a caller has sent.
    let mut response = plain_error(code, name, "this is not for this caller");
    if code == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"pykv\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

fn reason(reason: &str) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, std::collections::HashMap::new());
    details
}

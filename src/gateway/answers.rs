//! HTTP answers: their parts that all have in common.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use tonic::body::Body;

pub(super) const JSON: &str = "application/json";

/// An answer with a body.
pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    whole(status, JSON, body)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Says that the connection ends with this answer, because the request was not read to its end. Over
/// HTTP/2, where that ends nothing, hyper takes it out again.
pub(super) fn part(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Adds which methods a path has.
pub(super) fn allow(response: &mut Response<Body>, methods: &[Method]) {
    let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(list) = HeaderValue::from_str(&list) {
        response.headers_mut().insert(ALLOW, list);
    }
}

/// The answer to HEAD where this is the one to GET: everything but the body.
pub(super) fn without_body(response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let (mut parts, _body) = response.into_parts();
    if let Some(length) = length {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// What an answer says besides where it was not told who asks, or that one may not. What there was in
/// the body of such a request was not read.
pub(super) fn ask_who(response: &mut Response<Body>, has_body: bool) {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"pykv\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    if has_body && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        part(response);
    }
}

//! The pages about the API: one to try it, one to read. Neither loads anything from elsewhere.

mod reference;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, Method, Response, StatusCode};
use tonic::body::Body;

use super::openapi;
use super::refusal::Refusal;
use super::schema::Schema;
use super::{answers, arrival::Arrival};
use crate::service::Foreign;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Scripts and requests go to this server alone; pictures stand in the stylesheet itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// How long what only changes with a release may be kept.
const KEPT: &str = "max-age=3600";

/// What is at a path: its type, and what it is.
fn page(schema: &'static Schema, path: &str) -> Option<(&'static str, &'static str)> {
    const BUNDLE: &str = include_str!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js"));
    const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/swagger-ui.css"));
    match path {
        "/openapi.json" => Some((answers::JSON, openapi::document(schema))),
        "/docs" => Some((HTML, include_str!("docs.html"))),
        "/docs/swagger.js" => Some((SCRIPT, include_str!("swagger.js"))),
        "/docs/swagger-ui-bundle.js" => Some((SCRIPT, BUNDLE)),
        "/docs/swagger-ui.css" => Some((CSS, STYLE)),
        "/redoc" => Some((HTML, reference::page(schema))),
        "/redoc/reference.css" => Some((CSS, include_str!("reference.css"))),
        _ => None,
    }
}

/// Answers a request for a page, if it is for one.
pub(super) fn answer(schema: &'static Schema, arrival: &Arrival) -> Option<Response<Body>> {
    let (content_type, body) = page(schema, arrival.path())?;
    if *arrival.verb() != Method::GET {
        let mut response = Refusal::from(&Foreign::MethodNotAllowed.into()).answer(schema);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    let mut response = answers::whole(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    match content_type {
        HTML => headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        _ => headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEPT)),
    };
    Some(response)
}

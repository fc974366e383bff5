//! A request on its way to an answer: its head, and its body when it is wanted.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;

use super::caller::Head;
use crate::service::{Fault, Foreign};

/// Most bytes of a body in JSON. Values take a third more than as bytes.
pub(super) const JSON_BYTES_MAX: usize = 8 << 20;

/// A request.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) head: Parts,
    body: Body,
    patience: Duration,
}

impl Arrival {
    /// `patience` is how long its body may take.
    pub(super) fn new(request: Request<Body>, patience: Duration) -> Arrival {
        let (head, body) = request.into_parts();
        Arrival { head, body, patience }
    }

    /// The whole, for somebody else, with what came of its body.
    pub(super) fn into_request(self, body: Body) -> Request<Body> {
        Request::from_parts(self.head, body)
    }

    /// The method whose answer is wanted. That of HEAD is that of GET.
    pub(super) fn verb(&self) -> &Method {
        if self.head.method == Method::HEAD { &Method::GET } else { &self.head.method }
    }

    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.head.headers.get(name)
    }

    /// What a call gets of this.
    pub(super) fn take_head(&mut self) -> Head {
        Head::of(&self.head.headers, std::mem::take(&mut self.head.extensions))
    }

    /// The same for one of several calls that are made of this.
    pub(super) fn head_again(&self) -> Head {
        Head::of(&self.head.headers, self.head.extensions.clone())
    }

    /// Whether there is anything to be read.
    pub(super) fn has_body(&self) -> bool {
        !http_body::Body::is_end_stream(&self.body)
    }

    /// Reads the whole body, once.
    ///
    /// Errors: it has more than `limit` bytes, which is told before it is read if it is known; it
    /// takes too long, or cannot be read.
    pub(super) async fn body(&mut self, limit: usize) -> Result<Bytes, Foreign> {
        let length = self.header(&CONTENT_LENGTH);
        let announced = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|announced: u64| announced > limit as u64) {
            return Err(Foreign::TooLarge { limit });
        }
        let body = std::mem::take(&mut self.body);
        if http_body::Body::is_end_stream(&body) {
            return Ok(Bytes::new());
        }
        match timeout(self.patience, Limited::new(body, limit).collect()).await {
            Err(_) => Err(Foreign::TooSlow),
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Foreign::TooLarge { limit }),
            // Of what breaks a body only the server's own refusal has details.
            Ok(Err(error)) if error.downcast_ref().is_some_and(has_details) => {
                Err(Foreign::Overloaded)
            }
            Ok(Err(_)) => {
                let (field, text) = ("body", "breaks off, or is not framed as it should");
                Err(Foreign::Malformed(vec![Fault { field: field.into(), text: text.into() }]))
            }
        }
    }
}

fn has_details(status: &Status) -> bool {
    !status.details().is_empty()
}

/// What is said about the content type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Unsaid,
    /// JSON in UTF-8.
    Json,
    /// Something else.
    Other,
}

/// What the headers say about the content type.
pub(super) fn content(headers: &HeaderMap) -> Content {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Content::Unsaid };
    let text = content_type.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let is_utf_8 = charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"));
    let is_json = essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"));
    if is_json && is_utf_8 { Content::Json } else { Content::Other }
}

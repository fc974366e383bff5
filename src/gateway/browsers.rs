//! What keeps pages of other people from using a browser against this server.
//!
//! There are no cookies, so a page has no more rights than its reader's network. What is left: a page
//! that changes something with a request it may not read the answer to, and a page that points a name
//! of its own to this address.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, HOST, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use tonic::body::Body;

use super::answers;
use crate::service::Foreign;

/// Methods a page of an allowed origin may use.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
/// Headers such a page may read.
const EXPOSED: &str = "allow, content-disposition, etag, grpc-message, grpc-status, \
     grpc-status-details-bin, last-modified, location, pykv-ttl, retry-after, x-request-id";
/// How long a browser may remember what it is told, in seconds.
const REMEMBERED: &str = "600";

/// Whom to answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Visitors {
    /// Origins, such as `https://app.example`, whose pages may use this server; `*` for all.
    pub origins: Vec<String>,
    /// Names this server is reached by, without port, besides "localhost" and addresses; "*" for all.
    pub hosts: Vec<String>,
}

impl Visitors {
    /// Refuses what no honest page sends.
    pub(super) fn admit(&self, head: &Parts) -> Result<(), Foreign> {
        let host = authority(head);
        if let Some(host) = host
            && !self.knows(name_of(host))
        {
            return Err(Foreign::HostForbidden { host: shortened(host) });
        }
        if matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        match (text("origin"), text("sec-fetch-site")) {
            (Some(origin), _) if self.allows(origin) || is_same(origin, host) => Ok(()),
            (Some(origin), _) => Err(Foreign::OriginForbidden { origin: shortened(origin) }),
            (None, None | Some("same-origin" | "none")) => Ok(()),
            (None, Some(site)) => Err(Foreign::OriginForbidden { origin: shortened(site) }),
        }
    }

    fn knows(&self, name: &str) -> bool {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|host| host == "*" || host.eq_ignore_ascii_case(name))
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }

    /// The answer to a browser that asks what a page may do; none if it does not ask, or if no page
    /// may do anything.
    pub(super) fn preflight(&self, head: &Parts) -> Option<Response<Body>> {
        let origin = head.headers.get(ORIGIN)?;
        let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if head.method != Method::OPTIONS || self.origins.is_empty() {
            return None;
        }
        let bad = StatusCode::BAD_REQUEST;
        let is_method = method.to_str().is_ok_and(|name| METHODS.split(", ").any(|m| m == name));
        let (status, text) = match (self.allows(origin.to_str().unwrap_or("?")), is_method) {
            (false, _) => (bad, "Disallowed CORS origin"),
            (true, false) => (bad, "Disallowed CORS method"),
            (true, true) => (StatusCode::OK, "OK"),
        };
        let mut response = answers::whole(status, "text/plain; charset=utf-8", text);
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        if let Some(wanted) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        Some(response)
    }

    /// What every answer tells the browser of a page from `origin`.
    pub(super) fn mark(&self, origin: Option<HeaderValue>, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.origins.is_empty() {
            return;
        }
        let anyone = self.origins.iter().any(|allowed| allowed == "*");
        if !anyone {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin else { return };
        if anyone {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else if self.allows(origin.to_str().unwrap_or("?")) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        } else {
            return;
        }
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// Host and port that a request is for.
fn authority(head: &Parts) -> Option<&str> {
    let named = head.uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| head.headers.get(HOST).map(|host| host.to_str().unwrap_or("?")))
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        Some(_) | None => authority,
    }
}

/// Whether a page of `origin` was loaded from where it sends to.
fn is_same(origin: &str, host: Option<&str>) -> bool {
    let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    place.is_some_and(|place| host.is_some_and(|host| host.eq_ignore_ascii_case(place)))
}

/// As much of a foreign text as an answer may echo.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/v1/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn visitors(origins: &[&str], hosts: &[&str]) -> Visitors {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Visitors { origins: owned(origins), hosts: owned(hosts) }
    }

    #[test]
    fn only_names_that_are_known_are_answered() {
        for (hosts, host, expected) in [
            (&[][..], "localhost:8000", true),
            (&[], "127.0.0.1:8000", true),
            (&[], "[::1]:8000", true),
            (&[], "[::1]", true),
            (&[], "LocalHost", true),
            (&[], "evil.example", false),
            (&[], "evil.example:8000", false),
            (&[], "localhost.evil.example", false),
            (&[], "127.0.0.1.evil.example", false),
            (&["kv.example"], "kv.example:443", true),
            (&["kv.example"], "KV.example", true),
            (&["kv.example"], "x.kv.example", false),
            (&["*"], "anything", true),
        ] {
            let admitted = visitors(&[], hosts).admit(&parts("GET", &[("host", host)]));
            assert_eq!(admitted.is_ok(), expected, "{hosts:?} {host}");
        }
        assert_eq!(visitors(&[], &[]).admit(&parts("GET", &[])), Ok(()));
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let host = ("host", "localhost:8000");
        for (origins, method, header, expected) in [
            (&[][..], "POST", ("origin", "http://localhost:8000"), true),
            (&[], "POST", ("origin", "http://localhost:9000"), false),
            (&[], "POST", ("origin", "https://evil.example"), false),
            (&[], "DELETE", ("origin", "null"), false),
            (&[], "PUT", ("sec-fetch-site", "cross-site"), false),
            (&[], "PUT", ("sec-fetch-site", "same-site"), false),
            (&[], "PUT", ("sec-fetch-site", "same-origin"), true),
            (&[], "PATCH", ("user-agent", "curl"), true),
            (&[], "GET", ("origin", "https://evil.example"), true),
            (&["https://app.example"], "POST", ("origin", "https://app.example"), true),
            (&["https://app.example"], "POST", ("origin", "https://app.example.evil"), false),
            (&["*"], "POST", ("origin", "https://evil.example"), true),
        ] {
            let admitted = visitors(origins, &[]).admit(&parts(method, &[host, header]));
            assert_eq!(admitted.is_ok(), expected, "{origins:?} {method} {header:?}");
        }
    }

    #[test]
    fn a_browser_is_told_what_a_page_may_do() {
        let ask = |origin: &str, method: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", "content-type, x-custom"),
            ];
            let head = parts("OPTIONS", &headers);
            visitors(&["https://app.example"], &[]).preflight(&head).map(|answer| answer.status())
        };
        assert_eq!(ask("https://app.example", "POST"), Some(StatusCode::OK));
        assert_eq!(ask("https://app.example", "FOO"), Some(StatusCode::BAD_REQUEST));
        assert_eq!(ask("https://evil.example", "POST"), Some(StatusCode::BAD_REQUEST));
        let head = parts("OPTIONS", &[("origin", "x"), ("access-control-request-method", "GET")]);
        assert!(visitors(&[], &[]).preflight(&head).is_none());
        assert!(visitors(&["*"], &[]).preflight(&parts("OPTIONS", &[("origin", "x")])).is_none());
    }

    #[test]
    fn only_pages_of_allowed_origins_may_read_an_answer() {
        let allowed = |origins: &[&str], origin: Option<&'static str>| {
            let mut response = answers::empty(StatusCode::OK);
            visitors(origins, &[]).mark(origin.map(HeaderValue::from_static), &mut response);
            let header =
                |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            (header("access-control-allow-origin"), header("vary"))
        };
        let app = "https://app.example";
        assert_eq!(allowed(&[], Some(app)), (None, None));
        assert_eq!(allowed(&["*"], Some(app)), (Some("*".into()), None));
        assert_eq!(allowed(&["*"], None), (None, None));
        assert_eq!(allowed(&[app], Some(app)), (Some(app.into()), Some("origin".into())));
        assert_eq!(allowed(&[app], Some("https://b")), (None, Some("origin".into())));
        assert_eq!(allowed(&[app], None), (None, Some("origin".into())));
    }
}

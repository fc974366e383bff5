//! What surrounds every gRPC call: its count, its deadline, and what happens when the service fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::answers;
use super::budget::Share;
use super::gatekeeper::{Gatekeeper, Turned};
use super::guard::{Answering, refuse};
use super::line::Line;
use super::readiness::{Phase, Readiness};
use super::reply::{Call, Reply};
use crate::telemetry::{self, Kind, Method};

/// A service over HTTP that always has an answer.
pub trait Handler:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Handler for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// Counts, times and guards gRPC calls on their way to a service. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Calls<S> {
    inner: S,
    rules: Rules,
}

#[derive(Clone)]
struct Rules {
    /// Every method known when this was made, by path.
    methods: Arc<AHashMap<String, &'static Method>>,
    /// Where calls of paths that are not known are counted, all together.
    unknown: &'static Method,
    readiness: Readiness,
    gate: Arc<dyn Gatekeeper>,
    unary_max: Duration,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("unary_max", &self.unary_max).finish_non_exhaustive()
    }
}

impl<S> Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    /// Surrounds `inner`. Methods must be known to `telemetry` by now; `gate` is asked before each
    /// call, and `unary_max` is the longest time for a unary one.
    pub fn new(
        inner: S,
        readiness: Readiness,
        gate: Arc<dyn Gatekeeper>,
        unary_max: Duration,
    ) -> Self {
        let methods = Arc::new(telemetry::methods().into_iter().collect());
        let unknown = telemetry::method("unknown", "unknown");
        Self { inner, rules: Rules { methods, unknown, readiness, gate, unary_max } }
    }

    /// Answers a call that did not come over gRPC but was made one. It came by the [`Line`] among the
    /// extensions. The service must be ready at any time, as those
    /// of tonic are.
    pub fn call(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Reply>, Infallible>> + use<S> {
        let line = request.extensions().get::<Arc<Line>>().cloned();
        let share = request.extensions().get::<Share>().cloned();
        self.answer(request, &line.unwrap_or_else(Line::unknown), share.as_ref())
    }

    /// Answers one call that came by `line`, on the connection that has this share.
    pub(super) fn answer(
        &self,
        mut request: Request<Body>,
        line: &Line,
        share: Option<&Share>,
    ) -> Answering<S::Future> {
        let call = match self.rules.begin(&mut request, line) {
            Ok(mut call) => {
                if matches!(call.method.kind(), Kind::ServerStream | Kind::BidiStream) {
                    call.turns = share.map(Share::turns);
                }
                call
            }
            Err((refused, Duration::ZERO)) => return Answering::there(*refused),
            Err((refused, delay)) => return Answering::later(*refused, delay),
        };
        let mut inner = self.inner.clone();
        Answering::working(Some(call), move || inner.call(request))
    }
}

impl Rules {
    /// Begins to count a call, or refuses it.
    fn begin(&self, request: &mut Request<Body>, line: &Line) -> Result<Call, Refused> {
        let known = self.methods.get(request.uri().path()).copied();
        let mut call = Call::begin(
            known.unwrap_or(self.unknown),
            self.readiness.clone(),
            line.peer,
            request.headers(),
        );
        // An unknown path is answered at once, or streams; either way no limit is ours to set.
        let cap = known.filter(|method| method.kind() == Kind::Unary).map(|_| self.unary_max);
        let asked = request.headers().get("grpc-timeout").and_then(|text| timeout(text.as_bytes()));
        let limit = [cap, asked].into_iter().flatten().min();
        call.is_timed = asked.is_some();
        call.deadline = limit.and_then(|limit| call.started.checked_add(limit));

        if limit == Some(Duration::ZERO) {
            return Err(at_once(call, &answers::deadline_exceeded()));
        }
        if self.readiness.phase() >= Phase::Draining {
            return Err(at_once(call, &answers::shutting_down()));
        }
        match self.gate.admit(request, line) {
            Ok(lease) => {
                call.lease = lease;
                Ok(call)
            }
            Err(Turned { status, delay }) => {
                let (refused, _) = at_once(call, &status);
                Err((refused, delay))
            }
        }
    }
}

/// The answer to a call that is refused, and how long it waits.
type Refused = (Box<Response<Reply>>, Duration);

fn at_once(call: Call, status: &Status) -> Refused {
    (Box::new(refuse(Some(call), status)), Duration::ZERO)
}

/// Whether a request is native gRPC. gRPC-Web says `application/grpc-web`.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|content| content.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The value of `grpc-timeout`: at most eight digits and a unit. What is no such value is ignored.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_the_protocol_spells_it_and_nothing_else_is() {
        let cases: [(&str, Option<Duration>); 10] = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("123456789S", None),
            ("S", None),
            ("-1S", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn grpc_web_is_not_taken_for_grpc() {
        for (content, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{content}");
        }
    }
}

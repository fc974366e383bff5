//! The Connect protocol for calls with one message each way: `POST /package.Service/Method`.
//!
//! <https://connectrpc.com/docs/protocol/>

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::body::Body;
use tonic::{Code, Status};

use super::arrival::{Arrival, Content, JSON_BYTES_MAX, content};
use super::caller::Caller;
use super::refusal::Refusal;
use super::schema::{Rpc, Schema};
use super::{answers, json, rest};
use crate::service::{Fault, Foreign, REQUEST_BYTES_MAX};

const PROTO: &str = "application/proto";
/// What a stream needs.
const STREAMS: &str = "application/grpc-web+proto, because this method streams";
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// Longest time a caller can allow, in milliseconds: as many digits as the protocol has.
const TIMEOUT_DIGITS_MAX: usize = 10;

/// Answers a request at the path of a call, if there is such a call.
pub(super) async fn answer(schema: &Schema, caller: Caller, arrival: Arrival) -> Response<Body> {
    let Some(rpc) = schema.rpc(arrival.path()) else {
        return refused(schema, &Foreign::RouteNotFound.into());
    };
    if arrival.head.method != Method::POST {
        let allowed = [Method::POST, Method::OPTIONS];
        let mut response = match arrival.head.method {
            Method::OPTIONS => answers::empty(StatusCode::NO_CONTENT),
            _ => refused(schema, &Foreign::MethodNotAllowed.into()),
        };
        answers::allow(&mut response, &allowed);
        return response;
    }
    called(schema, &caller, rpc, arrival).await.unwrap_or_else(|status| {
        let mut response = refused(schema, &status);
        if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let accepted = HeaderValue::from_static("application/json, application/proto");
            response.headers_mut().insert("accept-post", accepted);
        }
        response
    })
}

async fn called(
    schema: &Schema,
    caller: &Caller,
    rpc: &Rpc,
    mut arrival: Arrival,
) -> Result<Response<Body>, Status> {
    if !rpc.is_unary() {
        return Err(Foreign::MediaTypeUnsupported { expected: STREAMS }.into());
    }
    let codec = codec(&arrival.head.headers);
    // Read before it is refused, so that the connection can go on.
    let limit = codec.as_ref().map_or(JSON_BYTES_MAX, |codec| codec.bytes_max());
    let Some(body) = caller.body(rpc.path.path(), &mut arrival, limit).await? else {
        return Err(caller.refusal(&rpc.path, arrival.take_head()).await);
    };
    let codec = codec?;
    let input = rpc.descriptor.input();
    let request = match codec {
        Codec::Json => json::read(&input, &body).map_err(Foreign::Malformed)?,
        Codec::Proto => DynamicMessage::decode(input, body).map_err(|error| {
            Foreign::Malformed(vec![Fault { field: String::new(), text: error.to_string() }])
        })?,
    };
    let timeout = arrival.header(&TIMEOUT).map(timeout).transpose()?;
    let mut head = arrival.take_head();
    timeout.into_iter().for_each(|timeout| head.set_timeout(timeout));
    let answer = caller.unary(&rpc.path, request.encode_to_vec().into(), head).await?;
    if codec == Codec::Proto {
        return Ok(answers::whole(StatusCode::OK, PROTO, answer));
    }
    Ok(answers::json(StatusCode::OK, rest::whole(schema, &rpc.descriptor.output(), &answer)?))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    Json,
    Proto,
}

impl Codec {
    fn bytes_max(self) -> usize {
        match self {
            Codec::Json => JSON_BYTES_MAX,
            Codec::Proto => REQUEST_BYTES_MAX,
        }
    }
}

fn codec(headers: &HeaderMap) -> Result<Codec, Foreign> {
    let is_plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    if !is_plain {
        let expected = "application/json or application/proto, without content-encoding";
        return Err(Foreign::MediaTypeUnsupported { expected });
    }
    match content(headers) {
        Content::Json => Ok(Codec::Json),
        Content::Other if headers.get(CONTENT_TYPE).is_some_and(|kind| kind == PROTO) => {
            Ok(Codec::Proto)
        }
        Content::Unsaid | Content::Other => {
            Err(Foreign::MediaTypeUnsupported { expected: "application/json or application/proto" })
        }
    }
}

/// The time that a caller allows, as gRPC spells it.
fn timeout(value: &HeaderValue) -> Result<HeaderValue, Foreign> {
    let digits = value.to_str().ok().filter(|text| text.len() <= TIMEOUT_DIGITS_MAX);
    let millis = digits.and_then(|text| text.parse::<u64>().ok());
    let spelled = millis.and_then(|millis| {
        // gRPC has eight digits, and room for larger units.
        let text =
            if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1000) };
        HeaderValue::try_from(text).ok()
    });
    spelled.ok_or_else(|| {
        let text = "must be a number of milliseconds of at most ten digits".into();
        Foreign::Malformed(vec![Fault { field: "connect-timeout-ms".into(), text }])
    })
}

/// A refusal as the protocol has it.
fn refused(schema: &Schema, status: &Status) -> Response<Body> {
    let refusal = Refusal::from(status);
    let spelled_out = refusal.details(schema);
    let mut debug = spelled_out.into_iter();
    let detail = |detail: &prost_types::Any| {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        let value = BASE64_STANDARD_NO_PAD.encode(&detail.value);
        serde_json::json!({ "type": name, "value": value, "debug": debug.next() })
    };
    let details: Vec<_> = refusal.wire.details.iter().map(detail).collect();
    let error = serde_json::json!({
        "code": code_name(refusal.code), "message": refusal.message, "details": details,
    });
    let mut response = answers::json(refusal.http(), error.to_string());
    refusal.say_when(&mut response);
    response
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_spelled_for_grpc_or_refused() {
        for (said, expected) in [
            ("0", Some("0m")),
            ("1500", Some("1500m")),
            ("99999999", Some("99999999m")),
            ("100000000", Some("100000S")),
            ("9999999999", Some("9999999S")),
            ("10000000000", None),
            ("-1", None),
            ("1s", None),
            ("", None),
        ] {
            let spelled = timeout(&HeaderValue::from_static(said)).ok();
            assert_eq!(spelled.as_ref().map(|v| v.to_str().unwrap()), expected, "{said}");
        }
    }
}

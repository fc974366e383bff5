//! Statuses as HTTP answers: codes, bodies by AIP-193, and when to come back.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::body::Body;
use tonic::{Code, Status};

use super::schema::Schema;
use super::{answers, json};
use crate::service::parts_of;

/// Reasons that HTTP has a code of its own for.
const OF_REASON: [(&str, StatusCode); 5] = [
    ("REQUEST_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE),
    ("METHOD_NOT_ALLOWED", StatusCode::METHOD_NOT_ALLOWED),
    ("MEDIA_TYPE_UNSUPPORTED", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ("CONDITION_NOT_MET", StatusCode::PRECONDITION_FAILED),
    ("REQUEST_TIMEOUT", StatusCode::REQUEST_TIMEOUT),
];

/// A status taken apart, for answers in one form or another.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
    /// As the schema names it; empty where there is none.
    pub(super) reason: String,
    pub(super) retry: Option<Duration>,
    /// The whole, as `google.rpc.Status`.
    pub(super) wire: tonic_types::Status,
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Refusal {
        let (wire, reason, retry) = parts_of(status);
        let (code, message) = (status.code(), status.message().to_owned());
        Refusal { code, message, reason: reason.unwrap_or_default(), retry, wire }
    }
}

impl Refusal {
    /// The code of HTTP.
    pub(super) fn http(&self) -> StatusCode {
        if let Some((_, code)) = OF_REASON.iter().find(|(reason, _)| *reason == self.reason) {
            return *code;
        }
        http_of(self.code)
    }

    /// The body by AIP-193, in which details are spelled out.
    pub(super) fn body(&self, schema: &Schema) -> Vec<u8> {
        let details = self.details(schema);
        let error = serde_json::json!({
            "code": self.http().as_u16(),
            "status": name_of(self.code),
            "message": self.message,
            "details": details,
        });
        serde_json::json!({ "error": error }).to_string().into_bytes()
    }

    /// Each detail as JSON; one of a type that is not known is left out.
    pub(super) fn details(&self, schema: &Schema) -> Vec<serde_json::Value> {
        let Some(any) = schema.pool.get_message_by_name("google.protobuf.Any") else {
            return Vec::new();
        };
        let spelled_out = |detail: &prost_types::Any| {
            let bytes = detail.encode_to_vec();
            let message = DynamicMessage::decode(any.clone(), bytes.as_slice()).ok()?;
            let mut buffer = Vec::new();
            json::write(&message, &mut buffer).ok()?;
            serde_json::from_slice(&buffer).ok()
        };
        self.wire.details.iter().filter_map(spelled_out).collect()
    }

    /// The answer by AIP-193.
    pub(super) fn answer(&self, schema: &Schema) -> Response<Body> {
        let mut response = answers::json(self.http(), self.body(schema));
        self.say_when(&mut response);
        response
    }

    /// Says when to come back, where that is known, and whether to a new connection.
    pub(super) fn say_when(&self, response: &mut Response<Body>) {
        if matches!(self.http(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            answers::part(response);
        }
        if let Some(delay) = self.retry {
            let seconds = delay.as_millis().div_ceil(1000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

fn http_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The code of HTTP for a code as `google.rpc.Code` spells it.
pub(super) fn http_of_name(name: &str) -> Option<StatusCode> {
    (0..=16).map(Code::from_i32).find(|code| name_of(*code) == name).map(http_of)
}

/// As `google.rpc.Code` spells it.
pub(super) fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

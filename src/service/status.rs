//! What stands between a caller and an answer, as a gRPC status. Status codes are chosen here.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

use crate::store::{Error, Quota, Refusal, SnapshotError, WatchError};
use crate::telemetry;
use crate::wire::v1::ErrorReason;

/// The domain of every `google.rpc.ErrorInfo` this server sends.
pub const ERROR_DOMAIN: &str = "pykv";

/// When to come back while the server starts, stops or restarts: a restart takes about that long.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A failure under construction.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Failure {
    /// A failure without details.
    pub(super) fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Failure {
        let (message, details) = (message.into(), ErrorDetails::new());
        Failure { code, reason, message, metadata: HashMap::new(), details }
    }

    /// An INVALID_ARGUMENT about `field`, a path from the top of the request.
    fn invalid(field: &str, reason: ErrorReason, message: impl Into<String>) -> Failure {
        let mut failure = Failure::new(Code::InvalidArgument, reason, message);
        let description = failure.message.clone();
        let mut violation = FieldViolation::new(field, description);
        violation.reason = reason_name(reason).to_owned();
        failure.details.set_bad_request(vec![violation]);
        failure
    }

    /// Adds a pair to the metadata of the `ErrorInfo`.
    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Failure {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds everything else there is to say.
    pub(super) fn with_details(mut self, details: ErrorDetails) -> Failure {
        self.details = details;
        self
    }

    pub(super) fn with_retry(mut self, delay: Duration) -> Failure {
        self.details.set_retry_info(Some(delay));
        self
    }

    fn with_precondition(mut self, subject: &str) -> Failure {
        let violation =
            PreconditionViolation::new(reason_name(self.reason), subject, self.message.clone());
        self.details.set_precondition_failure(vec![violation]);
        self
    }

    fn with_quota(mut self, subject: &str) -> Failure {
        let violation = QuotaViolation::new(subject, self.message.clone());
        self.details.set_quota_failure(vec![violation]);
        self
    }

    fn with_resource(mut self, namespace: &str) -> Failure {
        let description = self.message.clone();
        self.details.set_resource_info("pykv.v1.Namespace", namespace, "", description);
        self
    }

    /// As the status of a call.
    pub(super) fn into_status(mut self) -> Status {
        self.details.set_error_info(reason_name(self.reason), ERROR_DOMAIN, self.metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }

    /// As the result of one operation of a batch: same code, same details.
    pub(super) fn into_wire(self) -> tonic_types::Status {
        to_wire(&self.into_status())
    }
}

/// A status as part of an answer: same code, same details.
pub(super) fn to_wire(status: &Status) -> tonic_types::Status {
    parts_to_wire(status.code() as i32, status.message(), status.details())
}

/// A status as a message, and the reason and the delay among its details.
pub fn parts_of(status: &Status) -> (tonic_types::Status, Option<String>, Option<Duration>) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    (to_wire(status), reason, delay)
}

/// The status that an operation was logged with.
pub(super) fn of_logged(failure: &telemetry::Failure) -> tonic_types::Status {
    parts_to_wire(i32::from(failure.code), &failure.message, &failure.details)
}

/// The failure to log where a status is part of an answer.
pub(super) fn to_logged(status: &tonic_types::Status) -> telemetry::Failure {
    let code = u16::try_from(status.code).unwrap_or(Code::Unknown as u16);
    telemetry::Failure::new(code, &status.message, status.encode_to_vec().into())
}

fn parts_to_wire(code: i32, message: &str, details: &[u8]) -> tonic_types::Status {
    let bare = || tonic_types::Status { code, message: message.to_owned(), details: Vec::new() };
    // The details of a status with details are the very message wanted here, encoded.
    match details {
        [] => bare(),
        details => tonic_types::Status::decode(details).unwrap_or_else(|_| bare()),
    }
}

/// The reason's name as it is sent: that of the schema without its prefix.
pub(super) fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// What `error`, met while working on `namespace`, becomes.
pub(super) fn of_error(error: &Error, namespace: &str) -> Failure {
    let text = error.to_string();
    let new = |code, reason| Failure::new(code, reason, text.clone());
    match error {
        Error::Refused { index, refusal } => of_refused_operation(*index, *refusal, namespace),
        Error::NamespaceNotFound(name) => new(Code::NotFound, ErrorReason::NamespaceNotFound)
            .with("namespace", name)
            .with_resource(name),
        Error::NamespaceExists(name) => {
            new(Code::AlreadyExists, ErrorReason::NamespaceAlreadyExists)
                .with("namespace", name)
                .with_resource(name)
        }
        Error::NamespaceNotEmpty(name) => {
            new(Code::FailedPrecondition, ErrorReason::NamespaceNotEmpty)
                .with("namespace", name)
                .with_precondition(&subject(name))
        }
        Error::NamespaceProtected => new(Code::FailedPrecondition, ErrorReason::NamespaceProtected)
            .with_precondition(&subject(namespace)),
        Error::EtagMismatch => new(Code::Aborted, ErrorReason::EtagMismatch),
        Error::TooManyNamespaces { limit } => {
            new(Code::ResourceExhausted, ErrorReason::TooManyNamespaces)
                .with("limit", limit)
                .with_quota("server")
        }
        Error::RateLimited { retry_after } => {
            new(Code::ResourceExhausted, ErrorReason::RateLimited)
                .with("namespace", namespace)
                .with_quota(&subject(namespace))
                .with_retry(*retry_after)
        }
        Error::TooMuch { limit_bytes } => {
            new(Code::ResourceExhausted, ErrorReason::ResponseTooLarge).with("limit", limit_bytes)
        }
        Error::Overloaded { retry_after } => {
            new(Code::Unavailable, ErrorReason::Overloaded).with_retry(*retry_after)
        }
        Error::ReadOnly => {
            new(Code::FailedPrecondition, ErrorReason::ReadOnly).with_precondition("server")
        }
        // No RetryInfo: room on a disk returns when a person makes some.
        Error::DiskFull => new(Code::ResourceExhausted, ErrorReason::DiskFull),
        Error::LogFailed => {
            new(Code::Unavailable, ErrorReason::StorageFailure).with_retry(RESTART_DELAY)
        }
        // UNKNOWN, because clients repeat what is UNAVAILABLE.
        Error::OutcomeUnknown => new(Code::Unknown, ErrorReason::OutcomeUnknown),
        Error::Watch(error) => of_watch(*error),
        Error::Snapshot(error) => of_snapshot(error, namespace),
        Error::StartingUp { progress } => new(Code::Unavailable, ErrorReason::StartingUp)
            .with("progress", format!("{progress:.2}"))
            .with_retry(RESTART_DELAY),
        Error::Stopped => {
            new(Code::Unavailable, ErrorReason::ShuttingDown).with_retry(RESTART_DELAY)
        }
    }
}

/// What it becomes that a watch cannot begin or go on.
fn of_watch(error: WatchError) -> Failure {
    let new = |code, reason| Failure::new(code, reason, error.to_string());
    match error {
        WatchError::HistoryLost { oldest } => {
            new(Code::OutOfRange, ErrorReason::WatchHistoryLost).with("oldest_version", oldest.0)
        }
        WatchError::VersionInFuture { version } => {
            new(Code::OutOfRange, ErrorReason::VersionInFuture).with("version", version.0)
        }
        WatchError::Lagging { last } => {
            let failure = new(Code::ResourceExhausted, ErrorReason::WatchLagging);
            match last {
                Some(last) => failure.with("last_version", last.0),
                None => failure,
            }
        }
    }
}

/// What it becomes that a snapshot cannot be restored.
fn of_snapshot(error: &SnapshotError, namespace: &str) -> Failure {
    let text = error.to_string();
    let new = |code, reason| Failure::new(code, reason, text.clone());
    match error {
        SnapshotError::Damaged { offset, .. } => {
            new(Code::InvalidArgument, ErrorReason::SnapshotCorrupt).with("offset", offset)
        }
        SnapshotError::Newer { found, .. } => {
            new(Code::InvalidArgument, ErrorReason::SnapshotUnsupported)
                .with("format_version", found)
        }
        SnapshotError::NotInside(names) => {
            let first = names.first().map_or("", String::as_str);
            new(Code::NotFound, ErrorReason::NamespaceNotFound)
                .with("namespace", first)
                .with_resource(first)
        }
        SnapshotError::RenamesCollide(collisions) => of_collisions(text, collisions),
        SnapshotError::Refused { namespace, refusal } => {
            Failure { message: text, ..of_refusal(*refusal, namespace) }
                .with("namespace", namespace)
        }
        SnapshotError::CutShort { restored, cause } => {
            Failure { message: text, ..of_error(cause, namespace) }.with("restored_count", restored)
        }
    }
}

/// What it becomes that several namespaces of a snapshot would have one name.
fn of_collisions(text: String, collisions: &[(String, Vec<String>)]) -> Failure {
    let violation = |(target, sources): &(String, Vec<String>)| {
        let description = format!("{} would all become {target:?}", sources.join(", "));
        let mut violation = FieldViolation::new("options.rename_namespaces", description);
        violation.reason = reason_name(ErrorReason::RenameInvalid).to_owned();
        violation
    };
    let mut failure = Failure::new(Code::InvalidArgument, ErrorReason::RenameInvalid, text);
    failure.details.set_bad_request(collisions.iter().map(violation).collect::<Vec<_>>());
    failure
}

/// What the refusal of a single write becomes.
pub(super) fn of_refusal(refusal: Refusal, namespace: &str) -> Failure {
    refused(refusal, namespace, field_of(refusal), refusal.to_string())
}

/// What it becomes for a whole atomic batch that failed for its operation `index`.
pub(super) fn of_refused_operation(index: usize, refusal: Refusal, namespace: &str) -> Failure {
    let field = format!("operations[{index}]");
    refused(refusal, namespace, &field, format!("operation {index}: {refusal}"))
        .with("index", index)
}

fn refused(refusal: Refusal, namespace: &str, field: &str, text: String) -> Failure {
    match refusal {
        Refusal::ValueTooLarge { limit_bytes, size_bytes } => {
            Failure::invalid(field, ErrorReason::ValueTooLarge, text)
                .with("limit_bytes", limit_bytes)
                .with("size_bytes", size_bytes)
        }
        Refusal::ExpirationRequired | Refusal::DeadlineTooFar => {
            Failure::invalid(field, ErrorReason::ExpirationInvalid, text)
        }
        Refusal::QuotaExceeded { quota, limit } => {
            Failure::new(Code::ResourceExhausted, ErrorReason::NamespaceQuotaExceeded, text)
                .with("limit", policy_field(quota))
                .with("value", limit)
                .with_quota(&subject(namespace))
        }
        Refusal::MemoryExhausted => {
            Failure::new(Code::ResourceExhausted, ErrorReason::MemoryExhausted, text)
                .with_quota("server")
        }
        Refusal::ValueNotInteger => {
            Failure::new(Code::FailedPrecondition, ErrorReason::ValueNotInteger, text)
                .with_precondition(&subject(namespace))
        }
        Refusal::CounterOverflow => {
            Failure::new(Code::OutOfRange, ErrorReason::CounterOverflow, text)
        }
    }
}

fn field_of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ExpirationRequired => "expiration.never",
        Refusal::DeadlineTooFar => "expiration",
        Refusal::ValueTooLarge { .. }
        | Refusal::QuotaExceeded { .. }
        | Refusal::MemoryExhausted
        | Refusal::ValueNotInteger
        | Refusal::CounterOverflow => "value",
    }
}

const fn policy_field(quota: Quota) -> &'static str {
    match quota {
        Quota::Keys => "max_keys",
        Quota::Bytes => "max_bytes",
    }
}

fn subject(namespace: &str) -> String {
    format!("namespace:{namespace}")
}

/// What a caller hears who asks for more than one response may carry.
pub(super) fn response_too_large(limit_bytes: usize) -> Status {
    of_error(&Error::TooMuch { limit_bytes }, "").into_status()
}

/// What a caller hears who opens one stream too many.
pub(super) fn too_many_streams(limit: usize) -> Status {
    let text = format!("there are already {limit} such streams: end one, or share one");
    Failure::new(Code::ResourceExhausted, ErrorReason::TooManyStreams, text)
        .with("limit", limit)
        .with_quota("server")
        .into_status()
}

/// What a caller hears who has stopped to upload without ending.
pub(super) fn upload_silent(longest: Duration) -> Status {
    let text = format!("nothing was sent for {} s", longest.as_secs());
    Failure::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, text).into_status()
}

/// What a caller hears who has stopped to take what he asked for, and goes on too late.
pub(super) fn export_left(longest: Duration) -> Status {
    let text = format!("nothing was taken for {} s", longest.as_secs());
    Failure::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, text).into_status()
}

/// How tonic begins what it says of a message that is too long.
const TOO_LONG: &str = "Error, decoded message length too large";

/// Says in our words what tonic has said in its own: that a message was longer than
/// [`super::REQUEST_BYTES_MAX`], or not there, which is no failure of ours. Every other answer stays as
/// it is.
pub fn in_our_words(response: Response<Body>) -> Response<Body> {
    // Only an answer without a body has its status among the headers.
    if !response.headers().contains_key("grpc-status") {
        return response;
    }
    match Status::from_header_map(response.headers()) {
        Some(said) if is_too_long(&said) => request_too_large().into_http(),
        Some(said) if is_missing(&said) => {
            let text = "the call has no message";
            let reason = ErrorReason::RequestMalformed;
            Failure::new(Code::InvalidArgument, reason, text).into_status().into_http()
        }
        Some(_) | None => response,
    }
}

/// Whether a call ended before its message, be it that its caller has taken it back.
fn is_missing(said: &Status) -> bool {
    said.code() == Code::Internal && said.message() == "Missing request message."
}

fn is_too_long(said: &Status) -> bool {
    said.code() == Code::OutOfRange && said.message().starts_with(TOO_LONG)
}

fn request_too_large() -> Status {
    let limit = super::REQUEST_BYTES_MAX;
    let text = format!("a request has at most {limit} bytes");
    let failure = Failure::new(Code::ResourceExhausted, ErrorReason::RequestTooLarge, text);
    failure.with("limit", limit).into_status()
}

/// How a stream ends whose requests cannot be read any more; `said` is what tonic says of it.
pub(super) fn of_broken_stream(said: Status) -> Status {
    if is_too_long(&said) {
        return request_too_large();
    }
    // How tonic calls what is no message, or not all of one. Anything else means that the
    // connection is gone, and nobody will hear it.
    if said.code() != Code::Internal {
        return said;
    }
    let text = "the stream has a message that cannot be read";
    Failure::new(Code::InvalidArgument, ErrorReason::RequestMalformed, text).into_status()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

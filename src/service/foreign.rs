//! What stands between a caller and an answer before there is a request: on surfaces other than gRPC.

use std::time::Duration;

use tonic::{Code, Status};

use super::status::Failure;
use super::validate;
use crate::wire::v1::ErrorReason;

/// When to come back to a server that is overloaded.
const OVERLOAD_DELAY: Duration = Duration::from_secs(1);

/// One thing wrong with how a request is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field from the top of the request; empty for the request as a whole.
    pub field: String,
    /// What is wrong, for people. Does not repeat the field.
    pub text: String,
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It cannot be read. All of what is wrong; at least one.
    Malformed(Vec<Fault>),
    /// Nothing is at that path.
    RouteNotFound,
    /// Something is at that path, for other methods.
    MethodNotAllowed,
    /// The body has a content type that the route does not take.
    MediaTypeUnsupported {
        /// What it takes.
        expected: &'static str,
    },
    /// It has more bytes than this.
    TooLarge {
        /// Most bytes of a body.
        limit: usize,
    },
    /// It did not come within the time for a call.
    TooSlow,
    /// There is no room for it now.
    Overloaded,
    /// It was sent to a name that is not ours.
    HostForbidden {
        /// That name.
        host: String,
    },
    /// It comes from a page of another origin.
    OriginForbidden {
        /// That origin.
        origin: String,
    },
    /// There is no entry, where that is an error.
    KeyNotFound {
        /// The namespace that was looked in.
        namespace: String,
    },
    /// A condition among its headers does not hold.
    ConditionNotMet {
        /// The version of the entry there is.
        version: Option<i64>,
    },
}

impl From<Foreign> for Status {
    fn from(foreign: Foreign) -> Status {
        let new = |code, reason, text: &str| Failure::new(code, reason, text);
        match foreign {
            Foreign::Malformed(faults) => return validate::unreadable(faults),
            Foreign::RouteNotFound => {
                new(Code::NotFound, ErrorReason::RouteNotFound, "there is nothing at this path")
            }
            Foreign::MethodNotAllowed => new(
                Code::Unimplemented,
                ErrorReason::MethodNotAllowed,
                "this path does not have this method; the header Allow tells which it has",
            ),
            Foreign::MediaTypeUnsupported { expected } => Failure::new(
                Code::InvalidArgument,
                ErrorReason::MediaTypeUnsupported,
                format!("the body must be sent with content-type {expected}"),
            ),
            Foreign::TooLarge { limit } => Failure::new(
                Code::ResourceExhausted,
                ErrorReason::RequestTooLarge,
                format!("the body of this request has at most {limit} bytes"),
            )
            .with("limit", limit),
            Foreign::TooSlow => new(
                Code::DeadlineExceeded,
                ErrorReason::RequestTimeout,
                "the body of the request did not come in time",
            ),
            Foreign::Overloaded => new(
                Code::Unavailable,
                ErrorReason::Overloaded,
                "the server has too many large requests at this moment",
            )
            .with_retry(OVERLOAD_DELAY),
            Foreign::HostForbidden { host } => new(
                Code::PermissionDenied,
                ErrorReason::HostForbidden,
                "this server is not known by the name that the request has for it",
            )
            .with("host", host),
            Foreign::OriginForbidden { origin } => new(
                Code::PermissionDenied,
                ErrorReason::OriginForbidden,
                "pages of this origin are not allowed to do that",
            )
            .with("origin", origin),
            Foreign::KeyNotFound { namespace } => {
                new(Code::NotFound, ErrorReason::KeyNotFound, "there is no entry of this key")
                    .with("namespace", namespace)
            }
            Foreign::ConditionNotMet { version } => {
                let text = "the entry is not as If-Match or If-None-Match says";
                let failure = new(Code::FailedPrecondition, ErrorReason::ConditionNotMet, text);
                match version {
                    Some(version) => failure.with("version", version),
                    None => failure,
                }
            }
        }
        .into_status()
    }
}

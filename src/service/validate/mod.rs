//! The one place where requests are checked: messages in, types of the model out.
//!
//! # How it works
//! Each parser takes a piece of a message, the place it stands at ([`At`]) and the list of
//! [`Problems`] so far. It answers `Some` with a type that cannot be wrong, or `None` after it has
//! said why. Only a request without any problem gets past [`Problems::refuse`].
//!
//! # Why
//! Someone who sends five mistakes should learn of five mistakes, not of the first, five times.
//! Places are kept as links on the stack and written out only when something is wrong, so that a
//! good request pays nothing for them.
//!
//! # Invariants
//! A `None` is always accompanied by a problem. Keys and values are never echoed: they are tenant
//! data, and a status travels in HTTP headers, whose size clients limit.
//!
//! # Not here
//! What depends on a namespace's policy or its entries: `engine`.

mod config;
mod entry;
mod logged;
mod namespace;
mod operation;
mod page;
mod pipeline;
mod policy;
mod snapshot;
mod time;
mod watch;

use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation};

pub(super) use config::{ConfigField, ConfigPatch, config};
pub(super) use entry::{
    Count, Listing, Scanning, batch_get, batch_write, delete, delete_prefix, get, increment,
    list_entries, scan_entries, set, touch,
};
pub(super) use logged::{LoggedListing, logged_operations};
pub(super) use namespace::{
    create_namespace, hot_keys, list_namespaces, named, required_name, update_namespace,
};
pub(super) use operation::operations_bytes;
pub(super) use pipeline::pipeline_request;
pub(super) use snapshot::{Upload, export_snapshot, restore_options, upload};
pub(super) use time::window;
pub(super) use watch::{Watch, watch};

use super::status::{Failure, reason_name};
use crate::model::NamespaceName;
use crate::wire::v1::ErrorReason;

/// Most bytes of violations one status carries. It travels base64-encoded in a header, and the
/// smallest limit that clients set by default for all of them is 8 KiB. The rest is counted.
const VIOLATION_BYTES_MAX: usize = 4096;

/// A place in a request.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    /// The request itself.
    Top,
    /// A field of the message there.
    Field(&'a At<'a>, &'static str),
    /// An item of a repeated field of the message there.
    Item(&'a At<'a>, &'static str, usize),
}

impl At<'_> {
    fn field<'a>(&'a self, name: &'static str) -> At<'a> {
        At::Field(self, name)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (At::Field(parent, name) | At::Item(parent, name, _)) = self else { return Ok(()) };
        if !matches!(parent, At::Top) {
            write!(f, "{parent}.")?;
        }
        f.write_str(name)?;
        match self {
            At::Item(_, _, index) => write!(f, "[{index}]"),
            At::Field(..) | At::Top => Ok(()),
        }
    }
}

/// Everything wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Problems {
    violations: Vec<FieldViolation>,
    bytes: usize,
    omitted: usize,
    first: Option<First>,
}

/// The problem that gives the status its reason.
#[derive(Debug)]
struct First {
    reason: ErrorReason,
    metadata: Vec<(&'static str, String)>,
}

impl Problems {
    /// Notes a problem. Returns `None`, for a parser to end with.
    fn add<T>(&mut self, at: At<'_>, reason: ErrorReason, text: impl fmt::Display) -> Option<T> {
        self.add_with(at, reason, text, Vec::new())
    }

    /// As [`Problems::add`], with metadata for the `ErrorInfo` if this is the first.
    fn add_with<T>(
        &mut self,
        at: At<'_>,
        reason: ErrorReason,
        text: impl fmt::Display,
        metadata: Vec<(&'static str, String)>,
    ) -> Option<T> {
        self.add_at(at.to_string(), reason, text.to_string(), metadata)
    }

    fn add_at<T>(
        &mut self,
        field: String,
        reason: ErrorReason,
        text: String,
        metadata: Vec<(&'static str, String)>,
    ) -> Option<T> {
        self.first.get_or_insert(First { reason, metadata });
        let mut violation = FieldViolation::new(field, text);
        violation.reason = reason_name(reason).to_owned();
        let bytes = violation.field.len() + violation.description.len() + violation.reason.len();
        if self.bytes + bytes > VIOLATION_BYTES_MAX && !self.violations.is_empty() {
            self.omitted += 1;
        } else {
            self.bytes += bytes;
            self.violations.push(violation);
        }
        None
    }

    /// As [`Problems::add`], naming the field in the metadata too.
    fn add_field<T>(&mut self, at: At<'_>, reason: ErrorReason, text: &str) -> Option<T> {
        self.add_with(at, reason, text, vec![("field", at.to_string())])
    }

    /// `parsed`, if there was no problem at all; else INVALID_ARGUMENT with every one of them.
    fn refuse<T>(self, parsed: Option<T>) -> Result<T, Status> {
        match (self.first, parsed) {
            (None, Some(parsed)) => Ok(parsed),
            (Some(first), _) => Err(refusal(first, self.violations, self.omitted)),
            (None, None) => Err(Status::internal("a request was refused without saying why")),
        }
    }

    /// The namespace a request names; an empty name means `default`.
    fn namespace(
        &mut self,
        text: &str,
        at: At<'_>,
        default: &NamespaceName,
    ) -> Option<NamespaceName> {
        if text.is_empty() || text == NamespaceName::DEFAULT {
            return Some(default.clone());
        }
        self.namespace_name(text, at)
    }

    /// A namespace's name that has to be given.
    fn namespace_name(&mut self, text: &str, at: At<'_>) -> Option<NamespaceName> {
        match NamespaceName::parse(text) {
            Ok(name) => Some(name),
            Err(error) => self.add(at, ErrorReason::NamespaceInvalid, error),
        }
    }
}

/// INVALID_ARGUMENT for a request that is not even one.
pub(super) fn unreadable(faults: Vec<super::Fault>) -> Status {
    let reason = ErrorReason::RequestMalformed;
    let mut problems = Problems::default();
    for fault in faults {
        problems.add_at::<()>(fault.field, reason, fault.text, Vec::new());
    }
    problems.refuse::<()>(None).err().unwrap_or_else(|| Status::internal("no fault was found"))
}

fn refusal(first: First, violations: Vec<FieldViolation>, omitted: usize) -> Status {
    let total = violations.len() + omitted;
    let message = match violations.first() {
        Some(only) if total == 1 => described(only),
        Some(first) => format!("{} (and {} more)", described(first), total - 1),
        None => "the request is not valid".to_owned(),
    };
    let details = ErrorDetails::with_bad_request(violations);
    let failure = Failure::new(Code::InvalidArgument, first.reason, message);
    let mut failure = failure.with_details(details);
    for (key, value) in first.metadata {
        failure = failure.with(key, value);
    }
    if omitted > 0 {
        failure = failure.with("violations_omitted", omitted);
    }
    failure.into_status()
}

fn described(violation: &FieldViolation) -> String {
    match violation.field.as_str() {
        "" => violation.description.clone(),
        field => format!("{field}: {}", violation.description),
    }
}

#[cfg(test)]
mod tests;

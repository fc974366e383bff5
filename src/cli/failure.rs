//! A command that did not do what it was asked to: its exit code, and the words for it.

use std::error::Error;
use std::fmt::Write;

use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::exit::{Exit, of_status, of_wal};
use crate::client::DialError;
use crate::config::Complaints;
use crate::wal::{self, archive};
use crate::wire::v1::ErrorReason;

/// A command that did not do what it was asked to.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    code: u8,
    /// What happened, in one sentence; nothing is said where it is empty.
    message: String,
    /// A constant for programs.
    reason: String,
    /// Each thing that is wrong: where, and what.
    violations: Vec<(String, String)>,
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            code: exit.code(),
            message: message.into(),
            reason: String::new(),
            violations: Vec::new(),
        }
    }

    /// As [`Failure::new`], with the chain of what caused it.
    pub(super) fn caused(exit: Exit, message: &str, cause: &dyn Error) -> Failure {
        Failure::new(exit, format!("{message}: {}", chain(cause)))
    }

    /// The same, telling also what had been done by then.
    pub(super) fn after(mut self, done: &str) -> Failure {
        write!(self.message, " ({done})").expect("a text grows");
        self
    }

    /// Whoever read the output has gone: nothing is wrong and nothing is left to do.
    pub(super) fn reader_gone() -> Failure {
        Failure::new(Exit::Done, "")
    }

    /// An error of the server that runs in this process, with its own exit code.
    pub(super) fn of_server(code: u8, error: &dyn Error) -> Failure {
        Failure { code, ..Failure::new(Exit::Io, chain(error)) }
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// Shape: nothing; or "pykv: MESSAGE (REASON)" and an indented line for each violation.
    pub(super) fn text(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let mut text = format!("pykv: {}", printable(&self.message));
        if !self.reason.is_empty() {
            write!(text, " ({})", self.reason).expect("a text grows");
        }
        text.push('\n');
        for (place, wrong) in &self.violations {
            let (place, wrong) = (printable(place), printable(wrong));
            writeln!(text, "  {place}: {wrong}").expect("a text grows");
        }
        text
    }

    /// As [`Failure::text`], as one line of JSON.
    pub(super) fn json(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let violation = |(place, wrong): &(String, String)| json!({"at": place, "text": wrong});
        let violations: Vec<_> = self.violations.iter().map(violation).collect();
        let error = json!({
            "exitCode": self.code,
            "reason": self.reason,
            "message": self.message,
            "violations": violations,
        });
        format!("{}\n", json!({"error": error}))
    }
}

/// An error and what caused it, and so on, with colons between; a cause that only repeats is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            write!(text, ": {words}").expect("a text grows");
        }
        cause = error.source();
    }
    text
}

/// Text from elsewhere, with its control characters made visible: a terminal would obey them.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let known = ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}"));
        let exit = of_status(status.code(), known);
        let message = if status.code() == Code::Cancelled {
            "the server did not answer in time".to_owned()
        } else if status.message().is_empty() {
            status.code().description().to_owned()
        } else {
            status.message().to_owned()
        };
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations);
        let violations = violations.unwrap_or_default();
        Failure {
            reason,
            violations: violations.into_iter().map(|v| (v.field, v.description)).collect(),
            ..Failure::new(exit, message)
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Failure {
        let exit = match error {
            DialError::Address { .. } | DialError::Token | DialError::Certificates => Exit::Usage,
            DialError::Unreachable { .. } => Exit::Unavailable,
        };
        Failure::new(exit, chain(&error))
    }
}

impl From<wal::Error> for Failure {
    fn from(error: wal::Error) -> Failure {
        Failure::of_server(of_wal(error.kind()), &error)
    }
}

impl From<archive::Error> for Failure {
    fn from(error: archive::Error) -> Failure {
        Failure::new(Exit::Damaged, error.to_string())
    }
}

impl From<Complaints> for Failure {
    fn from(complaints: Complaints) -> Failure {
        Failure {
            reason: "CONFIG_INVALID".to_owned(),
            violations: complaints.0.iter().map(|c| (c.source.clone(), c.text.clone())).collect(),
            ..Failure::new(Exit::Configuration, complaints.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::config::Complaint;

    #[test]
    fn a_status_tells_its_reason_and_everything_that_is_wrong() {
        let mut details = ErrorDetails::new();
        details.set_error_info("KEY_INVALID", "pykv", std::collections::HashMap::new());
        details.add_bad_request_violation("key", "must not be empty");
        details.add_bad_request_violation("value", "is too\x1b[2J large");
        let code = Code::InvalidArgument;
        let status = Status::with_error_details(code, "the request is not valid", details);
        let failure = Failure::from(status);
        assert_eq!(failure.code(), 2);
        assert_eq!(
            failure.text(),
            "pykv: the request is not valid (KEY_INVALID)\n  key: must not be empty\n  \
             value: is too\\u{1b}[2J large\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
        assert_eq!(json["error"]["reason"], "KEY_INVALID");
        assert_eq!(json["error"]["violations"][0]["at"], "key");
    }

    #[test]
    fn causes_are_told_once_each() {
        let cause = io::Error::other("no such thing");
        let failure = Failure::caused(Exit::Io, "cannot read x", &cause);
        assert_eq!(failure.text(), "pykv: cannot read x: no such thing\n");
        assert_eq!(failure.code(), 74);
    }

    #[test]
    fn complaints_are_all_told() {
        let complaint = Complaint { source: "flag --x".into(), text: "must be y".into() };
        let failure = Failure::from(Complaints(vec![complaint]));
        assert_eq!(failure.code(), 78);
        assert_eq!(
            failure.text(),
            "pykv: the configuration is not valid (CONFIG_INVALID)\n  flag --x: must be y\n"
        );
    }

    #[test]
    fn a_reader_that_is_gone_is_no_failure_and_nothing_is_said() {
        let failure = Failure::reader_gone();
        assert_eq!((failure.code(), failure.text(), failure.json()), (0, "".into(), "".into()));
    }
}

//! Operations worth a look: the last slow ones and the last failed ones, in memory.
//!
//! An operation that is neither costs two comparisons. What is kept is bounded: a thousand of each,
//! with texts that are cut.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;

use super::lines;
use super::methods::Method;
use super::seconds::is_server_error;

/// Most operations that each log holds: minutes of trouble, and about a megabyte.
pub const LOGGED_OPERATIONS_MAX: usize = 1000;

/// Most bytes of a key, and of what a failure says, that are kept.
const KEY_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 512;
/// Details of a failure with more bytes than this are not kept; ours have a few hundred, and a whole
/// log has to fit into one response.
const DETAILS_BYTES_MAX: usize = 2 << 10;

/// Which operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationLog {
    /// Those that took longer than the threshold.
    Slow,
    /// Those that ended in an error of the server.
    Failed,
}

/// One that was slow or failed.
#[derive(Clone, Debug)]
pub struct LoggedOperation {
    /// When it began, by the wall clock.
    pub started: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// What was called.
    pub method: &'static Method,
    /// The namespace it was on; empty where it was on none.
    pub namespace: String,
    /// Its key or prefix, cut; empty where it was about many.
    pub key: String,
    /// Keys it was about.
    pub keys: u64,
    /// Bytes of request and response.
    pub transferred_bytes: u64,
    /// How much of `elapsed` was spent waiting for the log to reach the disk.
    pub storage_wait: Duration,
    /// Who called, where that is known.
    pub peer: Option<SocketAddr>,
    /// The name of the request, by which its caller may know it.
    pub request_id: HeaderValue,
    /// The trace it is part of, where traces are sent somewhere.
    pub trace_id: Option<String>,
    /// What came of it, where that was no success.
    pub failure: Option<Failure>,
}

/// A status that is not OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of its code.
    pub code: u16,
    /// What it says.
    pub message: String,
    /// An encoded `google.rpc.Status` with everything else; empty where there is nothing else.
    pub details: Bytes,
}

impl Failure {
    /// A failure with an encoded `google.rpc.Status`.
    pub fn new(code: u16, message: &str, details: Bytes) -> Failure {
        let details = if details.len() > DETAILS_BYTES_MAX { Bytes::new() } else { details };
        Failure { code, message: cut(message, MESSAGE_BYTES_MAX).to_owned(), details }
    }
}

impl From<&tonic::Status> for Failure {
    fn from(status: &tonic::Status) -> Failure {
        let details = Bytes::copy_from_slice(status.details());
        Failure::new(code_of(status), status.message(), details)
    }
}

/// The number of a status's code.
pub fn code_of(status: &tonic::Status) -> u16 {
    // Every number of a code fits; UNKNOWN would be the one for those that do not.
    u16::try_from(i32::from(status.code())).unwrap_or(2)
}

/// The beginning of `key` that is kept.
pub(super) fn cut_key(key: &str) -> &str {
    cut(key, KEY_BYTES_MAX)
}

/// At most `bytes_max` bytes of `text`, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Both logs, and what is slow.
struct Operations {
    slow: Ring,
    failed: Ring,
    threshold_nanos: AtomicU64,
}

/// 10 ms, until another is set.
static OPERATIONS: Operations = Operations::new(10_000_000);

impl Operations {
    const fn new(threshold_nanos: u64) -> Operations {
        let threshold_nanos = AtomicU64::new(threshold_nanos);
        Operations { slow: Ring::new(), failed: Ring::new(), threshold_nanos }
    }

    fn is_slow(&self, elapsed: Duration) -> bool {
        nanos(elapsed) > self.threshold_nanos.load(Ordering::Relaxed)
    }

    fn ring(&self, log: OperationLog) -> &Ring {
        match log {
            OperationLog::Slow => &self.slow,
            OperationLog::Failed => &self.failed,
        }
    }

    /// Keeps an operation that ended with `code` where it belongs: in one log, in both, or in none.
    fn log(&self, code: u16, elapsed: Duration, describe: impl FnOnce() -> LoggedOperation) {
        let (is_slow, is_failed) = (self.is_slow(elapsed), code != 0 && is_server_error(code));
        if !is_slow && !is_failed {
            return;
        }
        let operation = Arc::new(describe());
        lines::tell(&operation, is_failed);
        if is_slow {
            self.slow.push(&operation);
        }
        if is_failed {
            self.failed.push(&operation);
        }
    }
}

/// Nanoseconds in `duration`; five hundred years saturate.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The last operations of one kind, oldest first.
struct Ring(Mutex<VecDeque<Arc<LoggedOperation>>>);

impl Ring {
    const fn new() -> Ring {
        Ring(Mutex::new(VecDeque::new()))
    }

    fn push(&self, operation: &Arc<LoggedOperation>) {
        let mut kept = self.0.lock();
        if kept.len() == LOGGED_OPERATIONS_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(operation));
    }

    fn newest(&self, namespace: Option<&str>, most: usize) -> Vec<Arc<LoggedOperation>> {
        let kept = self.0.lock();
        let wanted = |operation: &&Arc<LoggedOperation>| {
            namespace.is_none_or(|namespace| operation.namespace == namespace)
        };
        kept.iter().rev().filter(wanted).take(most).cloned().collect()
    }
}

/// From now on, operations that take longer than this are slow.
pub fn set_slow_threshold(threshold: Duration) {
    OPERATIONS.threshold_nanos.store(nanos(threshold), Ordering::Relaxed);
}

/// Whether an operation that began then and ends now with `code` is logged, for who would have to
/// gather what is told of it. The time is read only where it may tell of a failure.
pub fn is_logged(code: u16, begun: Instant) -> bool {
    code != 0 && (is_server_error(code) || OPERATIONS.is_slow(begun.elapsed()))
}

/// Whether an operation that took so long is slow.
pub fn is_slow(elapsed: Duration) -> bool {
    OPERATIONS.is_slow(elapsed)
}

/// At most `most` logged operations, those that ended last first; only those on `namespace`, where
/// one is given.
pub fn logged_operations(
    log: OperationLog,
    namespace: Option<&str>,
    most: usize,
) -> Vec<Arc<LoggedOperation>> {
    OPERATIONS.ring(log).newest(namespace, most)
}

/// Keeps what `describe` says of an operation that ended with `code`, if it was slow or failed.
pub(super) fn log(code: u16, elapsed: Duration, describe: impl FnOnce() -> LoggedOperation) {
    OPERATIONS.log(code, elapsed, describe);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::method;

    const THRESHOLD: Duration = Duration::from_millis(10);

    fn operation(namespace: &str, key: &str) -> LoggedOperation {
        LoggedOperation {
            started: SystemTime::UNIX_EPOCH,
            elapsed: Duration::ZERO,
            method: method("test.Logged", "Call"),
            namespace: namespace.into(),
            key: key.into(),
            keys: 1,
            transferred_bytes: 0,
            storage_wait: Duration::ZERO,
            peer: None,
            request_id: HeaderValue::from_static("r"),
            trace_id: None,
            failure: None,
        }
    }

    fn operations() -> Operations {
        Operations::new(nanos(THRESHOLD))
    }

    fn keys(operations: &Operations, log: OperationLog, most: usize) -> Vec<String> {
        let found = operations.ring(log).newest(None, most);
        found.iter().map(|operation| operation.key.clone()).collect()
    }

    #[test]
    fn an_operation_is_kept_where_it_belongs() {
        let operations = operations();
        let over = THRESHOLD + Duration::from_nanos(1);
        for (key, code, elapsed) in [
            ("fast", 0, THRESHOLD),
            ("slow", 0, over),
            ("refused", 9, THRESHOLD),
            ("refused slowly", 5, over),
            ("failed", 13, Duration::ZERO),
            ("failed slowly", 4, over),
            ("cancelled", 1, THRESHOLD),
        ] {
            operations.log(code, elapsed, || operation("n", key));
        }
        let slow = keys(&operations, OperationLog::Slow, 9);
        assert_eq!(slow, ["failed slowly", "refused slowly", "slow"]);
        assert_eq!(keys(&operations, OperationLog::Failed, 9), ["failed slowly", "failed"]);
    }

    #[test]
    fn nothing_is_described_that_is_neither_slow_nor_failed() {
        let operations = operations();
        operations.log(0, THRESHOLD, || unreachable!("it is neither"));
    }

    #[test]
    fn a_log_holds_the_last_thousand() {
        let operations = operations();
        for number in 0..LOGGED_OPERATIONS_MAX + 5 {
            operations.log(13, Duration::ZERO, || operation("n", &number.to_string()));
        }
        let kept = keys(&operations, OperationLog::Failed, usize::MAX);
        assert_eq!(kept.len(), LOGGED_OPERATIONS_MAX);
        assert_eq!((kept[0].as_str(), kept[999].as_str()), ("1004", "5"));
        assert_eq!(keys(&operations, OperationLog::Failed, 2), ["1004", "1003"]);
        assert!(keys(&operations, OperationLog::Slow, usize::MAX).is_empty());
    }

    #[test]
    fn a_namespace_s_operations_are_found_among_those_of_others() {
        let operations = operations();
        for number in 0..100 {
            let namespace = if number % 10 == 0 { "rare" } else { "busy" };
            operations.log(2, Duration::ZERO, || operation(namespace, &number.to_string()));
        }
        let found = operations.failed.newest(Some("rare"), 3);
        let found: Vec<_> = found.iter().map(|operation| operation.key.as_str()).collect();
        assert_eq!(found, ["90", "80", "70"]);
        assert!(operations.failed.newest(Some("none"), 3).is_empty());
    }

    #[test]
    fn a_threshold_holds_from_when_it_is_set() {
        let operations = Operations::new(0);
        assert!(operations.is_slow(Duration::from_nanos(1)) && !operations.is_slow(Duration::ZERO));
        operations.threshold_nanos.store(nanos(Duration::MAX), Ordering::Relaxed);
        assert!(!operations.is_slow(Duration::MAX));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, expected) in [("k".repeat(200), 128), ("ü".repeat(100), 128)] {
            assert_eq!(cut_key(&text).len(), expected);
        }
        assert_eq!(cut_key(&"€".repeat(100)).len(), 126);
        assert_eq!(cut_key("short"), "short");
        let failure = Failure::new(2, &"m".repeat(5000), vec![0; 9000].into());
        assert_eq!((failure.message.len(), failure.details.len()), (MESSAGE_BYTES_MAX, 0));
    }
}

//! Logged operations, as messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prost_types::Timestamp;

use super::{convert, status};
use crate::telemetry::LoggedOperation;
use crate::wire::v1 as wire;

/// The answer of ListLoggedOperations.
pub(super) fn response(operations: &[Arc<LoggedOperation>]) -> wire::ListLoggedOperationsResponse {
    let operations = operations.iter().map(|operation| message(operation)).collect();
    wire::ListLoggedOperationsResponse { operations }
}

fn message(operation: &LoggedOperation) -> wire::LoggedOperation {
    let since_epoch = operation.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = convert::duration(since_epoch);
    wire::LoggedOperation {
        start_time: Some(Timestamp { seconds: start.seconds, nanos: start.nanos }),
        duration: Some(convert::duration(operation.elapsed)),
        method: operation.method.full_name(),
        namespace: operation.namespace.clone(),
        key: operation.key.clone(),
        key_count: convert::int64(operation.keys),
        transferred_bytes: convert::int64(operation.transferred_bytes),
        storage_wait: Some(convert::duration(operation.storage_wait)),
        peer: operation.peer.map(address).unwrap_or_default(),
        error: operation.failure.as_ref().map(status::of_logged),
        request_id: operation.request_id.to_str().unwrap_or_default().to_owned(),
        trace_id: operation.trace_id.clone().unwrap_or_default(),
    }
}

/// An address in the family that the caller used.
fn address(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use prost::Message;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::service::RESPONSE_BYTES_MAX;
    use crate::telemetry::{self, Failure, LOGGED_OPERATIONS_MAX};

    fn operation(failure: Option<Failure>) -> LoggedOperation {
        LoggedOperation {
            started: SystemTime::UNIX_EPOCH + Duration::new(7, 9),
            elapsed: Duration::from_millis(1500),
            method: telemetry::method("pykv.v1.KeyValueService", "Set"),
            namespace: "n".repeat(128),
            key: "k".repeat(128),
            keys: 1,
            transferred_bytes: 12,
            storage_wait: Duration::from_millis(300),
            peer: Some("[::ffff:10.0.0.1]:80".parse().unwrap()),
            request_id: "i".repeat(128).parse().unwrap(),
            trace_id: Some("t".repeat(32)),
            failure,
        }
    }

    #[test]
    fn everything_that_was_logged_is_told() {
        let message = message(&operation(None));
        assert_eq!(message.start_time, Some(Timestamp { seconds: 7, nanos: 9 }));
        let length = |millis| Some(convert::duration(Duration::from_millis(millis)));
        assert_eq!((message.duration, message.storage_wait), (length(1500), length(300)));
        assert_eq!(message.method, "pykv.v1.KeyValueService/Set");
        assert_eq!((message.key_count, message.transferred_bytes), (1, 12));
        assert_eq!((message.peer.as_str(), message.error), ("10.0.0.1:80", None));
    }

    #[test]
    fn an_error_comes_with_its_details() {
        let details = ErrorDetails::with_error_info("STARTING_UP", "pykv", []);
        let status = Status::with_error_details(Code::Unavailable, "not yet", details);
        let error = message(&operation(Some(Failure::from(&status)))).error.unwrap();
        assert_eq!((error.code, error.message.as_str()), (14, "not yet"));
        assert!(error.details[0].type_url.ends_with("google.rpc.ErrorInfo"));
        let bare = Failure::from(&Status::unknown("bare"));
        let error = message(&operation(Some(bare))).error.unwrap();
        assert_eq!((error.code, error.message.as_str(), error.details.len()), (2, "bare", 0));
    }

    #[test]
    fn a_full_log_fits_into_a_response() {
        let info = ErrorDetails::with_error_info("R".repeat(1900), "pykv", []);
        let status = Status::with_error_details(Code::Internal, "m".repeat(60), info);
        let worst = Arc::new(operation(Some(Failure::from(&status))));
        let told = response(&vec![worst; LOGGED_OPERATIONS_MAX]);
        assert!(told.operations[0].error.as_ref().unwrap().encoded_len() > 1900);
        assert!(told.encoded_len() < RESPONSE_BYTES_MAX, "{} bytes", told.encoded_len());
    }
}

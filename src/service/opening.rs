//! Streams that could not be opened, which never come to count messages of their own.

use std::time::Instant;

use tonic::Status;

use crate::telemetry;

/// Counts the opening of a stream of the method at `path`, begun then, if it failed: as one message
/// that failed so.
pub(super) fn counted<T>(
    path: &str,
    begun: Instant,
    opened: Result<T, Status>,
) -> Result<T, Status> {
    if let (Err(status), Some(method)) = (&opened, telemetry::find(path)) {
        method.answered(begun, Instant::now(), Some(status), || 0);
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{OperationLog, logged_operations};

    #[test]
    fn a_stream_that_could_not_be_opened_is_counted_and_logged() {
        let method = telemetry::method("test.Opening", "Stream");
        for opened in [Ok(()), Err(Status::internal("broken"))] {
            let is_counted = opened.is_err();
            let _ = counted("/test.Opening/Stream", telemetry::message_begins(), opened);
            let logged = logged_operations(OperationLog::Failed, None, usize::MAX);
            let found = logged.iter().any(|operation| std::ptr::eq(operation.method, method));
            assert_eq!(found, is_counted);
        }
    }
}

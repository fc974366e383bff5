//! Which calls are logged, and what is said of them.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use super::kit::{Running, patiently, request};
use crate::server::Limits;
use crate::telemetry::{LoggedOperation, OperationLog, logged_operations};

/// The status of a check of `service`, and how it was logged as failed.
async fn check(limits: Limits, service: &str) -> (Option<Status>, Vec<Arc<LoggedOperation>>) {
    let server = Running::odd(limits);
    let status = patiently(server.client().await.check(request(service))).await.err();
    server.ended().await;
    (status, logged_operations(OperationLog::Failed, Some(service), 9))
}

#[tokio::test]
async fn a_call_that_fails_by_the_servers_fault_is_logged_with_its_status_and_its_caller() {
    let (status, logged) = check(Limits::default(), "panic/logged").await;
    assert_eq!((status.unwrap().code(), logged.len()), (Code::Internal, 1));
    let logged = &logged[0];
    assert_eq!(logged.method.full_name(), "grpc.health.v1.Health/Check");
    let failure = logged.failure.as_ref().unwrap();
    assert_eq!(failure.code, 13);
    assert!(failure.message.contains("the server failed"), "{}", failure.message);
    assert!(logged.peer.unwrap().ip().is_loopback());
    assert!(logged.elapsed > Duration::ZERO);
    // A message is five bytes longer on its way than it is.
    let sent = request("panic/logged").encoded_len() as u64 + 5;
    assert_eq!(logged.transferred_bytes, sent);
}

#[tokio::test]
async fn a_call_that_was_too_late_is_logged_with_its_details() {
    let cap = Duration::from_millis(20);
    let limits = Limits { request_timeout_max: cap, ..Limits::default() };
    let (status, logged) = check(limits, "never/logged").await;
    assert_eq!((status.unwrap().code(), logged.len()), (Code::DeadlineExceeded, 1));
    let failure = logged[0].failure.as_ref().unwrap();
    let text = String::from_utf8_lossy(&failure.details).into_owned();
    assert!(text.contains("DEADLINE_EXCEEDED") && text.contains("pykv"), "{text}");
    assert!(logged[0].elapsed >= cap);
    // It is slow, too, by the threshold that nobody has set.
    assert_eq!(logged_operations(OperationLog::Slow, Some("never/logged"), 9).len(), 1);
}

#[tokio::test]
async fn what_is_refused_or_answered_in_time_is_not_logged() {
    for service in ["refuse/logged", "well/logged"] {
        let (_, logged) = check(Limits::default(), service).await;
        assert!(logged.is_empty(), "{service}: {logged:?}");
    }
}

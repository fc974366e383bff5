//! Calls and their statuses.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::kit::{ENDLESS, Running, patiently, request};
use crate::server::gatekeeper::Everybody;
use crate::server::{Calls, Limits, Readiness};

#[tokio::test]
async fn a_call_over_the_servers_cap_ends_with_deadline_exceeded_and_its_reason() {
    let cap = Duration::from_millis(20);
    let server = Running::odd(Limits { request_timeout_max: cap, ..Limits::default() });
    let status = patiently(server.client().await.check(request("never"))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("DEADLINE_EXCEEDED", "pykv"));
    server.ended().await;
}

/// The answer to a call with this `grpc-timeout`, from a service that must not be reached. Client
/// libraries end such calls themselves, so this one is made by hand.
async fn answer_unreached(timeout: &str, readiness: Readiness) -> Status {
    let service = tower::service_fn(async |_: http::Request<Body>| -> Result<_, Infallible> {
        Ok(Status::data_loss("the service was reached").into_http::<Body>())
    });
    let request = http::Request::post("/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(Body::empty())
        .unwrap();
    let calls = Calls::new(service, readiness, Arc::new(Everybody), Duration::from_secs(1));
    Status::from_header_map(calls.call(request).await.unwrap().headers()).unwrap()
}

#[tokio::test]
async fn an_expired_call_does_not_reach_the_service() {
    // The second is over by the time at which the call could begin.
    for timeout in ["0n", "1n"] {
        let status = answer_unreached(timeout, Readiness::new()).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}");
    }
}

#[tokio::test]
async fn a_call_during_the_drain_is_turned_away_with_a_reason_and_a_delay() {
    let readiness = Readiness::new();
    readiness.stop();
    let status = answer_unreached("1S", readiness).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "SHUTTING_DOWN");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn a_stream_outlives_the_cap_of_unary_calls_but_not_its_own_deadline() {
    let cap = Duration::from_millis(1);
    let server = Running::odd(Limits { request_timeout_max: cap, ..Limits::default() });
    let mut watch = Request::new(request("1"));
    watch.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let mut stream = patiently(server.client().await.watch(watch)).await.unwrap().into_inner();
    assert!(patiently(stream.message()).await.unwrap().is_some());
    let begun = std::time::Instant::now();
    let status = patiently(stream.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() > 20 * cap, "cut by the cap");
    server.ended().await;
}

#[tokio::test]
async fn a_stream_that_is_never_silent_ends_at_its_deadline_too() {
    let server = Running::odd(Limits::default());
    let mut watch = Request::new(request(ENDLESS));
    watch.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let mut stream = patiently(server.client().await.watch(watch)).await.unwrap().into_inner();
    let status = loop {
        match patiently(stream.message()).await {
            Ok(message) => assert!(message.is_some(), "it ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    server.ended().await;
}

#[tokio::test]
async fn a_panic_answers_internal_and_the_connection_lives_on() {
    let server = Running::odd(Limits::default());
    let mut client = server.client().await;
    let status = patiently(client.check(request("panic"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(patiently(client.check(request(""))).await.is_ok());
    server.ended().await;
}

#[tokio::test]
async fn every_reply_of_a_long_stream_arrives_whole_and_in_order() {
    // The buffer is smaller than the stream by far, so the socket pushes back.
    let limits = Limits { write_buffer_bytes_max: 512, ..Limits::default() };
    let server = Running::odd(limits);
    let count = 20_000;
    let asked = request(&count.to_string());
    let mut stream = patiently(server.client().await.watch(asked)).await.unwrap().into_inner();
    for expected in 0..count {
        assert_eq!(patiently(stream.message()).await.unwrap().unwrap().status, expected);
    }
    drop(stream);
    server.ended().await;
}

#[tokio::test]
async fn metrics_count_calls_by_their_code() {
    let server = Running::odd(Limits::default());
    patiently(server.client().await.check(request("refuse"))).await.unwrap_err();
    let mut socket = server.socket().await;
    let get = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    socket.write_all(get).await.unwrap();
    let mut text = String::new();
    patiently(socket.read_to_string(&mut text)).await.unwrap();
    let labels = "grpc_type=\"unary\",grpc_service=\"grpc.health.v1.Health\",grpc_method=\"Check\"";
    let series = format!("grpc_server_handled_total{{{labels},grpc_code=\"NotFound\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
    assert!(line.parse::<u64>().unwrap() >= 1);
    server.ended().await;
}

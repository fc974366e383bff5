//! Health, and the way out.

use std::time::{Duration, Instant};

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use super::kit::{ENDLESS, Running, patiently, request};
use crate::server::Limits;

#[tokio::test]
async fn a_watch_of_an_unknown_service_says_so_and_a_check_does_not_find_it() {
    let server = Running::healthy(Limits::default());
    let mut client = server.client().await;
    let mut watch = patiently(client.watch(request("nobody"))).await.unwrap().into_inner();
    let first = patiently(watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let status = patiently(client.check(request("nobody"))).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    server.ended().await;
}

#[tokio::test]
async fn a_watch_tells_when_the_server_becomes_ready_and_when_it_leaves() {
    let mut server = Running::healthy(Limits::default());
    let service = request("pykv.v1.KeyValueService");
    let mut watch = patiently(server.client().await.watch(service)).await.unwrap().into_inner();
    let mut statuses = vec![patiently(watch.message()).await.unwrap().unwrap().status()];
    server.readiness.set_ready(true);
    statuses.push(patiently(watch.message()).await.unwrap().unwrap().status());
    server.shut_down();
    statuses.push(patiently(watch.message()).await.unwrap().unwrap().status());
    let expected = [ServingStatus::NotServing, ServingStatus::Serving, ServingStatus::NotServing];
    assert_eq!(statuses, expected);
    assert_eq!(patiently(watch.message()).await.unwrap_err().code(), Code::Unavailable);
    server.ended().await;
}

#[tokio::test]
async fn an_open_stream_ends_with_unavailable_long_before_the_drain_deadline() {
    let limits = Limits { stream_grace: Duration::from_millis(20), ..Limits::default() };
    let mut server = Running::odd(limits);
    let mut client = server.client().await;
    let mut stream = patiently(client.watch(request("1"))).await.unwrap().into_inner();
    assert!(patiently(stream.message()).await.unwrap().is_some());
    let begun = Instant::now();
    server.shut_down();
    assert_eq!(patiently(stream.message()).await.unwrap_err().code(), Code::Unavailable);
    server.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stream_that_is_never_silent_ends_with_unavailable_too() {
    let limits = Limits { stream_grace: Duration::from_millis(20), ..Limits::default() };
    let mut server = Running::odd(limits);
    let mut client = server.client().await;
    let mut stream = patiently(client.watch(request(ENDLESS))).await.unwrap().into_inner();
    assert!(patiently(stream.message()).await.unwrap().is_some());
    let begun = Instant::now();
    server.shut_down();
    let status = loop {
        match patiently(stream.message()).await {
            Ok(message) => assert!(message.is_some(), "it ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "SHUTTING_DOWN");
    server.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_at_the_drain_deadline() {
    let drain = Duration::from_millis(50);
    let mut server = Running::odd(Limits { drain, ..Limits::default() });
    let mut client = server.client().await;
    // The first call makes sure that the second is under way on an open connection.
    patiently(client.check(request(""))).await.unwrap();
    let never = tokio::spawn(async move { client.check(request("never")).await });
    server.shut_down();
    assert!(patiently(never).await.unwrap().is_err());
    server.ended().await;
}

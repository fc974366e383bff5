//! What a peer that means no good gets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kit::{Running, patiently};
use crate::server::Limits;

const SHORT: Duration = Duration::from_millis(50);

/// Whether the server closes a connection on which only `sent` was sent.
async fn is_closed_after(sent: &[u8]) {
    let server = Running::odd(Limits { preface_timeout: SHORT, ..Limits::default() });
    let mut socket = server.socket().await;
    socket.write_all(sent).await.unwrap();
    let mut rest = Vec::new();
    // An end or a reset: either is closed.
    let _ = patiently(socket.read_to_end(&mut rest)).await;
    server.ended().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    is_closed_after(b"").await;
}

#[tokio::test]
async fn half_a_preface_is_closed() {
    is_closed_after(b"PRI * HTTP/2.0\r\n\r").await;
}

#[tokio::test]
async fn half_a_request_head_is_closed() {
    is_closed_after(b"GET /livez HTTP/1.1\r\nhost: a\r\n").await;
}

#[tokio::test]
async fn connections_over_the_limit_per_address_are_closed_and_places_come_back() {
    let limits =
        Limits { connections_per_address_max: 1, limit_loopback: true, ..Limits::default() };
    over_the_limit(limits).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_places_come_back() {
    over_the_limit(Limits { connections_max: 1, ..Limits::default() }).await;
}

async fn over_the_limit(limits: Limits) {
    let server = Running::odd(limits);
    let mut first = server.socket().await;
    assert!(answers(&mut first).await, "the first connection has a place");
    assert!(!answers(&mut server.socket().await).await, "the second has none");
    drop(first);
    // The place is free once the server has seen the end of the first; each try is a round trip.
    let again = async { while !answers(&mut server.socket().await).await {} };
    patiently(again).await;
    server.ended().await;
}

async fn answers(socket: &mut tokio::net::TcpStream) -> bool {
    let sent = socket.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = [0; 12];
    sent.is_ok()
        && patiently(socket.read_exact(&mut answer)).await.is_ok()
        && answer == *b"HTTP/1.1 200"
}

#[tokio::test]
async fn the_limit_of_streams_is_told() {
    let server = Running::odd(Limits { streams_max: 77, ..Limits::default() });
    let mut socket = server.socket().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    patiently(socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut settings = vec![0; usize::from(head[2])];
    patiently(socket.read_exact(&mut settings)).await.unwrap();
    // Setting 3 is MAX_CONCURRENT_STREAMS.
    assert!(settings.chunks(6).any(|one| one == [0, 3, 0, 0, 0, 77]), "{settings:?}");
    drop(socket);
    server.ended().await;
}

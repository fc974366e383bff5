//! Every limit of a connection and of a call, in one place.

use std::time::Duration;

/// What the server allows. The defaults suit a server that strangers can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most connections at a time from one address.
    pub connections_per_address_max: usize,
    /// Whether the limit per address holds for loopback too, where a proxy or a test has one address
    /// for everybody.
    pub limit_loopback: bool,
    /// Most calls at a time on one connection.
    pub streams_max: u32,
    /// Most bytes of the headers of a request.
    pub header_list_bytes_max: u32,
    /// How long a connection may take for the preface of HTTP/2 or the first request head.
    pub preface_timeout: Duration,
    /// How long a request head of HTTP/1 may take, and how long a connection may lie between two.
    pub head_timeout: Duration,
    /// How often a silent HTTP/2 connection is pinged.
    pub keepalive_interval: Duration,
    /// How long it may take to answer a ping.
    pub keepalive_timeout: Duration,
    /// Longest time a unary call may take, whatever its caller allows.
    pub request_timeout_max: Duration,
    /// How long a connection may accept no byte while there is something to write.
    pub write_stall_timeout: Duration,
    /// Flow-control window of a stream: what a caller may send of one call before it is read. Where
    /// the window of the connection has not as many for all its streams, they are smaller.
    pub window_bytes: u32,
    /// Flow-control window of a connection: what a caller may send of all calls together before it
    /// is read. Many stream windows, because h2 ends a connection whose unread DATA frames of less
    /// than 256 bytes fall short of that by more than half this window, all of them summed up; so
    /// the window of a stream must be full before that. With the defaults two streams can be full of
    /// frames of 5 bytes, six of the smallest requests there are, or twenty of ordinary ones.
    pub connection_window_bytes: u32,
    /// Most bytes of large requests at a time on one connection: they wait for each other.
    pub connection_request_bytes_max: usize,
    /// The same for all connections together.
    pub request_bytes_max: usize,
    /// Most bytes of a stream that wait for its caller's window.
    pub send_buffer_bytes_max: usize,
    /// Most bytes that wait for the socket of a connection.
    pub write_buffer_bytes_max: usize,
    /// How long the server says that it is not ready before it turns calls away.
    pub drain_notice: Duration,
    /// How long open streams may go on once calls are turned away.
    pub stream_grace: Duration,
    /// How long calls may go on once new ones are turned away; then connections are cut.
    pub drain: Duration,
}

impl Limits {
    /// The window of a stream, as it is: so that all streams but one can wait with theirs full, for
    /// room or for their turn, and the one still has what it is waited for.
    pub(super) fn stream_window_bytes(&self) -> u32 {
        self.window_bytes.min(self.connection_window_bytes / self.streams_max.max(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_address_max: 256,
            limit_loopback: false,
            streams_max: 256,
            header_list_bytes_max: 16 * 1024,
            preface_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            request_timeout_max: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            window_bytes: 128 * 1024,
            connection_window_bytes: 32 * 1024 * 1024,
            connection_request_bytes_max: 16 << 20,
            request_bytes_max: 256 << 20,
            send_buffer_bytes_max: 256 * 1024,
            write_buffer_bytes_max: 256 * 1024,
            drain_notice: Duration::ZERO,
            stream_grace: Duration::from_secs(1),
            drain: Duration::from_secs(20),
        }
    }
}

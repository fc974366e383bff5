//! The settings of connections and calls, and of the way out.

use std::time::Duration;

use super::settings::{Setting, seconds};
use super::value::shown;

/// A connection or a call is never left alone for longer than this.
const DAY: u64 = 86_400;

/// Bytes of a window of HTTP/2: the protocol's own least and most.
const WINDOW_BYTES: (u64, u64) = (65_535, (1 << 31) - 1);
/// Bytes that wait: less would cut every reply in pieces, more is memory anybody can take.
const WAITING_BYTES: (u64, u64) = (16 << 10, 64 << 20);

/// Bytes of requests: the largest there is must fit.
const REQUEST_BYTES: (u64, u64) = (8 << 20, 1 << 30);
const ALL_REQUEST_BYTES: (u64, u64) = (8 << 20, 64 << 30);

pub(super) const LIMITS: &[Setting] = &[
    Setting {
        key: "limits.max_connections",
        help: "Most connections at a time, 1 to 1000000.",
        read: |config, raw| {
            raw.number((1, 1_000_000)).map(|count| config.limits.connections_max = count)
        },
        show: |config| config.limits.connections_max.to_string(),
    },
    Setting {
        key: "limits.max_connections_per_address",
        help: "Most connections at a time from one address, 1 to 1000000.",
        read: |config, raw| {
            let count = raw.number((1, 1_000_000))?;
            config.limits.connections_per_address_max = count;
            Ok(())
        },
        show: |config| config.limits.connections_per_address_max.to_string(),
    },
    Setting {
        key: "limits.limit_loopback",
        help: "Whether the limit per address holds for this machine too.",
        read: |config, raw| raw.truth().map(|truth| config.limits.limit_loopback = truth),
        show: |config| config.limits.limit_loopback.to_string(),
    },
    Setting {
        key: "limits.max_streams",
        help: "Most calls at a time on one connection, 1 to 100000.",
        read: |config, raw| raw.number((1, 100_000)).map(|count| config.limits.streams_max = count),
        show: |config| config.limits.streams_max.to_string(),
    },
    Setting {
        key: "limits.max_connection_request_bytes",
        help: "Most bytes of requests above 64 KiB at a time on one connection, 8 MiB to 1 GiB; more \
               wait.",
        read: |config, raw| {
            let bytes = raw.bytes(REQUEST_BYTES)?;
            config.limits.connection_request_bytes_max =
                usize::try_from(bytes).unwrap_or(usize::MAX);
            Ok(())
        },
        show: |config| shown::bytes(config.limits.connection_request_bytes_max as u64),
    },
    Setting {
        key: "limits.max_request_bytes",
        help: "The same over all connections, 8 MiB to 64 GiB; more wait for a second, and are refused.",
        read: |config, raw| {
            let bytes = raw.bytes(ALL_REQUEST_BYTES)?;
            config.limits.request_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
            Ok(())
        },
        show: |config| shown::bytes(config.limits.request_bytes_max as u64),
    },
    Setting {
        key: "limits.max_watches",
        help: "Most watches at a time, over all callers, 1 to 1000000.",
        read: |config, raw| {
            raw.number((1, 1_000_000)).map(|count| config.streams.watches_max = count)
        },
        show: |config| config.streams.watches_max.to_string(),
    },
    Setting {
        key: "limits.max_pipelines",
        help: "Most pipelines at a time, over all callers, 1 to 1000000.",
        read: |config, raw| {
            raw.number((1, 1_000_000)).map(|count| config.streams.pipelines_max = count)
        },
        show: |config| config.streams.pipelines_max.to_string(),
    },
    Setting {
        key: "limits.max_header_bytes",
        help: "Most bytes of the headers of a request, 1 KiB to 1 MiB.",
        read: |config, raw| {
            let bytes = raw.bytes((1 << 10, 1 << 20))?;
            config.limits.header_list_bytes_max = u32::try_from(bytes).unwrap_or(u32::MAX);
            Ok(())
        },
        show: |config| shown::bytes(config.limits.header_list_bytes_max.into()),
    },
    Setting {
        key: "limits.preface_timeout",
        help: "How long a new connection may stay silent, 100ms to 1day.",
        read: |config, raw| {
            raw.length(timeout()).map(|length| config.limits.preface_timeout = length)
        },
        show: |config| shown::length(config.limits.preface_timeout),
    },
    Setting {
        key: "limits.head_timeout",
        help: "How long the head of an HTTP/1 request may take, and a connection lie between two; 100ms to 1day.",
        read: |config, raw| raw.length(timeout()).map(|length| config.limits.head_timeout = length),
        show: |config| shown::length(config.limits.head_timeout),
    },
    Setting {
        key: "limits.keepalive_interval",
        help: "How often a silent HTTP/2 connection is pinged, 1s to 1day.",
        read: |config, raw| {
            raw.length(seconds(1, DAY)).map(|length| config.limits.keepalive_interval = length)
        },
        show: |config| shown::length(config.limits.keepalive_interval),
    },
    Setting {
        key: "limits.keepalive_timeout",
        help: "How long it may take to answer a ping, 100ms to 1day.",
        read: |config, raw| {
            raw.length(timeout()).map(|length| config.limits.keepalive_timeout = length)
        },
        show: |config| shown::length(config.limits.keepalive_timeout),
    },
    Setting {
        key: "limits.max_request_timeout",
        help: "Longest time a unary call may take, whatever its caller allows, 100ms to 1day.",
        read: |config, raw| {
            raw.length(timeout()).map(|length| config.limits.request_timeout_max = length)
        },
        show: |config| shown::length(config.limits.request_timeout_max),
    },
    Setting {
        key: "limits.write_stall_timeout",
        help: "How long a connection may accept no byte while there is something to write, 100ms to 1day.",
        read: |config, raw| {
            raw.length(timeout()).map(|length| config.limits.write_stall_timeout = length)
        },
        show: |config| shown::length(config.limits.write_stall_timeout),
    },
    Setting {
        key: "limits.window_bytes",
        help: "What a caller may send of one call before it is read, 65535 to 2147483647.",
        read: |config, raw| {
            let bytes = raw.bytes(WINDOW_BYTES)?;
            config.limits.window_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            Ok(())
        },
        show: |config| shown::bytes(config.limits.window_bytes.into()),
    },
    Setting {
        key: "limits.connection_window_bytes",
        help: "What a caller may send of all calls of a connection before it is read, 65535 to 2147483647; at least 50 windows of a call, or a pipeline of tiny requests can end its connection.",
        read: |config, raw| {
            let bytes = raw.bytes(WINDOW_BYTES)?;
            config.limits.connection_window_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            Ok(())
        },
        show: |config| shown::bytes(config.limits.connection_window_bytes.into()),
    },
    Setting {
        key: "limits.max_send_buffer_bytes",
        help: "Most bytes of a stream that wait for its caller's window, 16 KiB to 64 MiB.",
        read: |config, raw| {
            raw.bytes(WAITING_BYTES).map(|b| config.limits.send_buffer_bytes_max = size(b))
        },
        show: |config| shown::bytes(wide(config.limits.send_buffer_bytes_max)),
    },
    Setting {
        key: "limits.max_write_buffer_bytes",
        help: "Most bytes that wait for the socket of a connection, 16 KiB to 64 MiB.",
        read: |config, raw| {
            raw.bytes(WAITING_BYTES).map(|b| config.limits.write_buffer_bytes_max = size(b))
        },
        show: |config| shown::bytes(wide(config.limits.write_buffer_bytes_max)),
    },
    Setting {
        key: "drain.notice",
        help: "How long the server says that it is not ready before it turns calls away, 0s to 24s.",
        read: |config, raw| {
            raw.length(seconds(0, 24)).map(|length| config.limits.drain_notice = length)
        },
        show: |config| shown::length(config.limits.drain_notice),
    },
    Setting {
        key: "drain.stream_grace",
        help: "How long open streams may go on once calls are turned away, 0s to 24s.",
        read: |config, raw| {
            raw.length(seconds(0, 24)).map(|length| config.limits.stream_grace = length)
        },
        show: |config| shown::length(config.limits.stream_grace),
    },
    Setting {
        key: "drain.timeout",
        help: "How long calls may go on once new ones are turned away, 0s to 24s; then connections are cut.",
        read: |config, raw| raw.length(seconds(0, 24)).map(|length| config.limits.drain = length),
        show: |config| shown::length(config.limits.drain),
    },
];

fn timeout() -> (Duration, Duration) {
    (Duration::from_millis(100), Duration::from_secs(DAY))
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

//! What happens, as it happens: every event that is measured, declared in one place. What the store
//! holds at the moment of a scrape is declared in `store`, what methods do in `grpc`.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

/// A histogram of seconds: its name, its help text and its edges.
pub(super) struct Timed {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) edges: &'static [f64],
}

/// One sync of the log.
const SYNC: Timed = Timed {
    name: "pykv_wal_fsync_seconds",
    help: "How long the log took to reach the disk.",
    edges: &[0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0],
};
/// One compaction of the log.
const COMPACTION: Timed = Timed {
    name: "pykv_compaction_seconds",
    help: "How long compactions of the log took.",
    edges: &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0],
};
/// One replay of the log.
const REPLAY: Timed = Timed {
    name: "pykv_wal_replay_seconds",
    help: "How long replaying the log at the start took.",
    edges: &[0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0],
};
/// Every histogram, for the recorder.
pub(super) const TIMED: [&Timed; 3] = [&SYNC, &COMPACTION, &REPLAY];

/// Every counter, with its help text.
const TORN_TAIL: (&str, &str) =
    ("pykv_wal_torn_tail_bytes_total", "Bytes cut from the end of the log after a crash.");
const REFUSED: (&str, &str) =
    ("pykv_connections_refused_total", "Connections closed at once because a limit was reached.");
const HANDSHAKES: (&str, &str) =
    ("pykv_tls_handshake_failures_total", "Connections on which no encryption was agreed.");
const COMPACTIONS: (&str, &str) =
    ("pykv_compactions_total", "Compactions of the log that have ended, by what came of them.");
const ACCEPTED: (&str, &str) = ("pykv_connections_accepted_total", "Connections accepted.");

/// Every gauge, with its help text.
const RELOADED: (&str, &str) = (
    "pykv_config_last_reload_successful",
    "Whether the configuration was in force when it was last read, 0 or 1.",
);
const RELOADED_AT: (&str, &str) = (
    "pykv_config_last_reload_success_timestamp_seconds",
    "When the configuration in force was read.",
);

struct Handles {
    sync: Histogram,
    compaction: Histogram,
    replay: Histogram,
    torn_tail: Counter,
    refused: Counter,
    accepted: Counter,
    handshakes: Counter,
    compacted: Counter,
    not_compacted: Counter,
    reloaded: Gauge,
    reloaded_at: Gauge,
}

static HANDLES: OnceLock<Handles> = OnceLock::new();

/// Describes every event and resolves its handle. The recorder must be in place.
pub(super) fn declare() {
    for timed in TIMED {
        metrics::describe_histogram!(timed.name, Unit::Seconds, timed.help);
    }
    for (name, help) in [TORN_TAIL, REFUSED, ACCEPTED, HANDSHAKES, COMPACTIONS] {
        metrics::describe_counter!(name, help);
    }
    for (name, help) in [RELOADED, RELOADED_AT] {
        metrics::describe_gauge!(name, help);
    }
    HANDLES.get_or_init(|| Handles {
        sync: metrics::histogram!(SYNC.name),
        compaction: metrics::histogram!(COMPACTION.name),
        replay: metrics::histogram!(REPLAY.name),
        torn_tail: metrics::counter!(TORN_TAIL.0),
        refused: metrics::counter!(REFUSED.0),
        accepted: metrics::counter!(ACCEPTED.0),
        handshakes: metrics::counter!(HANDSHAKES.0),
        compacted: metrics::counter!(COMPACTIONS.0, "result" => "ok"),
        not_compacted: metrics::counter!(COMPACTIONS.0, "result" => "failed"),
        reloaded: metrics::gauge!(RELOADED.0),
        reloaded_at: metrics::gauge!(RELOADED_AT.0),
    });
    // What it was started with is in force.
    config_reloaded(true);
}

/// The log reached the disk in `elapsed`. Counted from `install` on, as are all events here.
pub fn sync_seconds(elapsed: Duration) {
    with(|handles| handles.sync.record(elapsed.as_secs_f64()));
}

/// A compaction of the log took `elapsed`.
pub fn compaction_seconds(elapsed: Duration) {
    with(|handles| {
        handles.compaction.record(elapsed.as_secs_f64());
        handles.compacted.increment(1);
    });
}

/// A compaction of the log failed.
pub fn compaction_failed() {
    with(|handles| handles.not_compacted.increment(1));
}

/// No encryption was agreed on a connection.
pub fn handshake_failed() {
    with(|handles| handles.handshakes.increment(1));
}

/// Replaying the log took `elapsed`.
pub fn replay_seconds(elapsed: Duration) {
    with(|handles| handles.replay.record(elapsed.as_secs_f64()));
}

/// `bytes` at the end of the log were torn and set aside.
pub fn torn_tail_bytes(bytes: u64) {
    with(|handles| handles.torn_tail.increment(bytes));
}

/// A connection was closed at once because a limit was reached.
pub fn connection_refused() {
    with(|handles| handles.refused.increment(1));
}

/// A connection was accepted.
pub fn connection_accepted() {
    with(|handles| handles.accepted.increment(1));
}

/// The configuration was read again, and put in force or not.
pub fn config_reloaded(is_in_force: bool) {
    with(|handles| {
        handles.reloaded.set(if is_in_force { 1.0 } else { 0.0 });
        if is_in_force {
            handles.reloaded_at.set(unix_seconds());
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a time for people; nothing is decided by it")]
fn unix_seconds() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn with(act: impl FnOnce(&Handles)) {
    if let Some(handles) = HANDLES.get() {
        act(handles);
    }
}

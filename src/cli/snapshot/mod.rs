//! `snapshot`: takes a copy of a running server, puts one back, and looks into a file.

mod args;
mod inspect;
mod progress;
mod restore;
mod save;

use serde_json::{Value, json};

use super::Session;
use super::failure::Outcome;
use super::json::long;
use crate::wire::v1 as wire;

pub(super) use args::Snapshot;
pub(super) use inspect::{cannot_read, open};
pub(super) use progress::Progress;

/// What stands for standard input or output in the place of a file.
const STANDARD: &str = "-";

pub(super) async fn run(session: &Session, command: Snapshot) -> Outcome {
    match command {
        Snapshot::Save(args) => save::save(session, args).await,
        Snapshot::Restore(args) => restore::restore(session, args).await,
        Snapshot::Inspect(args) => inspect::inspect(session, &args),
    }
}

/// What a snapshot holds, as the API writes it.
fn summary_json(summary: &wire::SnapshotSummary) -> Value {
    json!({
        "namespaceCount": long(summary.namespace_count),
        "entryCount": long(summary.entry_count),
        "sizeBytes": long(summary.size_bytes),
        "snapshotTime": summary.snapshot_time.map(|time| time.to_string()),
    })
}

/// A count and what it counts, in the one form or the other.
fn counted(count: i64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

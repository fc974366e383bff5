//! skeleton
mod command;
pub use command::{Command, Condition, Decision, Entry, Expiration, Outcome, Quota, Refusal, View};

/// A walk through entries by key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that start with this; empty: all.
    pub prefix: String,
    /// Only keys behind this one.
    pub start_after: Option<String>,
    /// At most this many entries.
    pub entries_max: usize,
    /// Stop before keys and values pass this many bytes (but return at least one entry).
    pub bytes_max: usize,
    /// How much of each entry.
    pub view: View,
}

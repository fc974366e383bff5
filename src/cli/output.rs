//! The only printer: standard output, as raw bytes, tables or JSON.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::exit::Exit;
use super::failure::{Failure, Outcome};
use crate::model::UnixMillis;

/// What the output looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: the messages of the API as JSON, one object for each answer.
    Json,
}

/// Writes bytes as they are.
pub(super) fn raw(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| of_stdout(&error))
}

/// Writes a line.
pub(super) fn line(text: &str) -> Outcome {
    raw(format!("{text}\n").as_bytes())
}

/// Writes a value as one line.
pub(super) fn json(value: &serde_json::Value) -> Outcome {
    line(&value.to_string())
}

/// Whether a person looks at the output.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// What a failed write to standard output means.
pub(super) fn of_stdout(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::caused(Exit::Io, "cannot write the output", error)
}

/// A length of time for people, to the millisecond.
pub(super) fn length(length: prost_types::Duration) -> String {
    let words = |length: Duration| {
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        humantime::format_duration(Duration::from_millis(millis)).to_string()
    };
    Duration::try_from(length).map_or_else(|_| length.to_string(), words)
}

/// A number of bytes that was found, for people. One that somebody chose is told exactly, as it is
/// written in a configuration.
pub(super) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A moment by RFC 3339; one of the model is before the year 10000.
pub(super) fn moment(moment: UnixMillis) -> String {
    let millis = i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds: millis / 1000, nanos }.to_string()
}

/// A table without borders, nor a header if that is empty; columns from `numbers` on are aligned to the right.
pub(super) fn table(header: &[&str], numbers: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).add_rows(rows);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

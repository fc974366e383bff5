//! `snapshot inspect`: verifies a file and counts what is in it, without a server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Inspect;
use super::{Progress, STANDARD};
use crate::cli::Session;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome, printable};
use crate::cli::json::unsigned;
use crate::cli::output::{self, Output};
use crate::model::NamespaceId;
use crate::wal::archive::{Item, Reader, Summary};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// What a file has of one namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    name: String,
    entries: u64,
    key_bytes: u64,
    value_bytes: u64,
    /// Entries with a deadline.
    expiring: u64,
}

pub(super) fn inspect(session: &Session, args: &Inspect) -> Outcome {
    let (mut source, total) = open(&args.file)?;
    let progress = Progress::of_bytes(session.output, total);
    let (summary, tallies) = count(&mut *source, &args.file, &progress)?;
    drop(progress);
    match session.output {
        Output::Json => output::json(&shown_json(&summary, &tallies)),
        Output::Text => output::line(&shown_text(&summary, &tallies)),
    }
}

/// A file or standard input, and its size where that is known.
pub(in crate::cli) fn open(path: &Path) -> Outcome<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new(STANDARD) {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    // What is no plain file has no size that means anything.
    let total = file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len());
    Ok((Box::new(file), total))
}

pub(in crate::cli) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let name = printable(&path.display().to_string());
    Failure::caused(Exit::Io, &format!("cannot read {name}"), error)
}

fn count(
    source: &mut dyn Read,
    path: &Path,
    progress: &Progress,
) -> Outcome<(Summary, Vec<Tally>)> {
    let mut reader = Reader::new();
    let mut tallies: BTreeMap<NamespaceId, Tally> = BTreeMap::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(cannot_read(path, &error)),
        };
        if read == 0 {
            break;
        }
        reader.feed(&buffer[..read], &mut |item| match item {
            Item::Definition(definition) => {
                let name = definition.name.as_str().to_owned();
                tallies.insert(definition.id, Tally { name, ..Tally::default() });
            }
            Item::Entry { namespace, entry, .. } => {
                let tally = tallies.entry(namespace).or_default();
                tally.entries += 1;
                tally.key_bytes += entry.key.len() as u64;
                tally.value_bytes += entry.value.len() as u64;
                tally.expiring += u64::from(entry.deadline.is_some());
            }
        })?;
        progress.add(read);
    }
    let mut tallies: Vec<Tally> = tallies.into_values().collect();
    tallies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((reader.finish()?, tallies))
}

fn shown_json(summary: &Summary, tallies: &[Tally]) -> Value {
    let namespace = |tally: &Tally| {
        json!({
            "name": tally.name,
            "entryCount": unsigned(tally.entries),
            "keyBytes": unsigned(tally.key_bytes),
            "valueBytes": unsigned(tally.value_bytes),
            "expiringCount": unsigned(tally.expiring),
        })
    };
    json!({
        "formatVersion": summary.format,
        "summary": {
            "namespaceCount": unsigned(summary.namespaces),
            "entryCount": unsigned(summary.entries),
            "sizeBytes": unsigned(summary.bytes),
            "snapshotTime": output::moment(summary.moment),
        },
        "namespaces": tallies.iter().map(namespace).collect::<Vec<_>>(),
    })
}

fn shown_text(summary: &Summary, tallies: &[Tally]) -> String {
    let rows = [
        ("format", summary.format.to_string()),
        ("as of", output::moment(summary.moment)),
        ("size", output::size(summary.bytes)),
        ("namespaces", summary.namespaces.to_string()),
        ("entries", summary.entries.to_string()),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let head = output::table(&[], usize::MAX, rows);
    let row = |tally: &Tally| {
        let bytes = output::size(tally.key_bytes + tally.value_bytes);
        let (entries, expiring) = (tally.entries.to_string(), tally.expiring.to_string());
        vec![tally.name.clone(), entries, expiring, bytes]
    };
    let header = ["NAMESPACE", "ENTRIES", "EXPIRING", "KEYS AND VALUES"];
    let table = output::table(&header, 1, tallies.iter().map(row).collect());
    format!("the snapshot is whole\n{head}\n\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frozen file of the first format.
    fn frozen() -> Vec<u8> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(root.join("tests/golden/snapshot-v1.pykv")).unwrap()
    }

    fn counted(bytes: &[u8]) -> Outcome<(Summary, Vec<Tally>)> {
        let progress = Progress::of_bytes(Output::Json, None);
        count(&mut &bytes[..], Path::new("x"), &progress)
    }

    #[test]
    fn a_file_is_counted_by_namespace() {
        let (summary, tallies) = counted(&frozen()).unwrap();
        assert_eq!((summary.namespaces, summary.entries), (2, 5));
        let counts: Vec<_> =
            tallies.iter().map(|t| (t.name.as_str(), t.entries, t.expiring)).collect();
        assert_eq!(counts, [("default", 3, 1), ("myapp:production", 2, 1)]);
        let text = shown_text(&summary, &tallies);
        assert!(text.contains("2023-11-14T22:13:20.123Z"), "{text}");
        let json = shown_json(&summary, &tallies);
        assert_eq!(json["namespaces"][0]["entryCount"], "3");
        assert_eq!(json["formatVersion"], 1);
    }

    #[test]
    fn damage_is_exit_65_and_named_by_its_offset() {
        let mut damaged = frozen();
        let at = damaged.len() - 1;
        damaged[at] ^= 1;
        let failure = counted(&damaged).unwrap_err();
        assert_eq!(failure.code(), 65);
        assert!(failure.text().contains("offset"), "{}", failure.text());
        assert_eq!(counted(&frozen()[..100]).unwrap_err().code(), 65);
        assert_eq!(counted(b"").unwrap_err().code(), 65);
    }
}

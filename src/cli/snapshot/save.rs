//! `snapshot save`: from a server into a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Save;
use super::{Progress, STANDARD, counted, summary_json};
use crate::cli::Session;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome, printable};
use crate::cli::output::{self, Output};
use crate::wal::archive::Reader;
use crate::wire::v1 as wire;

pub(super) async fn save(session: &Session, args: Save) -> Outcome {
    let Save { file, namespaces, force } = args;
    if file == Path::new(STANDARD) {
        copy(session, namespaces, &mut |chunk| output::raw(chunk)).await?;
        return Ok(());
    }
    let name = printable(&file.display().to_string());
    if !force && file.exists() {
        let text = format!("{name} exists; --force replaces it");
        return Err(Failure::new(Exit::CannotCreate, text));
    }
    let mut part = Part::create(&file)?;
    let summary = copy(session, namespaces, &mut |chunk| part.write(chunk)).await?;
    part.publish(&file)?;
    match session.output {
        Output::Json => output::json(&json!({"summary": summary_json(&summary)})),
        Output::Text => output::line(&format!(
            "{} in {}, {}, as of {}",
            counted(summary.entry_count, "entry", "entries"),
            counted(summary.namespace_count, "namespace", "namespaces"),
            output::size(u64::try_from(summary.size_bytes).unwrap_or_default()),
            summary.snapshot_time.map_or_else(String::new, |time| time.to_string()),
        )),
    }
}

/// Gives the bytes of a copy to `take`, and checks them on their way.
async fn copy(
    session: &Session,
    namespaces: Vec<String>,
    take: &mut dyn FnMut(&[u8]) -> Outcome,
) -> Outcome<wire::SnapshotSummary> {
    let client = session.dial().await?;
    let mut admin = client.admin();
    let request = wire::ExportSnapshotRequest { namespaces };
    let mut stream = session.within(admin.export_snapshot(request)).await??.into_inner();
    let progress = Progress::of_bytes(session.output, None);
    let mut reader = Reader::new();
    let mut summary = None;
    while let Some(message) = session.within(stream.message()).await?? {
        reader.feed(&message.chunk, &mut |_| ())?;
        if !message.chunk.is_empty() {
            take(&message.chunk)?;
        }
        progress.add(message.chunk.len());
        summary = message.summary;
    }
    let found = reader.finish()?;
    let entries = i64::try_from(found.entries).unwrap_or(i64::MAX);
    summary.filter(|summary| summary.entry_count == entries).ok_or_else(|| {
        Failure::new(Exit::Damaged, "the server's count of entries is not that of the file")
    })
}

/// A file in the making; without being published it is removed.
struct Part {
    path: PathBuf,
    file: File,
    is_published: bool,
}

impl Part {
    fn create(target: &Path) -> Outcome<Part> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let mut options = File::options();
        // It holds what the log holds.
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(Part { path, file, is_published: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.file.write_all(bytes).map_err(|error| cannot("write", &self.path, &error))
    }

    /// Puts it in its place; on disk when this returns, name included.
    fn publish(mut self, target: &Path) -> Outcome {
        self.file.sync_all().map_err(|error| cannot("sync", &self.path, &error))?;
        fs::rename(&self.path, target).map_err(|error| cannot("rename", &self.path, &error))?;
        self.is_published = true;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|error| cannot("sync", parent, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_published {
            // A part helps nobody; if it stays, the next one replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let exit = if verb == "create" { Exit::CannotCreate } else { Exit::Io };
    Failure::caused(
        exit,
        &format!("cannot {verb} {}", printable(&path.display().to_string())),
        error,
    )
}

//! Requests of ExportSnapshot and RestoreSnapshot.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tonic::Status;

use super::{At, Problems};
use crate::model::NamespaceName;
use crate::store::{RestoreMode, RestoreOptions};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;
use crate::wire::v1::restore_snapshot_request::Payload;

/// Most bytes of a file in one message.
const CHUNK_BYTES_MAX: usize = 1 << 20;

const OPTIONS: At<'_> = At::Field(&At::Top, "options");
const CHUNK: At<'_> = At::Field(&At::Top, "chunk");
const RENAMES: At<'_> = At::Field(&OPTIONS, "rename_namespaces");

/// The next bytes of an upload.
#[derive(Debug)]
pub(crate) struct Upload(pub(crate) Bytes);

/// Checks which namespaces are to be copied; none means all.
pub(crate) fn export_snapshot(
    request: &wire::ExportSnapshotRequest,
) -> Result<Vec<NamespaceName>, Status> {
    let mut problems = Problems::default();
    let names = problems.names(&request.namespaces, At::Top);
    problems.refuse(Some(names))
}

/// Checks the first message of an upload.
pub(crate) fn restore_options(
    message: Option<wire::RestoreSnapshotRequest>,
) -> Result<RestoreOptions, Status> {
    let mut problems = Problems::default();
    let options = match message.and_then(|message| message.payload) {
        Some(Payload::Options(options)) => problems.restore_options(options),
        Some(Payload::Chunk(_)) | None => {
            problems.add(OPTIONS, ErrorReason::UploadInvalid, "must be the first message")
        }
    };
    problems.refuse(options)
}

/// Checks any message of an upload but the first.
pub(crate) fn upload(message: wire::RestoreSnapshotRequest) -> Result<Upload, Status> {
    let mut problems = Problems::default();
    let reason = ErrorReason::UploadInvalid;
    let chunk = match message.payload {
        Some(Payload::Chunk(chunk)) if chunk.len() <= CHUNK_BYTES_MAX => Some(Upload(chunk)),
        Some(Payload::Chunk(chunk)) => {
            let bytes = chunk.len();
            let text = format!("must be at most {CHUNK_BYTES_MAX} bytes, this has {bytes}");
            problems.add(CHUNK, reason, text)
        }
        Some(Payload::Options(_)) => {
            problems.add(OPTIONS, reason, "must be the first message only")
        }
        None => problems.add(CHUNK, reason, "must be set in every message but the first"),
    };
    problems.refuse(chunk)
}

impl Problems {
    fn restore_options(&mut self, options: wire::RestoreSnapshotOptions) -> Option<RestoreOptions> {
        let mode = match wire::RestoreMode::try_from(options.mode) {
            Ok(wire::RestoreMode::Replace) => Some(RestoreMode::Replace),
            Ok(wire::RestoreMode::Overwrite) => Some(RestoreMode::Overwrite),
            Ok(wire::RestoreMode::SkipExisting) => Some(RestoreMode::SkipExisting),
            Ok(wire::RestoreMode::Unspecified) | Err(_) => {
                let text = "must be replace, overwrite or skip existing";
                self.add(At::Field(&OPTIONS, "mode"), ErrorReason::RestoreModeMissing, text)
            }
        };
        let namespaces: BTreeSet<NamespaceName> =
            self.names(&options.namespaces, OPTIONS).into_iter().collect();
        // In the order of names, so that the same request has the same answer.
        let asked: BTreeMap<String, String> = options.rename_namespaces.into_iter().collect();
        let mut renames = BTreeMap::new();
        let mut targets: BTreeMap<NamespaceName, &str> = BTreeMap::new();
        for (from, to) in &asked {
            let parsed = (NamespaceName::parse(from), NamespaceName::parse(to));
            let (from_name, to_name) = match parsed {
                (Ok(from_name), Ok(to_name)) => (from_name, to_name),
                (Err(error), _) | (_, Err(error)) => {
                    let text = format!("{}: {error}", pair(from, to));
                    self.add::<()>(RENAMES, ErrorReason::NamespaceInvalid, text);
                    continue;
                }
            };
            if !namespaces.is_empty() && !namespaces.contains(&from_name) {
                let text = format!("{from:?} is not among those to be restored");
                self.add::<()>(RENAMES, ErrorReason::RenameInvalid, text);
            }
            if let Some(other) = targets.insert(to_name.clone(), from) {
                let text = format!("{other:?} and {from:?} would both become {to:?}");
                self.add::<()>(RENAMES, ErrorReason::RenameInvalid, text);
            }
            renames.insert(from_name, to_name);
        }
        let validate_only = options.validate_only;
        mode.map(|mode| RestoreOptions { mode, namespaces, renames, validate_only })
    }

    /// Names in the field `namespaces` of the message at `at`.
    fn names(&mut self, texts: &[String], at: At<'_>) -> Vec<NamespaceName> {
        let mut names = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            names.extend(self.namespace_name(text, At::Item(&at, "namespaces", index)));
        }
        names
    }
}

/// A renaming for a sentence; what is no name is cut.
fn pair(from: &str, to: &str) -> String {
    let cut = |text: &str| text.chars().take(64).collect::<String>();
    format!("{:?} to {:?}", cut(from), cut(to))
}

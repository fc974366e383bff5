//! Cuts a damaged log where an operator says, after keeping a copy of all that is cut.

use std::path::{Path, PathBuf};

use super::Error;

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Where the original is kept.
    pub saved_as: PathBuf,
    /// Bytes that are no longer part of the log.
    pub cut_bytes: u64,
}

/// Cuts the log in `dir` at `offset` of `segment`.
///
/// # Errors
/// What the operating system said.
pub fn repair(dir: &Path, segment: u32, offset: u64, accept_loss: bool) -> Result<Repaired, Error> {
    todo!("{dir:?} {segment} {offset} {accept_loss}")
}

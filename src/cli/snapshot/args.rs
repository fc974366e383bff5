//! The grammar of `snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::args::pair;
use crate::wire::v1 as wire;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Snapshot {
    /// Copy namespaces into a file, as they are at one moment, while the server works
    ///
    /// The file is written as FILE.part and renamed when it is whole and on disk.
    Save(Save),
    /// Put a file back into a running server
    ///
    /// Nothing is changed before the server has the whole file and found it sound. A namespace that is
    /// not there is made as it was; one that is there keeps its policy. If it ends in the middle, part
    /// of it stays, and it may be repeated. Exits with 65 if the file is damaged.
    Restore(Restore),
    /// Verify a file and tell what is in it; needs no server
    ///
    /// Exits with 65, and says where, if the file is damaged or of a newer format.
    Inspect(Inspect),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Save {
    /// Write to this file; "-" is standard output
    pub(super) file: PathBuf,
    /// Only this namespace; may be repeated [default: all]
    #[arg(short, long = "namespace", value_name = "NAME")]
    pub(super) namespaces: Vec<String>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// Read this file; "-" is standard input
    pub(super) file: PathBuf,
    /// What to do about entries that are there
    #[arg(long, value_enum)]
    pub(super) mode: Mode,
    /// Only this namespace, by its name in the file; may be repeated [default: all]
    #[arg(short, long = "namespace", value_name = "NAME")]
    pub(super) namespaces: Vec<String>,
    /// Restore a namespace under another name; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = pair)]
    pub(super) rename: Vec<(String, String)>,
    /// Only check the file and count what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// Read this file; "-" is standard input
    pub(super) file: PathBuf,
}

/// What a restore does about entries that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Mode {
    /// Clear each namespace first
    Replace,
    /// The file's entries win, others stay
    Overwrite,
    /// The entries that are there win, missing ones are added
    SkipExisting,
}

impl From<Mode> for wire::RestoreMode {
    fn from(mode: Mode) -> wire::RestoreMode {
        match mode {
            Mode::Replace => wire::RestoreMode::Replace,
            Mode::Overwrite => wire::RestoreMode::Overwrite,
            Mode::SkipExisting => wire::RestoreMode::SkipExisting,
        }
    }
}

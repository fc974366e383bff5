//! Why the server ended, and with which exit code.

use std::io;

use crate::config::Complaints;
use crate::gateway::SchemaError;
use crate::server::{BindError, RunError};
use crate::store::embedded::ReplayError;
use crate::wal::{self, Kind};

/// Why the server could not serve, or had to end. Exit codes are those of `sysexits.h`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Log lines cannot be written as configured.
    #[error("{0}")]
    Logging(String),
    /// The log cannot be opened, replayed or closed.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The files of tokens and certificates have changed since they were checked.
    #[error("{}", all(.0))]
    Files(#[from] Complaints),
    /// What UpdateConfig kept cannot be put in force.
    #[error("{0}")]
    Settings(String),
    /// The address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The server broke.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The schema inside this program does not serve.
    #[error("cannot offer reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The schema inside this program does not serve either.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// There is no thread to be had.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The log failed while the server ran. Nothing acknowledged is lost.
    #[error("the log failed, so the server has ended: {0}")]
    LogFailed(String),
    /// A bug of ours.
    #[error("the replay of the log panicked")]
    ReplayPanicked,
}

fn all(Complaints(all): &Complaints) -> String {
    let line = |c: &crate::config::Complaint| format!("{}: {}", c.source, c.text);
    all.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl From<ReplayError> for Error {
    fn from(error: ReplayError) -> Error {
        match error {
            ReplayError::Log(error) => Error::Log(error),
            ReplayError::Thread(error) => Error::Thread(error),
            ReplayError::Settings(words) => Error::Settings(words),
        }
    }
}

impl Error {
    /// The code the process should exit with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Logging(_) | Error::Settings(_) | Error::Files(_) => CONFIG,
            Error::Log(error) => code_of(error.kind()),
            Error::Bind(error) => match error.source.kind() == io::ErrorKind::PermissionDenied {
                true => PERMISSION,
                false => UNAVAILABLE,
            },
            Error::Thread(_) | Error::Run(RunError::Start { .. }) => TEMPORARY,
            Error::LogFailed(_) => IO,
            Error::Run(RunError::Schema(_) | RunError::Panicked)
            | Error::Reflection(_)
            | Error::Schema(_)
            | Error::ReplayPanicked => SOFTWARE,
        }
    }
}

const DAMAGED: u8 = 65;
const UNAVAILABLE: u8 = 69;
const SOFTWARE: u8 = 70;
const CANNOT_CREATE: u8 = 73;
const IO: u8 = 74;
const TEMPORARY: u8 = 75;
const PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Locked | Kind::Full | Kind::Busy => TEMPORARY,
        Kind::Damaged | Kind::NewerFormat => DAMAGED,
        Kind::NotWritable => CANNOT_CREATE,
        Kind::Failed | Kind::Io => IO,
    }
}

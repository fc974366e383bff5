//! What can go wrong with the log, and what the operator is to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::ruling::Damage;

/// What sort of failure an [`Error`] is: what the layers above decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another process has the directory open.
    Locked,
    /// Bytes that were once durable are gone or changed; nothing on disk was touched.
    Damaged,
    /// The directory was written by a later version of this program.
    NewerFormat,
    /// The directory cannot be made, or it or a file in it may not be written.
    NotWritable,
    /// The disk is full; what was to be written is kept in memory and tried again.
    Full,
    /// The log failed earlier and will not be used again; the process must end.
    Failed,
    /// A compaction is running already.
    Busy,
    /// The operating system refused for another reason.
    Io,
}

/// A failure of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`Kind::Locked`].
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// See [`Kind::Damaged`].
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// See [`Kind::NewerFormat`].
    #[error(
        "{} has format {found}, this program knows up to {supported}; start a newer version",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format it claims.
        found: u32,
        /// The newest this program reads.
        supported: u32,
    },
    /// See [`Kind::NotWritable`].
    #[error("cannot {action} {}", path.display())]
    NotWritable {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// See [`Kind::Full`].
    #[error("cannot {action} {}: the disk is full", path.display())]
    Full {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// See [`Kind::Failed`].
    #[error("the log failed: {reason}")]
    Failed {
        /// The first failure.
        reason: String,
    },
    /// See [`Kind::Busy`].
    #[error("a compaction is running already")]
    Busy,
    /// See [`Kind::Io`].
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the operating system said, sorted by what can be done about it.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        use io::ErrorKind as Said;
        let (path, said) = (path.to_path_buf(), source.kind());
        if matches!(said, Said::StorageFull | Said::QuotaExceeded | Said::FileTooLarge) {
            Error::Full { action, path, source }
        } else if matches!(
            said,
            Said::PermissionDenied | Said::ReadOnlyFilesystem | Said::NotADirectory
        ) {
            Error::NotWritable { action, path, source }
        } else {
            Error::Io { action, path, source }
        }
    }

    /// What sort of failure this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::Locked { .. } => Kind::Locked,
            Error::Damaged(_) => Kind::Damaged,
            Error::NewerFormat { .. } => Kind::NewerFormat,
            Error::NotWritable { .. } => Kind::NotWritable,
            Error::Full { .. } => Kind::Full,
            Error::Failed { .. } => Kind::Failed,
            Error::Busy => Kind::Busy,
            Error::Io { .. } => Kind::Io,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Error {
        Error::Damaged(Box::new(damage))
    }
}

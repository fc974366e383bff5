//! Files by name: retries what was only interrupted, and says in every error what was attempted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::disk::{Access, Disk, File, Guard, Sharing};

/// How often an interrupted call is repeated; more in a row is not an interruption.
const INTERRUPTIONS_MAX: usize = 64;

/// The file whose lock says that a process works here.
pub(super) const LOCK: &str = "LOCK";
/// What the directory holds.
pub(super) const MANIFEST: &str = "MANIFEST";
/// The manifest in the making.
pub(super) const MANIFEST_TMP: &str = "MANIFEST.tmp";
/// How far the log is known to be durable.
pub(super) const FENCE: &str = "FENCE";
/// Space kept for the day the disk is full.
pub(super) const BALLAST: &str = "BALLAST";

/// What one of our names stands for. Names are numbers: nothing of a client is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment(u32),
    Snapshot(u32),
    SnapshotTmp(u32),
}

impl Name {
    /// What `text` names; `None`: not one of ours, and never touched.
    pub(super) fn parse(text: &str) -> Option<Name> {
        let (digits, suffix) = text.split_at_checked(8)?;
        let number = digits.parse().ok().filter(|n| format!("{n:08}") == digits)?;
        match suffix {
            ".segment" => Some(Name::Segment(number)),
            ".snapshot" => Some(Name::Snapshot(number)),
            ".snapshot.tmp" => Some(Name::SnapshotTmp(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Segment(number) => write!(f, "{number:08}.segment"),
            Name::Snapshot(number) => write!(f, "{number:08}.snapshot"),
            Name::SnapshotTmp(number) => write!(f, "{number:08}.snapshot.tmp"),
        }
    }
}

/// What names of spools end with.
const SPOOL: &str = ".spool";

/// The name a spool has until it is open.
pub(super) fn spool_name(number: u32) -> String {
    format!("{number:08}{SPOOL}")
}

/// Whether `text` names a spool.
pub(super) fn is_spool(text: &str) -> bool {
    let digits = text.strip_suffix(SPOOL).and_then(|digits| digits.parse().ok());
    digits.is_some_and(|number| spool_name(number) == text)
}

/// The directory of the log.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Directory {
    pub(super) fn new(path: &Path, disk: Arc<dyn Disk>) -> Directory {
        Directory { path: path.to_path_buf(), disk }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn path_of(&self, name: impl fmt::Display) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Opens what exists; `None`: it does not.
    pub(super) fn find(
        &self,
        name: impl fmt::Display,
        access: Access,
    ) -> Result<Option<Handle>, Error> {
        let name = name.to_string();
        match retry(|| self.disk.open(&name, access)) {
            Ok(file) => Ok(Some(Handle { path: self.path_of(name), file })),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("open", &self.path_of(name), source)),
        }
    }

    /// Makes an empty file, also where there was one.
    pub(super) fn create(&self, name: impl fmt::Display) -> Result<Handle, Error> {
        let name = name.to_string();
        match retry(|| self.disk.create(&name)) {
            Ok(file) => Ok(Handle { path: self.path_of(name), file }),
            Err(source) => Err(Error::io("create", &self.path_of(name), source)),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<String>, Error> {
        retry(|| self.disk.list()).map_err(|source| Error::io("list", &self.path, source))
    }

    pub(super) fn rename(
        &self,
        from: impl fmt::Display,
        to: impl fmt::Display,
    ) -> Result<(), Error> {
        let (from, to) = (from.to_string(), to.to_string());
        retry(|| self.disk.rename(&from, &to))
            .map_err(|source| Error::io("rename", &self.path_of(from), source))
    }

    pub(super) fn remove(&self, name: impl fmt::Display) -> Result<(), Error> {
        let name = name.to_string();
        retry(|| self.disk.remove(&name))
            .map_err(|source| Error::io("remove", &self.path_of(name), source))
    }

    /// Returns when the names in the directory survive a power cut.
    pub(super) fn sync(&self) -> Result<(), Error> {
        retry(|| self.disk.sync()).map_err(|source| unsynced(&self.path, source))
    }

    pub(super) fn free_bytes(&self) -> Result<u64, Error> {
        retry(|| self.disk.free_bytes())
            .map_err(|source| Error::io("ask for the free space of", &self.path, source))
    }

    /// Locks the directory. Errors: `Locked` if another process has it.
    pub(super) fn lock(&self, sharing: Sharing) -> Result<Box<dyn Guard>, Error> {
        let path = self.path_of(LOCK);
        match retry(|| self.disk.lock(LOCK, sharing)) {
            Ok(Some(guard)) => Ok(guard),
            Ok(None) => Err(Error::Locked { path }),
            Err(source) => Err(Error::io("lock", &path, source)),
        }
    }

    pub(super) fn random(&self) -> u64 {
        self.disk.random()
    }
}

/// An open file that knows its name.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    path: PathBuf,
    file: Arc<dyn File>,
}

impl Handle {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> Result<u64, Error> {
        retry(|| self.file.bytes()).map_err(|source| self.error("measure", source))
    }

    /// Fills `into` from `offset` as far as the file goes; returns how much that was.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            let at = offset + filled as u64;
            match retry(|| self.file.read_at(&mut into[filled..], at)) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(source) => return Err(self.error("read", source)),
            }
        }
        Ok(filled)
    }

    /// Writes all of `from` at `offset`. Errors: some of it may have been written.
    pub(super) fn write(&self, from: &[u8], offset: u64) -> Result<(), Error> {
        let mut written = 0;
        while written < from.len() {
            let at = offset + written as u64;
            match retry(|| self.file.write_at(&from[written..], at)) {
                Ok(0) => return Err(self.error("write", io::ErrorKind::WriteZero.into())),
                Ok(bytes) => written += bytes,
                Err(source) => return Err(self.error("write", source)),
            }
        }
        Ok(())
    }

    /// Returns when the file survives a power cut. After an error nothing is known of what was
    /// written since the last success: the system may have dropped it and may say so only once.
    pub(super) fn sync(&self) -> Result<(), Error> {
        retry(|| self.file.sync()).map_err(|source| unsynced(&self.path, source))
    }

    pub(super) fn truncate(&self, bytes: u64) -> Result<(), Error> {
        retry(|| self.file.truncate(bytes)).map_err(|source| self.error("truncate", source))
    }

    pub(super) fn allocate(&self, bytes: u64) -> Result<(), Error> {
        retry(|| self.file.allocate(bytes))
            .map_err(|source| self.error("reserve space for", source))
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::io(action, &self.path, source)
    }
}

/// A sync that failed is a sync that failed, also where the cause was a full disk: what it should
/// have kept may be gone.
fn unsynced(path: &Path, source: io::Error) -> Error {
    Error::Io { action: "sync", path: path.to_path_buf(), source }
}

/// Repeats what a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = 0;
    loop {
        match call() {
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    && interruptions < INTERRUPTIONS_MAX =>
            {
                interruptions += 1;
            }
            result => return result,
        }
    }
}

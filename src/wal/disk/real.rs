//! The operating system's own files.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, fdatasync, flock, statvfs};
use rustix::io::Errno;

use super::{Access, Disk, File, Guard, Sharing};

/// What is in a log is for the account that wrote it, whatever the umask says.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory of the operating system.
#[derive(Debug)]
pub(in crate::wal) struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    /// `directory` as it is; the first call fails if it does not exist.
    pub(in crate::wal) fn existing(directory: &Path) -> RealDisk {
        RealDisk { directory: directory.to_path_buf() }
    }

    /// `directory`, made if it did not exist. Its own name is durable when this returns.
    pub(in crate::wal) fn make(directory: &Path) -> io::Result<RealDisk> {
        if !directory.is_dir() {
            let made: Vec<&Path> =
                directory.ancestors().take_while(|path| !path.is_dir()).collect();
            fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
            for parent in made.iter().filter_map(|path| path.parent()) {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(RealDisk::existing(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Arc::new(RealFile(options.open(self.path(name))?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let write = access == Access::ReadWrite;
        Ok(Arc::new(RealFile(fs::File::options().read(true).write(write).open(self.path(name))?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?
            .map(|entry| entry.map(|entry| entry.file_name().into_string().ok()))
            .collect::<io::Result<Vec<_>>>()?;
        // A name that is not text is not one of ours.
        Ok(names.into_iter().flatten().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = statvfs(&self.directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn lock(&self, name: &str, sharing: Sharing) -> io::Result<Option<Box<dyn Guard>>> {
        let (file, operation) = match sharing {
            Sharing::Exclusive => (
                fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(FILE_MODE)
                    .open(self.path(name))?,
                FlockOperation::NonBlockingLockExclusive,
            ),
            Sharing::Shared => {
                (fs::File::open(self.path(name))?, FlockOperation::NonBlockingLockShared)
            }
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Box::new(Held(file)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn random(&self) -> u64 {
        // The keys of the standard hasher come from the operating system.
        RandomState::new().build_hasher().finish()
    }
}

/// The lock ends when its file is closed.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "open, that is all it is for")] fs::File);

impl Guard for Held {}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(from, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // Flushes the length too where it changed; only times are left out.
        Ok(fdatasync(&self.0)?)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(fallocate(&self.0, FallocateFlags::empty(), 0, bytes)?)
    }
}

//! A file that nobody else sees: room for more than should be held in memory, for as long as it is
//! needed. It has no name while it is used, so it is gone with the process; one whose name was not
//! taken away in time goes at the next start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::{Handle, spool_name};
use super::first::random_salt;
use super::log::Log;
use super::shared::Shared;
use super::{Error, archive};
use crate::model::UnixMillis;

/// Bytes written between two looks at the free space.
const LOOK_BYTES: u64 = 4 << 20;

/// A file without a name, in the directory of the log.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    handle: Handle,
    bytes: u64,
    /// So many may be written before the free space is looked at again.
    allowance: u64,
}

impl Log {
    /// An empty spool.
    ///
    /// # Errors
    /// `Full`, `NotWritable` or `Io`; the log itself goes on.
    pub fn spool(&self) -> Result<Spool, Error> {
        let shared = Arc::clone(&self.shared);
        let number = shared.spools.fetch_add(1, Ordering::Relaxed);
        let name = spool_name(number);
        let handle = shared.directory.create(&name)?;
        shared.directory.remove(&name)?;
        Ok(Spool { shared, handle, bytes: 0, allowance: 0 })
    }

    /// An archive of the state at `moment`, to be written by the caller.
    #[must_use]
    pub fn archive(&self, moment: UnixMillis) -> archive::Writer {
        archive::Writer::new(moment, random_salt(&self.shared.directory))
    }

    /// Whether the log could grow by `bytes` without being full.
    ///
    /// # Errors
    /// `Io`: nobody knows.
    pub fn has_room_for(&self, bytes: u64) -> Result<bool, Error> {
        let shared = &*self.shared;
        let wanted = shared.config.free_bytes_min.saturating_add(bytes);
        Ok(shared.directory.free_bytes()? >= wanted)
    }
}

/// A spool is not worth it that the log should run full: it leaves the log what makes it resume, and a
/// segment.
fn is_spare(shared: &Shared, bytes: u64) -> Result<bool, Error> {
    let kept = shared.config.free_bytes_resume.saturating_add(shared.config.segment_bytes);
    Ok(shared.directory.free_bytes()? >= kept.saturating_add(bytes))
}

impl Spool {
    /// Bytes in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    /// `Full` where the log needs the room that is left, `Io`. Nothing can be done with the spool then
    /// but to drop it.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let size = bytes.len() as u64;
        if self.allowance < size {
            let wanted = size.max(LOOK_BYTES);
            if !is_spare(&self.shared, wanted)? {
                let (action, path) = ("write", self.handle.path().to_path_buf());
                let source = std::io::ErrorKind::StorageFull.into();
                return Err(Error::Full { action, path, source });
            }
            self.allowance = wanted;
        }
        self.handle.write(bytes, self.bytes)?;
        self.bytes += size;
        self.allowance -= size;
        Ok(())
    }

    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end.
    ///
    /// # Errors
    /// `Io`.
    pub fn read(&self, into: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.handle.read(into, offset)
    }

    /// Empties it.
    ///
    /// # Errors
    /// `Io`.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.handle.truncate(0)?;
        self.bytes = 0;
        Ok(())
    }
}

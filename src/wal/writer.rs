//! Puts sealed records into the last segment; the only one that writes there.

use parking_lot::Mutex;

use super::directory::Handle;
use super::record::{Position, seal};
use super::{Error, Lsn};

/// Memory kept for the next batch; one large batch does not hold on to more.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The end of the log, under the lock of whoever writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) handle: Handle,
    pub(super) number: u32,
    /// Behind everything sealed; what is in `pending` is not written yet.
    sealed: Position,
    /// Behind everything written.
    pub(super) position: Position,
    /// Sealed records that a write has not taken yet.
    pending: Vec<u8>,
    /// How far the operating system has it.
    pub(super) written: Lsn,
}

impl Writer {
    pub(super) fn new(handle: Handle, number: u32, position: Position) -> Writer {
        Writer { handle, number, sealed: position, position, pending: Vec::new(), written: 0 }
    }

    /// Writes everything in `buffer`. `fence`: how far this segment is durable.
    ///
    /// Errors: nothing of this batch is in the file; its records stay, sealed, for the next call.
    /// Where even that could not be made so, the error is not `Full`.
    pub(super) fn write_out(&mut self, buffer: &Mutex<Vec<u8>>, fence: u64) -> Result<(), Error> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        std::mem::swap(&mut *buffer.lock(), &mut self.pending);
        if self.pending.is_empty() {
            return Ok(());
        }
        seal(&mut self.pending, &mut self.sealed, fence);
        self.write_pending()
    }

    fn write_pending(&mut self) -> Result<(), Error> {
        let bytes = self.pending.len() as u64;
        let start = self.position.offset;
        if let Err(error) = self.handle.write(&self.pending, start) {
            // Part of it may be in the file: whole records only, or a later start would see a tear.
            let undone = self.handle.truncate(start);
            return Err(
                undone.map_or_else(|error| Error::Failed { reason: error.to_string() }, |()| error)
            );
        }
        self.position = self.sealed;
        self.written += bytes;
        self.pending.clear();
        self.pending.shrink_to(KEPT_BYTES_MAX);
        Ok(())
    }

    /// Goes on in another, empty segment. Everything written so far must be durable.
    pub(super) fn move_to(&mut self, handle: Handle, number: u32, position: Position) {
        assert!(self.pending.is_empty(), "sealed for the segment that is being left");
        (self.handle, self.number) = (handle, number);
        (self.sealed, self.position) = (position, position);
    }
}

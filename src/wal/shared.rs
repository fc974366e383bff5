//! What the log and a running compaction share: the locks, the positions, and how the log fails.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::directory::Directory;
use super::disk::Guard;
use super::keeper::Keeper;
use super::space::Space;
use super::writer::Writer;
use super::{Config, Error, Kind, Lsn};
use crate::model::UnixMillis;

/// Memory set aside for records between two writes.
const BUFFER_BYTES: usize = 1 << 20;

/// What the log and a running compaction have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Directory,
    pub(super) config: Config,
    /// Guards syncs, the fence and the manifest.
    pub(super) keeper: Mutex<Keeper>,
    /// Guards the end of the last segment.
    pub(super) writer: Mutex<Writer>,
    /// Records not yet sealed.
    pub(super) buffer: Mutex<Vec<u8>>,
    pub(super) space: Space,
    pub(super) figures: Mutex<Figures>,
    pub(super) is_compacting: AtomicBool,
    pub(super) records: AtomicU64,
    pub(super) appended: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    /// How far the last segment is durable, in bytes of the file.
    pub(super) durable_offset: AtomicU64,
    /// The highest wall time seen, in milliseconds.
    pub(super) wall: AtomicU64,
    pub(super) syncs: AtomicU64,
    /// Spools made so far: their names.
    pub(super) spools: AtomicU32,
    pub(super) is_closed: AtomicBool,
    pub(super) failure: OnceLock<String>,
    #[expect(dead_code, reason = "held for as long as the log is used")]
    guard: Box<dyn Guard>,
}

/// Figures that change with manifests only; kept apart so that asking never waits for a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Of the snapshot and the closed segments.
    pub(super) settled_bytes: u64,
    pub(super) segments: u64,
    /// The last sequence that the snapshot covers.
    pub(super) compacted_through: u64,
    pub(super) last_compaction: Option<UnixMillis>,
    pub(super) torn_bytes_cut: u64,
}

/// What recovery hands over.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) directory: Directory,
    pub(super) config: Config,
    pub(super) guard: Box<dyn Guard>,
    pub(super) keeper: Keeper,
    pub(super) writer: Writer,
    pub(super) wall: UnixMillis,
    pub(super) torn_bytes_cut: u64,
}

impl Shared {
    pub(super) fn new(start: Start) -> Shared {
        let Start { directory, config, guard, keeper, writer, wall, torn_bytes_cut } = start;
        let figures = Figures { torn_bytes_cut, ..keeper.figures() };
        Shared {
            space: Space::new(&config),
            records: AtomicU64::new(writer.position.sequence - 1),
            durable_offset: AtomicU64::new(writer.position.offset),
            keeper: Mutex::new(keeper),
            writer: Mutex::new(writer),
            buffer: Mutex::new(Vec::with_capacity(BUFFER_BYTES)),
            figures: Mutex::new(figures),
            is_compacting: AtomicBool::new(false),
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            wall: AtomicU64::new(wall.as_millis()),
            syncs: AtomicU64::new(0),
            spools: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            failure: OnceLock::new(),
            guard,
            directory,
            config,
        }
    }

    /// Errors: `Failed` after the first failure.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Failed { reason: reason.clone() }),
        }
    }

    /// Remembers a failure after which the files cannot be trusted to hold what they were given.
    pub(super) fn fail(&self, error: &Error) -> Error {
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Error::Failed { reason: self.failure.get_or_init(|| reason).clone() }
    }

    /// Writes what has gathered in the buffer. A full disk is met with the ballast, once.
    pub(super) fn write_out(&self, writer: &mut Writer) -> Result<Lsn, Error> {
        let fence = self.durable_offset.load(Ordering::Acquire);
        let mut result = writer.write_out(&self.buffer, fence);
        if let Err(error) = &result
            && error.kind() == Kind::Full
            && self.space.note_full(&self.directory)
        {
            result = writer.write_out(&self.buffer, fence);
        }
        self.written.store(writer.written, Ordering::Release);
        match result {
            Ok(()) => Ok(writer.written),
            Err(error) if error.kind() == Kind::Full => Err(error),
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Writes and syncs. What is returned could not be written because the disk is full; all that
    /// was written is durable all the same.
    pub(super) fn sync(&self, keeper: &mut Keeper) -> Result<Option<Error>, Error> {
        self.check()?;
        let (full, handle, written, position) = {
            let mut writer = self.writer.lock();
            let full = match self.write_out(&mut writer) {
                Ok(_) => None,
                Err(error) if error.kind() == Kind::Full => Some(error),
                Err(error) => return Err(error),
            };
            (full, writer.handle.clone(), writer.written, writer.position)
        };
        if written > self.durable.load(Ordering::Acquire) {
            handle.sync().map_err(|error| self.fail(&error))?;
            keeper.note_durable(position);
            self.durable_offset.store(position.offset, Ordering::Release);
            self.durable.store(written, Ordering::Release);
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(full)
    }

    pub(super) fn is_segment_over(&self) -> bool {
        self.durable_offset.load(Ordering::Acquire) >= self.config.segment_bytes
    }
}

/// A full disk is no failure where what was attempted can wait.
pub(super) fn ignore_full(error: Error) -> Result<(), Error> {
    if error.kind() == Kind::Full { Ok(()) } else { Err(error) }
}

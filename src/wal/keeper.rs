//! Keeps manifest and fence, and moves the log on to its next segment.

use std::sync::atomic::Ordering;

use super::directory::{Handle, Name};
use super::fence::{Fence, FenceFile};
use super::first::{lower_half, random_salt, reserve_segment};
use super::format::{FORMAT, FileHeader, HEADER_BYTES, Role};
use super::manifest::{Closed, Manifest};
use super::record::Position;
use super::shared::{Figures, Shared};
use super::writer::Writer;
use super::{Error, Kind};
use crate::model::UnixMillis;

/// The manifest in force and the fence.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) manifest: Manifest,
    fence_file: FenceFile,
    /// The fence last written, or found.
    fence: Fence,
    /// How far the last segment is durable, and the sequence of the record that ends there.
    durable_offset: u64,
    durable_sequence: u64,
}

/// Whether more is to come behind a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    Clean,
}

impl Keeper {
    /// `durable`: where the last segment ends, on disk.
    pub(super) fn new(
        manifest: Manifest,
        (fence_file, fence): (FenceFile, Fence),
        durable: Position,
    ) -> Keeper {
        let (durable_offset, durable_sequence) = (durable.offset, durable.sequence - 1);
        Keeper { manifest, fence_file, fence, durable_offset, durable_sequence }
    }

    /// Notes how far the last segment is durable.
    pub(super) fn note_durable(&mut self, position: Position) {
        self.durable_offset = position.offset;
        self.durable_sequence = position.sequence - 1;
    }

    /// The wall time of the last fence, in milliseconds.
    pub(super) fn fenced_at(&self) -> u64 {
        self.fence.wall.as_millis()
    }

    /// Whether the fence says how far the log is durable.
    pub(super) fn is_fence_current(&self) -> bool {
        self.fence.segment == self.manifest.last().number
            && self.fence.offset == self.durable_offset
    }

    /// Writes a fence at what is durable. Errors: as [`FenceFile::write`].
    pub(super) fn write_fence(&mut self, wall: UnixMillis, ending: Ending) -> Result<(), Error> {
        let fence = Fence {
            store: lower_half(self.manifest.store),
            generation: self.manifest.generation,
            segment: self.manifest.last().number,
            offset: self.durable_offset,
            sequence: self.durable_sequence,
            wall,
            clean: ending == Ending::Clean,
        };
        self.fence_file.write(&fence)?;
        self.fence = fence;
        Ok(())
    }

    pub(super) fn figures(&self) -> Figures {
        let manifest = &self.manifest;
        Figures {
            settled_bytes: manifest.settled_bytes(),
            segments: manifest.segments.len() as u64,
            compacted_through: match manifest.snapshot {
                Some(_) => manifest.segments[0].first_sequence - 1,
                None => 0,
            },
            last_compaction: manifest.snapshot.map(|_| manifest.compacted),
            torn_bytes_cut: 0,
        }
    }
}

impl Shared {
    /// Writes the fence. A full disk only leaves it where it was; other failures end the log.
    pub(super) fn write_fence(&self, keeper: &mut Keeper, ending: Ending) -> Result<(), Error> {
        let wall = UnixMillis::from_millis(self.wall.load(Ordering::Relaxed));
        match keeper.write_fence(wall, ending) {
            Err(error) if error.kind() != Kind::Full => Err(self.fail(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Closes the last segment behind everything written, and goes on in a new one; returns its
    /// number. Writes wait meanwhile; appends do not.
    ///
    /// Errors: `Full`, and everything is as it was; `Failed`.
    pub(super) fn rotate(&self, keeper: &mut Keeper) -> Result<u32, Error> {
        self.check()?;
        let number = keeper.manifest.last().number + 1;
        let reserved = reserve_segment(&self.directory, number, self.config.segment_bytes);
        let result = reserved.and_then(|next| {
            let mut writer = self.writer.lock();
            self.change_segment(keeper, &mut writer, next, number)
        });
        match result {
            Ok(()) => {
                self.note_manifest(keeper);
                self.write_fence(keeper, Ending::Open)?;
                Ok(number)
            }
            Err(error) if error.kind() == Kind::Full => {
                self.space.note_full(&self.directory);
                // If it stays, the next try or the next start does away with it.
                drop(self.directory.remove(Name::Segment(number)));
                Err(error)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Errors: `Full`, and the last segment is still the last; anything else ends the log.
    fn change_segment(
        &self,
        keeper: &mut Keeper,
        writer: &mut Writer,
        next: Handle,
        number: u32,
    ) -> Result<(), Error> {
        self.write_out(writer)?;
        let end = writer.position;
        writer.handle.truncate(end.offset)?;
        writer.handle.sync()?;
        keeper.note_durable(end);
        self.durable_offset.store(end.offset, Ordering::Release);
        self.durable.store(writer.written, Ordering::Release);

        let header = FileHeader {
            format: FORMAT,
            role: Role::Segment,
            salt: random_salt(&self.directory),
            store: keeper.manifest.store,
            number,
            first_sequence: end.sequence,
            chain_before: end.chain,
        };
        next.write(&header.encode(), 0)?;
        next.sync()?;
        self.directory.sync()?;
        let last_sequence = end.sequence - 1;
        let closed = Closed { bytes: end.offset, last_sequence, chain: end.chain };
        let manifest = keeper.manifest.extended(closed);
        manifest.prepare(&self.directory)?;
        // From here on nobody knows which manifest a power cut would leave.
        Manifest::publish(&self.directory).map_err(|error| self.fail(&error))?;
        keeper.manifest = manifest;

        let start = Position {
            salt: header.salt,
            chain: header.chain(),
            sequence: end.sequence,
            offset: HEADER_BYTES,
        };
        keeper.note_durable(start);
        self.durable_offset.store(start.offset, Ordering::Release);
        writer.move_to(next, number, start);
        Ok(())
    }

    /// Brings the figures up to a new manifest.
    pub(super) fn note_manifest(&self, keeper: &Keeper) {
        let mut figures = self.figures.lock();
        *figures = Figures { torn_bytes_cut: figures.torn_bytes_cut, ..keeper.figures() };
    }
}

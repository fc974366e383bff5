//! Compaction: a snapshot in the place of the segments it makes superfluous.
//!
//! The log first goes on to a new segment; the caller then writes the state, as of that moment or
//! later, as facts, while traffic goes on. (Facts that a snapshot holds and a segment repeats do no
//! harm: applying them again changes nothing.) Only when the snapshot, its name and the manifest
//! that names it are durable are the old files removed. A compaction that fails or is dropped leaves
//! everything as it was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directory::{Handle, Name};
use super::first::random_salt;
use super::format::{FORMAT, FileHeader, HEADER_BYTES, Role};
use super::manifest::{Manifest, Snapshot};
use super::payload::{self, Footer};
use super::record::{self, Position, seal};
use super::shared::Shared;
use super::{Error, Kind};
use crate::model::{Fact, UnixMillis};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes written before they are synced: one sync of gigabytes would stall the log's own.
const SYNC_BYTES: u64 = 16 << 20;

/// A snapshot in the making. Dropped without [`Compaction::finish`], it never was.
#[derive(Debug)]
pub struct Compaction {
    shared: Arc<Shared>,
    handle: Handle,
    number: u32,
    position: Position,
    buffer: Vec<u8>,
    unsynced_bytes: u64,
    footer: Footer,
    wall: UnixMillis,
    /// Whether a write or sync failed: a later sync that succeeds proves nothing.
    is_broken: bool,
    is_finished: bool,
}

impl Compaction {
    pub(super) fn start(shared: &Arc<Shared>, now: UnixMillis) -> Result<Compaction, Error> {
        if shared.is_compacting.swap(true, Ordering::AcqRel) {
            return Err(Error::Busy);
        }
        let result = Compaction::begin(shared, now);
        if result.is_err() {
            shared.is_compacting.store(false, Ordering::Release);
        }
        result
    }

    fn begin(shared: &Arc<Shared>, now: UnixMillis) -> Result<Compaction, Error> {
        let (number, store) = {
            let mut keeper = shared.keeper.lock();
            (shared.rotate(&mut keeper)?, keeper.manifest.store)
        };
        let header = FileHeader {
            format: FORMAT,
            role: Role::Snapshot,
            salt: random_salt(&shared.directory),
            store,
            number,
            first_sequence: 1,
            chain_before: 0,
        };
        let handle = shared.directory.create(Name::SnapshotTmp(number))?;
        let position = Position {
            salt: header.salt,
            chain: header.chain(),
            sequence: header.first_sequence,
            offset: HEADER_BYTES,
        };
        let compaction = Compaction {
            shared: Arc::clone(shared),
            handle,
            number,
            position,
            buffer: Vec::with_capacity(WRITE_BYTES),
            unsynced_bytes: 0,
            footer: Footer::default(),
            wall: now,
            is_broken: false,
            is_finished: false,
        };
        if let Err(error) = compaction.handle.write(&header.encode(), 0) {
            return Err(compaction.noted(error));
        }
        Ok(compaction)
    }

    /// Adds a fact to the snapshot.
    ///
    /// # Errors
    /// `Full` or `Io`; nothing more can be done with this compaction than to drop it.
    pub fn write(&mut self, fact: &Fact<'_>) -> Result<(), Error> {
        self.gather(fact);
        self.flush_if_due()
    }

    /// Adds a fact to those that the next [`Compaction::flush_if_due`] writes; touches no file.
    pub fn gather(&mut self, fact: &Fact<'_>) {
        let start = record::begin(&mut self.buffer);
        payload::encode(fact, self.wall, &mut self.buffer);
        record::end(&mut self.buffer, start);
        self.footer.records += 1;
        if let Fact::Changed { mutations, .. } = fact {
            self.footer.mutations += mutations.len() as u64;
        }
    }

    /// Writes what was gathered, if that is worth it.
    ///
    /// # Errors
    /// As [`Compaction::write`].
    pub fn flush_if_due(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Puts the snapshot in the place of everything before it, and removes that.
    ///
    /// # Errors
    /// `Full` or `Io`: nothing was replaced. `Failed`: the log is at its end.
    pub fn finish(mut self, now: UnixMillis) -> Result<(), Error> {
        let start = record::begin(&mut self.buffer);
        payload::encode_footer(self.footer, self.wall, &mut self.buffer);
        record::end(&mut self.buffer, start);
        self.flush()?;
        self.handle.sync()?;
        let superfluous = self.publish(now)?;
        self.is_finished = true;
        for name in superfluous {
            // If one stays, the next start removes it: the manifest does not name it any more.
            drop(self.shared.directory.remove(name));
        }
        Ok(())
    }

    /// Makes the snapshot a part of the log; returns what is no longer one.
    fn publish(&self, now: UnixMillis) -> Result<Vec<Name>, Error> {
        let shared = &*self.shared;
        let mut keeper = shared.keeper.lock();
        // The snapshot may show changes that are not durable yet. Of such a change it must not show
        // one part while a power cut takes another: first they all become durable.
        if let Some(full) = shared.sync(&mut keeper)? {
            return Err(full);
        }
        let fail = |error: Error| shared.fail(&error);
        let number = self.number;
        shared
            .directory
            .rename(Name::SnapshotTmp(number), Name::Snapshot(number))
            .and_then(|()| shared.directory.sync())
            .map_err(fail)?;
        let snapshot = Snapshot {
            number,
            bytes: self.position.offset,
            chain: self.position.chain,
            records: self.footer.records,
            mutations: self.footer.mutations,
        };
        let manifest = keeper.manifest.compacted(snapshot, now);
        if let Err(error) = manifest.prepare(&shared.directory) {
            // No manifest names it yet.
            drop(shared.directory.remove(Name::Snapshot(number)));
            return Err(if error.kind() == Kind::Full { self.noted(error) } else { fail(error) });
        }
        Manifest::publish(&shared.directory).map_err(fail)?;
        let kept = manifest.names();
        let mut superfluous = keeper.manifest.names();
        superfluous.retain(|name| !kept.contains(name));
        keeper.manifest = manifest;
        shared.note_manifest(&keeper);
        Ok(superfluous)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.is_broken {
            let (action, path) = ("go on with", self.handle.path().to_path_buf());
            let source = io::Error::other("an earlier write or sync failed");
            return Err(Error::Io { action, path, source });
        }
        self.is_broken = true;
        let offset = self.position.offset;
        seal(&mut self.buffer, &mut self.position, 0);
        self.handle.write(&self.buffer, offset).map_err(|error| self.noted(error))?;
        self.unsynced_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced_bytes >= SYNC_BYTES {
            self.handle.sync()?;
            self.unsynced_bytes = 0;
        }
        self.is_broken = false;
        Ok(())
    }

    /// Passes an error on; a full disk makes the log full too.
    fn noted(&self, error: Error) -> Error {
        if error.kind() == Kind::Full {
            self.shared.space.note_full(&self.shared.directory);
        }
        error
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        if !self.is_finished {
            // If it stays, the next start removes it.
            drop(self.shared.directory.remove(Name::SnapshotTmp(self.number)));
        }
        self.shared.is_compacting.store(false, Ordering::Release);
    }
}

//! The log in appending mode.
//!
//! # How it works
//! [`Log::append`] encodes into a buffer and does nothing else. [`Log::write_out`] seals what has
//! gathered there and hands it to the operating system in one call; [`Log::sync`] does that and then
//! waits for the disk, while appends and writes go on. Three locks, always taken in this order:
//! `keeper` (syncs, the fence, the manifest), `writer` (the end of the last segment), `buffer`.
//! No lock but `keeper` is held while the disk is waited for, save when a segment is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::compaction::Compaction;
use super::keeper::Ending;
use super::payload;
use super::record;
use super::shared::{Shared, Start, ignore_full};
use super::{Error, Lsn};
use crate::model::{Fact, UnixMillis};

/// The fence follows the syncs at most this often, in milliseconds.
const FENCE_MILLIS_MIN: u64 = 1_000;

/// Counters of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records a restart would replay on top of the snapshot.
    pub records_since_compaction: u64,
    /// Bytes in use on disk: snapshot and segments, without space only reserved.
    pub bytes: u64,
    /// Segments in use.
    pub segments: u64,
    /// Successful syncs since open.
    pub syncs: u64,
    /// Bytes appended since open.
    pub appended_bytes: u64,
    /// Bytes of a torn tail cut at open.
    pub torn_bytes_cut: u64,
    /// When the last compaction ended.
    pub last_compaction: Option<UnixMillis>,
}

/// The log in appending mode: every call through `&self`, from any thread.
#[derive(Debug)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
}

impl Log {
    pub(super) fn new(start: Start) -> Log {
        Log { shared: Arc::new(Shared::new(start)) }
    }

    /// Encodes one record into the buffer, without input or output; returns where it ends.
    ///
    /// # Panics
    /// On a record above 32 MiB, and after [`Log::close`]: both are bugs of the caller.
    pub fn append(&self, fact: &Fact<'_>, now: UnixMillis) -> Lsn {
        let shared = &*self.shared;
        let mut buffer = shared.buffer.lock();
        assert!(!shared.is_closed.load(Ordering::Relaxed), "appended to a closed log");
        let start = record::begin(&mut buffer);
        payload::encode(fact, now, &mut buffer);
        record::end(&mut buffer, start);
        let bytes = (buffer.len() - start) as u64;
        let end = shared.appended.load(Ordering::Relaxed) + bytes;
        // Under the lock: positions and counts grow in the order of the records.
        shared.appended.store(end, Ordering::Release);
        shared.records.store(shared.records.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if now.as_millis() > shared.wall.load(Ordering::Relaxed) {
            shared.wall.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
        end
    }

    /// Hands everything appended so far to the operating system; returns how far that is.
    ///
    /// # Errors
    /// `Full`: it stays in memory and the next call tries again. `Failed`: the log is at its end.
    pub fn write_out(&self) -> Result<Lsn, Error> {
        self.shared.check()?;
        let mut writer = self.shared.writer.lock();
        self.shared.write_out(&mut writer)
    }

    /// Returns when everything appended before the call would survive a power cut.
    ///
    /// # Errors
    /// `Full`: as [`Log::write_out`]; what was written before is durable. `Failed`: the log is at its
    /// end, and what was not yet durable may or may not be there after a restart.
    pub fn sync(&self) -> Result<Lsn, Error> {
        let shared = &*self.shared;
        let mut keeper = shared.keeper.lock();
        let unwritten = shared.sync(&mut keeper)?;
        if shared.wall.load(Ordering::Relaxed) >= keeper.fenced_at() + FENCE_MILLIS_MIN {
            shared.write_fence(&mut keeper, Ending::Open)?;
        }
        if unwritten.is_none() && shared.is_segment_over() && !self.is_full() {
            // A segment may grow on while there is no space for the next one.
            shared.rotate(&mut keeper).map(drop).or_else(ignore_full)?;
        }
        match unwritten {
            Some(full) => Err(full),
            None => Ok(shared.durable.load(Ordering::Acquire)),
        }
    }

    /// The end of the last append.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.shared.appended.load(Ordering::Acquire)
    }

    /// How far the operating system has it: this survives the end of the process.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.shared.written.load(Ordering::Acquire)
    }

    /// How far the disk has it: this survives a power cut.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Housekeeping, to be called about once a second: looks at the free space, and moves the fence
    /// where no sync has. Failures show in [`Log::failure`] and [`Log::is_full`].
    pub fn maintain(&self, now: UnixMillis) {
        let shared = &*self.shared;
        shared.wall.fetch_max(now.as_millis(), Ordering::Relaxed);
        if shared.check().is_err() || shared.is_closed.load(Ordering::Relaxed) {
            return;
        }
        shared.space.poll(&shared.directory);
        let mut keeper = shared.keeper.lock();
        if !keeper.is_fence_current() && now.as_millis() >= keeper.fenced_at() + FENCE_MILLIS_MIN {
            // The failure is kept and shows in `failure`.
            drop(shared.write_fence(&mut keeper, Ending::Open));
        }
    }

    /// Whether nothing but deletes should be appended, because the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.space.is_full()
    }

    /// Why the log can no longer be used; `None`: it can.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.get().cloned()
    }

    /// Starts a compaction: everything appended before this call is in older segments, everything
    /// after it in newer ones. The caller writes the state, as of now or later, as facts.
    ///
    /// # Errors
    /// `Busy` while another one lives, `Full`, `Failed`.
    pub fn compaction(&self, now: UnixMillis) -> Result<Compaction, Error> {
        Compaction::start(&self.shared, now)
    }

    /// Counters. Never waits for a disk.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &*self.shared;
        let figures = *shared.figures.lock();
        // In this order: what is durable later may be more than what was appended before.
        let durable = self.durable();
        let unsynced = self.appended().saturating_sub(durable);
        let last_segment = shared.durable_offset.load(Ordering::Relaxed) + unsynced;
        Stats {
            records_since_compaction: shared
                .records
                .load(Ordering::Relaxed)
                .saturating_sub(figures.compacted_through),
            bytes: figures.settled_bytes + last_segment,
            segments: figures.segments,
            syncs: shared.syncs.load(Ordering::Relaxed),
            appended_bytes: self.appended(),
            torn_bytes_cut: figures.torn_bytes_cut,
            last_compaction: figures.last_compaction,
        }
    }

    /// Syncs for the last time and notes that the log was closed in order.
    ///
    /// # Errors
    /// As [`Log::sync`]; with `Full` the log stays open.
    pub fn close(&self, now: UnixMillis) -> Result<(), Error> {
        let shared = &*self.shared;
        shared.wall.fetch_max(now.as_millis(), Ordering::Relaxed);
        let mut keeper = shared.keeper.lock();
        if let Some(full) = shared.sync(&mut keeper)? {
            return Err(full);
        }
        {
            let buffer = shared.buffer.lock();
            assert!(buffer.is_empty(), "appended while the log was being closed");
            shared.is_closed.store(true, Ordering::Relaxed);
        }
        shared.write_fence(&mut keeper, Ending::Clean)
    }
}

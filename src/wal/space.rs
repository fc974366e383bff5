//! Room on the disk: when there is too little, and what is done about it.
//!
//! Below a first mark the log calls itself full while there still is some room; above a second,
//! higher one it stops doing so. A ballast file is given up when the disk is full, so that deletes
//! and a compaction have something to work with, and taken back when there is room again.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Config;
use super::directory::{BALLAST, Directory};
use super::disk::Access;

/// What is kept for a full disk: this part of a segment. Of the usual 64 MiB that is 8 MiB, room for
/// 100,000 deletes.
const BALLAST_PER_SEGMENT: u64 = 8;

/// Whether there is room.
#[derive(Debug)]
pub(super) struct Space {
    is_full: AtomicBool,
    /// Whether the ballast file exists.
    has_ballast: Mutex<bool>,
    ballast_bytes: u64,
    free_bytes_min: u64,
    free_bytes_resume: u64,
}

impl Space {
    pub(super) fn new(config: &Config) -> Space {
        Space {
            is_full: AtomicBool::new(false),
            has_ballast: Mutex::new(false),
            ballast_bytes: config.segment_bytes / BALLAST_PER_SEGMENT,
            free_bytes_min: config.free_bytes_min,
            free_bytes_resume: config.free_bytes_resume,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Looks for the ballast of an earlier run, then at the free space.
    pub(super) fn look(&self, directory: &Directory) {
        *self.has_ballast.lock() = matches!(directory.find(BALLAST, Access::Read), Ok(Some(_)));
        self.poll(directory);
    }

    /// Looks at the free space. Where that cannot be asked for, everything stays as it is.
    pub(super) fn poll(&self, directory: &Directory) {
        let Ok(free) = directory.free_bytes() else { return };
        if free < self.free_bytes_min {
            self.note_full(directory);
        } else if free >= self.free_bytes_resume {
            self.is_full.store(false, Ordering::Relaxed);
            if free >= self.free_bytes_resume + self.ballast_bytes {
                self.take_ballast(directory);
            }
        }
    }

    /// The disk is full. Returns whether that set the ballast free.
    pub(super) fn note_full(&self, directory: &Directory) -> bool {
        self.is_full.store(true, Ordering::Relaxed);
        let mut has_ballast = self.has_ballast.lock();
        let is_released = *has_ballast && directory.remove(BALLAST).is_ok();
        *has_ballast &= !is_released;
        is_released
    }

    fn take_ballast(&self, directory: &Directory) {
        let mut has_ballast = self.has_ballast.lock();
        if !*has_ballast {
            let reserved =
                directory.create(BALLAST).and_then(|ballast| ballast.allocate(self.ballast_bytes));
            *has_ballast = reserved.is_ok();
            if !*has_ballast {
                // No ballast is a pity and no more.
                drop(directory.remove(BALLAST));
            }
        }
    }
}

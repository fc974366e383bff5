//! How much one namespace may have on its way to the disk.
//!
//! A sync takes as long as there are bytes for it, whoever brought them. So a namespace that has
//! brought many waits for the disk like one that is written to disk always, and another's sync is not
//! kept by more of them than these.

use crate::wal::Lsn;

/// A namespace with more than this on its way waits; about what a disk takes in the time of a sync.
const BYTES_MAX: u64 = 256 << 10;

/// What a namespace has appended that may not be on disk. Counted in two parts, of which the elder is
/// let go of as a whole: what is counted is never too little, and too much by one sync's bytes at most.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    elder: Part,
    younger: Part,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    bytes: u64,
    through: Lsn,
}

impl Window {
    /// Notes `bytes` that end at `lsn` in a log that is on disk up to `durable`. Returns whether there
    /// are too many on their way.
    pub(super) fn append(&mut self, bytes: u64, lsn: Lsn, durable: Lsn) -> bool {
        if self.elder.through <= durable {
            self.elder = std::mem::take(&mut self.younger);
        }
        if self.elder.through <= durable {
            self.elder.bytes = 0;
        }
        self.younger.bytes += bytes;
        self.younger.through = lsn;
        self.elder.bytes + self.younger.bytes > BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived() {
        let mut window = Window::default();
        let (half, mut lsn) = (BYTES_MAX / 2, 0);
        let mut append = |durable| {
            lsn += half;
            window.append(half, lsn, durable)
        };
        assert!(!append(0));
        assert!(!append(0), "just full");
        assert!(append(0) && append(half), "the first half has arrived, two are on their way");
        assert!(!append(4 * half), "everything before has arrived");
    }

    #[test]
    fn a_steady_stream_that_the_disk_keeps_up_with_is_never_held_up() {
        let mut window = Window::default();
        let (step, behind) = (1_000, 100_000);
        for lsn in (step..100 * BYTES_MAX).step_by(1_000) {
            assert!(!window.append(step, lsn, lsn.saturating_sub(behind)), "{lsn}");
        }
    }
}

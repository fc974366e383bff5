//! Entries in the order in which they were written, whatever order they arrive in.
//!
//! A restore takes the order of writes for the order of use, as recovery does; an archive has none.
//! What arrives is gathered up to a bound, sorted, and put aside as a *run* in a spool; in the end the
//! runs are merged. What fits into one run never touches the disk. Of each run being merged a block is
//! held, so there must not be many: whenever there are [`MERGED_RUNS_MAX`] of one level they become
//! one of the next. Each entry is written once for each level, and the runs that are left grow with
//! the logarithm of what arrives.
//!
//! ```text
//! run      block, block ...
//! block    checksum 4 │ bytes 4 │ element, element ...       (the checksum is over the elements)
//! element  space 4 │ version 8 │ bytes 4 │ entry
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::model::Version;
use crate::wal::{self, Log, Spool};

/// Most bytes of entries held in memory: few enough to stay in the caches of a processor, and enough
/// that most files never make a second level.
const RUN_BYTES_MAX: usize = 16 << 20;
/// So many runs of one level are merged into one of the next: the first level ends at half a gigabyte,
/// the second at sixteen, the third at five hundred.
const MERGED_RUNS_MAX: usize = 32;
/// A block ends when it has grown to this.
const BLOCK_BYTES: usize = 128 << 10;

const BLOCK_HEAD_BYTES: usize = 8;
const ELEMENT_HEAD_BYTES: usize = 16;

/// Where an entry belongs: its namespace, as a number that the caller gives, and its version there.
type Place = (u32, Version);

/// Entries being gathered.
#[derive(Debug)]
pub(super) struct Sorter {
    run_bytes_max: usize,
    data: Vec<u8>,
    index: Vec<(Place, Range<usize>)>,
    /// What was put aside; what is merged goes on to the next of them.
    levels: Vec<Level>,
}

/// Runs that were merged equally often.
#[derive(Debug)]
struct Level {
    spool: Spool,
    /// Where in the spool each run lies; fewer than [`MERGED_RUNS_MAX`].
    runs: Vec<Range<u64>>,
}

/// What it takes to put entries aside.
#[derive(Clone, Copy)]
pub(super) struct Means<'m> {
    pub(super) log: &'m Log,
    /// Whether nobody waits for the entries any more.
    pub(super) is_abandoned: &'m dyn Fn() -> bool,
}

/// Why entries cannot be sorted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SortError {
    /// There is no room for them beside the log, or the disk fails.
    #[error(transparent)]
    Spool(#[from] wal::Error),
    /// What was put aside has come back changed.
    #[error("what was put aside on the disk came back damaged")]
    Damaged,
    /// Nobody waits for them any more.
    #[error("nobody waits for the entries any more")]
    Abandoned,
}

impl Sorter {
    pub(super) fn new() -> Sorter {
        Sorter::holding(RUN_BYTES_MAX)
    }

    fn holding(run_bytes_max: usize) -> Sorter {
        Sorter { run_bytes_max, data: Vec::new(), index: Vec::new(), levels: Vec::new() }
    }

    /// Adds an entry of `space`.
    pub(super) fn add(
        &mut self,
        means: Means<'_>,
        space: u32,
        version: Version,
        entry: &[u8],
    ) -> Result<(), SortError> {
        if self.data.len() + entry.len() > self.run_bytes_max && !self.data.is_empty() {
            self.put_aside(means)?;
        }
        if self.data.capacity() == 0 && self.run_bytes_max >= entry.len() {
            // At once: memory that grows is moved, and what it leaves is given back and taken again.
            self.data.reserve_exact(self.run_bytes_max);
        }
        let start = self.data.len();
        self.data.extend_from_slice(entry);
        self.index.push(((space, version), start..self.data.len()));
        Ok(())
    }

    /// All entries in order. May be asked for again.
    pub(super) fn merge(&mut self) -> Result<Merge<'_>, SortError> {
        self.sort();
        let Sorter { data, index, levels, .. } = self;
        let mut sources = vec![Source::Held { data, index, at: 0 }];
        sources.extend(levels.iter().flat_map(Level::sources));
        Merge::new(sources)
    }

    fn sort(&mut self) {
        self.index.sort_by_key(|(place, _)| *place);
    }

    /// Puts what is held aside as a run, and merges the runs of each level that has become full.
    fn put_aside(&mut self, means: Means<'_>) -> Result<(), SortError> {
        self.sort();
        let Sorter { data, index, levels, .. } = self;
        if levels.is_empty() {
            levels.push(Level::new(means.log)?);
        }
        let held = Merge::new(vec![Source::Held { data, index, at: 0 }])?;
        levels[0].put(held, means.is_abandoned)?;
        data.clear();
        index.clear();
        for at in 0.. {
            if levels[at].runs.len() < MERGED_RUNS_MAX {
                break;
            }
            if levels.len() == at + 1 {
                levels.push(Level::new(means.log)?);
            }
            let (full, next) = levels.split_at_mut(at + 1);
            let merged = Merge::new(full[at].sources().collect())?;
            next[0].put(merged, means.is_abandoned)?;
            full[at].clear()?;
        }
        Ok(())
    }
}

impl Level {
    fn new(log: &Log) -> Result<Level, SortError> {
        Ok(Level { spool: log.spool()?, runs: Vec::new() })
    }

    fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.runs.iter().map(|run| Source::Aside(Run::new(&self.spool, run.clone())))
    }

    /// Adds everything that `merge` gives as one run.
    fn put(
        &mut self,
        mut merge: Merge<'_>,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<(), SortError> {
        let Level { spool, runs } = self;
        let start = spool.bytes();
        let mut block = vec![0; BLOCK_HEAD_BYTES];
        while let Some(((space, version), entry)) = merge.next_placed()? {
            let length = u32::try_from(entry.len()).expect("an entry is below 4 MiB");
            block.extend_from_slice(&space.to_le_bytes());
            block.extend_from_slice(&version.0.to_le_bytes());
            block.extend_from_slice(&length.to_le_bytes());
            block.extend_from_slice(entry);
            if block.len() >= BLOCK_BYTES {
                if is_abandoned() {
                    return Err(SortError::Abandoned);
                }
                end_block(spool, &mut block)?;
            }
        }
        if block.len() > BLOCK_HEAD_BYTES {
            end_block(spool, &mut block)?;
        }
        runs.push(start..spool.bytes());
        Ok(())
    }

    fn clear(&mut self) -> Result<(), SortError> {
        self.runs.clear();
        Ok(self.spool.clear()?)
    }
}

fn end_block(spool: &mut Spool, block: &mut Vec<u8>) -> Result<(), wal::Error> {
    let (head, elements) = block.split_at_mut(BLOCK_HEAD_BYTES);
    let length = u32::try_from(elements.len()).expect("a block is below 8 MiB");
    head[..4].copy_from_slice(&crc32c::crc32c(elements).to_le_bytes());
    head[4..].copy_from_slice(&length.to_le_bytes());
    spool.append(block)?;
    block.truncate(BLOCK_HEAD_BYTES);
    Ok(())
}

/// Entries in order, from all runs.
#[derive(Debug)]
pub(super) struct Merge<'s> {
    sources: Vec<Source<'s>>,
    /// The next entry of each source that has one.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    /// The source whose entry was given last.
    current: Option<usize>,
}

impl<'s> Merge<'s> {
    fn new(sources: Vec<Source<'s>>) -> Result<Merge<'s>, SortError> {
        let mut merge = Merge { sources, heads: BinaryHeap::new(), current: None };
        for source in 0..merge.sources.len() {
            merge.advance(source)?;
        }
        Ok(merge)
    }

    /// The next entry with the number of its namespace; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, &[u8])>, SortError> {
        Ok(self.next_placed()?.map(|((space, _), entry)| (space, entry)))
    }

    fn next_placed(&mut self) -> Result<Option<(Place, &[u8])>, SortError> {
        if let Some(source) = self.current.take()
            && let Some(place) = self.sources[source].advance()?
        {
            // What was written in order stays in one run for long.
            if self.heads.peek().is_none_or(|Reverse(head)| (place, source) <= *head) {
                self.current = Some(source);
                return Ok(Some((place, self.sources[source].entry())));
            }
            self.heads.push(Reverse((place, source)));
        }
        let Some(Reverse((place, source))) = self.heads.pop() else { return Ok(None) };
        self.current = Some(source);
        Ok(Some((place, self.sources[source].entry())))
    }

    fn advance(&mut self, source: usize) -> Result<(), SortError> {
        if let Some(place) = self.sources[source].advance()? {
            self.heads.push(Reverse((place, source)));
        }
        Ok(())
    }
}

/// Entries in order, from one run.
#[derive(Debug)]
enum Source<'s> {
    /// The one that is still in memory; `at` is behind the current entry.
    Held {
        data: &'s [u8],
        index: &'s [(Place, Range<usize>)],
        at: usize,
    },
    Aside(Run<'s>),
}

impl Source<'_> {
    /// Moves on to the next entry, and says where that belongs.
    fn advance(&mut self) -> Result<Option<Place>, SortError> {
        match self {
            Source::Held { index, at, .. } => {
                *at += 1;
                Ok(index.get(*at - 1).map(|(place, _)| *place))
            }
            Source::Aside(run) => run.advance(),
        }
    }

    fn entry(&self) -> &[u8] {
        match self {
            Source::Held { data, index, at } => &data[index[*at - 1].1.clone()],
            Source::Aside(run) => &run.block[run.entry.clone()],
        }
    }
}

/// A run being read, a block at a time.
#[derive(Debug)]
struct Run<'s> {
    spool: &'s Spool,
    /// What of it is still to be read.
    left: Range<u64>,
    block: Vec<u8>,
    /// The current entry in the block; the next element begins behind it.
    entry: Range<usize>,
}

impl<'s> Run<'s> {
    fn new(spool: &'s Spool, left: Range<u64>) -> Run<'s> {
        Run { spool, left, block: Vec::new(), entry: 0..0 }
    }

    fn advance(&mut self) -> Result<Option<Place>, SortError> {
        if self.entry.end == self.block.len() {
            if self.left.is_empty() {
                return Ok(None);
            }
            self.read_block()?;
        }
        let element = &self.block[self.entry.end..];
        let (head, rest) =
            element.split_first_chunk::<ELEMENT_HEAD_BYTES>().ok_or(SortError::Damaged)?;
        let place =
            (word(head, 0), Version(u64::from(word(head, 4)) | u64::from(word(head, 8)) << 32));
        let length = word(head, 12) as usize;
        if length > rest.len() {
            return Err(SortError::Damaged);
        }
        let start = self.entry.end + ELEMENT_HEAD_BYTES;
        self.entry = start..start + length;
        Ok(Some(place))
    }

    fn read_block(&mut self) -> Result<(), SortError> {
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.read(&mut head)?;
        let (checksum, length) = (word(&head, 0), word(&head, 4));
        if u64::from(length) > self.left.end - self.left.start {
            return Err(SortError::Damaged);
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(length as usize, 0);
        self.read(&mut block)?;
        if crc32c::crc32c(&block) != checksum {
            return Err(SortError::Damaged);
        }
        (self.block, self.entry) = (block, 0..0);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), SortError> {
        if self.spool.read(into, self.left.start)? < into.len() {
            return Err(SortError::Damaged);
        }
        self.left.start += into.len() as u64;
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::UnixMillis;

    pub(in crate::store::embedded::snapshot) fn log() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let mut recovery = wal::open(&wal::Config::new(dir.path())).unwrap();
        recovery.replay(&mut |_, _| (), &mut |_| ()).unwrap();
        let (log, _) = recovery.finish().unwrap();
        (dir, log)
    }

    fn means(log: &Log) -> Means<'_> {
        Means { log, is_abandoned: &|| false }
    }

    /// Numbers that look random; the same for the same seed.
    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            state >> 33
        }
    }

    fn sorted(sorter: &mut Sorter) -> Vec<(u32, Vec<u8>)> {
        let mut merge = sorter.merge().unwrap();
        let mut all = Vec::new();
        while let Some((space, entry)) = merge.next().unwrap() {
            all.push((space, entry.to_vec()));
        }
        assert!(merge.next().unwrap().is_none(), "the end is the end");
        all
    }

    #[test]
    fn entries_come_out_in_the_order_of_writes_whatever_order_they_came_in() {
        let (_dir, log) = log();
        for (seed, held) in [(1, 0), (2, 100), (3, 3_000), (4, 300_000), (5, 10_000_000)] {
            let mut random = random(seed);
            let mut sorter = Sorter::holding(held);
            let mut expected = Vec::new();
            for _ in 0..5_000 {
                let number = random();
                let (space, version) = (u32::try_from(number % 3).unwrap(), random() << 20);
                let mut entry = version.to_le_bytes().to_vec();
                entry.resize(8 + usize::try_from(random() % 90).unwrap(), 7);
                sorter.add(means(&log), space, Version(version), &entry).unwrap();
                expected.push(((space, version), entry));
            }
            expected.sort_by_key(|(place, _)| *place);
            let expected: Vec<_> =
                expected.into_iter().map(|((space, _), entry)| (space, entry)).collect();
            assert!(sorted(&mut sorter) == expected, "seed {seed}");
            assert!(sorted(&mut sorter) == expected, "seed {seed}, asked again");
            assert_eq!(!sorter.levels.is_empty(), held < 300_000, "seed {seed}");
            assert_eq!(sorter.levels.len() > 2, held <= 100, "seed {seed}");
            assert!(sorter.levels.iter().all(|level| level.runs.len() < MERGED_RUNS_MAX));
            // What has gone to the next level is nowhere twice.
            let aside: u64 = sorter.levels.iter().map(|level| level.spool.bytes()).sum();
            let entries: usize = expected.iter().map(|(_, entry)| entry.len()).sum();
            assert!(aside < (entries + 5_000 * (BLOCK_HEAD_BYTES + ELEMENT_HEAD_BYTES)) as u64);
        }
        assert!(sorted(&mut Sorter::new()).is_empty());
    }

    #[test]
    fn an_entry_larger_than_everything_else_is_kept_whole() {
        let (_dir, log) = log();
        let mut sorter = Sorter::holding(1_000);
        let entry = vec![9; 3 << 20];
        for version in [3, 1, 2] {
            sorter.add(means(&log), 0, Version(version), &entry).unwrap();
        }
        assert_eq!(sorted(&mut sorter), vec![(0, entry); 3]);
    }

    #[test]
    fn what_nobody_waits_for_is_not_put_aside_to_its_end() {
        let (_dir, log) = log();
        let mut sorter = Sorter::holding(1_000_000);
        let means = Means { log: &log, is_abandoned: &|| true };
        let entry = vec![9; 100_000];
        let mut add = |version| sorter.add(means, 0, Version(version), &entry);
        (0..10).for_each(|version| add(version).unwrap());
        assert!(matches!(add(10), Err(SortError::Abandoned)));
    }

    #[test]
    fn what_comes_back_damaged_from_the_disk_is_noticed() {
        let (_dir, log) = log();
        for damage in
            [&b"\xff\xff\xff\xff\x08\0\0\0damaged!"[..], b"short", b"\0\0\0\0\xff\xff\0\0"]
        {
            let mut sorter = Sorter::holding(10);
            (0..3).for_each(|n| sorter.add(means(&log), 0, Version(n), b"an entry").unwrap());
            let Level { spool, runs } = &mut sorter.levels[0];
            let start = spool.bytes();
            spool.append(damage).unwrap();
            runs.push(start..spool.bytes());
            let damaged = sorter.merge().err();
            assert!(matches!(damaged, Some(SortError::Damaged)), "{damaged:?}");
        }
        let _ = log.sync();
        log.close(UnixMillis::ZERO).unwrap();
    }
}

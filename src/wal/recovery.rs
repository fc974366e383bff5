//! The log in reading mode, and how it becomes one that is appended to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aside::{keep_aside, remove_leftovers, rewrite};
use super::directory::{BALLAST, Directory};
use super::disk::real::RealDisk;
use super::disk::{Access, Disk, Guard, Sharing};
use super::fence::{Fence, FenceFile};
use super::format::FORMAT;
use super::keeper::{Ending, Keeper};
use super::log::Log;
use super::manifest::Manifest;
use super::reader::Tail;
use super::shared::{Start, ignore_full};
use super::walk::{End, Place, Walk};
use super::writer::Writer;
use super::{Config, Error, Kind, first};
use crate::model::{Fact, UnixMillis};

/// Records between two words on progress.
const PROGRESS_RECORDS: u64 = 4096;

/// Locks the directory of the log, makes an empty log if there is none, and checks which files
/// make it up.
///
/// # Errors
/// `Locked`, `NotWritable`, `NewerFormat`, `Damaged`, `Io`, or `Full` at a first start. What is
/// there stays as it is, but for an empty lock file.
pub fn open(config: &Config) -> Result<Recovery, Error> {
    let disk = RealDisk::make(&config.dir)
        .map_err(|source| Error::io("make the directory", &config.dir, source))?;
    open_on(config, Arc::new(disk))
}

pub(super) fn open_on(config: &Config, disk: Arc<dyn Disk>) -> Result<Recovery, Error> {
    let begun = Instant::now();
    let directory = Directory::new(&config.dir, disk);
    let guard = directory.lock(Sharing::Exclusive)?;
    let manifest = match Manifest::load(&directory)? {
        Some(manifest) => manifest,
        None => first::start(&directory, config)?,
    };
    let walk = Walk { directory: &directory, manifest: &manifest };
    let (fence_file, fence) = walk.fence(Access::ReadWrite)?;
    walk.check_state(&fence)?;
    Ok(Recovery {
        config: config.clone(),
        wall: fence.wall.max(manifest.compacted),
        directory,
        guard,
        manifest,
        fence_file,
        fence,
        end: None,
        records: 0,
        bytes: 0,
        begun,
    })
}

/// The log in reading mode. [`Recovery::replay`] comes first, then [`Recovery::finish`].
#[derive(Debug)]
pub struct Recovery {
    config: Config,
    directory: Directory,
    guard: Box<dyn Guard>,
    manifest: Manifest,
    fence_file: FenceFile,
    fence: Fence,
    end: Option<(End, Option<Tail>)>,
    wall: UnixMillis,
    records: u64,
    bytes: u64,
    begun: Instant,
}

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Records read, those of the snapshot included.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Where those bytes are kept.
    pub saved_as: Option<PathBuf>,
    /// The highest wall time seen; time may not be earlier from now on.
    pub wall: UnixMillis,
    /// From the call of [`open`].
    pub elapsed: Duration,
}

impl Recovery {
    /// About how many changes a replay will give; for sizing tables. Exact after an orderly end.
    #[must_use]
    pub fn records_hint(&self) -> u64 {
        let in_snapshot = self.manifest.snapshot.map_or(0, |snapshot| snapshot.mutations);
        let before = self.manifest.segments[0].first_sequence - 1;
        in_snapshot + self.fence.sequence.saturating_sub(before)
    }

    /// Gives every fact to `apply` with the wall time it was logged at, oldest first: those of the
    /// snapshot, then those of the log. Tells `progress` now and then how far it is, from 0 to 1.
    ///
    /// # Errors
    /// `Damaged`, `NewerFormat` or `Io`; nothing on disk has been changed. What `apply` was given
    /// until then is no state that ever was.
    pub fn replay(
        &mut self,
        apply: &mut dyn FnMut(Fact<'_>, UnixMillis),
        progress: &mut dyn FnMut(f32),
    ) -> Result<(), Error> {
        let walk = Walk { directory: &self.directory, manifest: &self.manifest };
        let (mut records, mut wall) = (0, self.wall);
        let expected = self.records_hint().max(1);
        let mut visit = |_: &Place, fact: Fact<'_>, at: UnixMillis| {
            wall = wall.max(at);
            apply(fact, at);
            records += 1;
            if records % PROGRESS_RECORDS == 0 {
                progress(share(records, expected));
            }
        };
        walk.snapshot(&mut visit)?;
        for segment in &self.manifest.segments {
            if let Some(closed) = &segment.closed {
                walk.closed(segment, closed, &mut visit)?;
            }
        }
        let end = walk.last(Access::ReadWrite, &mut visit)?;
        let torn = walk.judge(&end, &self.fence)?;
        (self.records, self.wall) = (records, wall);
        self.bytes = self.manifest.settled_bytes() + end.position.offset;
        self.end = Some((end, torn));
        progress(1.0);
        Ok(())
    }

    /// Cuts off a torn tail, of which it keeps a copy, and starts appending.
    ///
    /// # Errors
    /// `Full` where there is no room for the copy, `NotWritable`, `Io`. Nothing is lost: the next
    /// start tries again.
    ///
    /// # Panics
    /// Without a replay that succeeded.
    pub fn finish(self) -> Result<(Log, Report), Error> {
        let Recovery { config, directory, guard, manifest, fence_file, fence, .. } = self;
        let (end, torn) = self.end.expect("replay comes before finish");
        let End { handle, format, position, .. } = end;
        let mut saved_as = None;
        let torn_bytes = torn.map_or(0, |tail| tail.used_to - position.offset);
        if torn.is_some() {
            let keep = || keep_aside(&directory, &handle, position.offset, torn_bytes);
            saved_as =
                Some(keep().or_else(|error| make_room(&directory, error).and_then(|()| keep()))?);
            handle.truncate(position.offset)?;
            // Best effort, as for a new segment.
            drop(handle.allocate(config.segment_bytes));
        }
        // What was read may be in the memory of the system only, names included: a process that was
        // killed syncs nothing. Where a sync failed before, the system may take what it then gave up
        // for kept: only writing it again makes a sync mean something.
        let known = if fence.segment == manifest.last().number { fence.offset } else { 0 };
        rewrite(&handle, known, position.offset).or_else(ignore_full)?;
        handle.sync()?;
        directory.sync()?;
        remove_leftovers(&directory, &manifest);

        let number = manifest.last().number;
        let mut keeper = Keeper::new(manifest, (fence_file, fence), position);
        keeper.write_fence(self.wall, Ending::Open)?;
        let writer = Writer::new(handle, number, position);
        let wall = self.wall;
        let start =
            Start { directory, config, guard, keeper, writer, wall, torn_bytes_cut: torn_bytes };
        let log = Log::new(start);
        log.shared.space.look(&log.shared.directory);
        if format < FORMAT {
            // What is written from now on may be more than the segment's format has words for.
            let mut keeper = log.shared.keeper.lock();
            log.shared.rotate(&mut keeper).map(drop).or_else(ignore_full)?;
        }
        let report = Report {
            records: self.records,
            bytes: self.bytes,
            torn_bytes,
            saved_as,
            wall,
            elapsed: self.begun.elapsed(),
        };
        Ok((log, report))
    }

    /// The directory of the log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// On a full disk, gives up the ballast. Any other error comes back.
fn make_room(directory: &Directory, error: Error) -> Result<(), Error> {
    if error.kind() == Kind::Full { directory.remove(BALLAST) } else { Err(error) }
}

/// `part` of `whole`, at most 1; three digits are enough for whoever watches.
fn share(part: u64, whole: u64) -> f32 {
    let permille = (part.min(whole).saturating_mul(1000)) / whole;
    f32::from(u16::try_from(permille).unwrap_or(1000)) / 1000.0
}

//! Looks into a log that nobody has open; changes nothing.

use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::directory::{Directory, LOCK, Name};
use super::disk::real::RealDisk;
use super::disk::{Access, Disk, Guard, Sharing};
use super::fence::Fence;
use super::manifest::Manifest;
use super::ruling::{Case, Damage};
use super::walk::{Place, Walk};
use crate::model::{Fact, UnixMillis};

/// What a log holds whose every checksum was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// Records in the snapshot; `None`: there is none.
    pub snapshot_records: Option<u64>,
    /// Records in the segments.
    pub records: u64,
    /// Bytes of snapshot and segments, without space only reserved.
    pub bytes: u64,
    /// The number of the last segment.
    pub last_segment: u32,
    /// Where the last segment ends, in bytes of the file.
    pub last_offset: u64,
    /// The number of the last record; zero: there never was one.
    pub last_sequence: u64,
    /// Bytes of a torn tail: the next start keeps them aside and cuts them off.
    pub torn_bytes: u64,
    /// The segment that the fence is in.
    pub fence_segment: u32,
    /// How far that segment is known to be durable.
    pub fence_offset: u64,
    /// Whether the log was closed in order.
    pub closed_cleanly: bool,
    /// The highest wall time seen.
    pub wall: UnixMillis,
}

/// A fact and where it stands.
#[derive(Debug)]
pub struct Item<'a> {
    /// The number of the file.
    pub segment: u32,
    /// Whether that is the snapshot of this number, not the segment.
    pub in_snapshot: bool,
    /// Where its record begins, in bytes of the file.
    pub offset: u64,
    /// The number of its record.
    pub sequence: u64,
    /// When it was logged; in a snapshot, when that was begun.
    pub wall: UnixMillis,
    /// The fact.
    pub fact: Fact<'a>,
}

/// Reads the whole log in `dir` and checks everything that a start would check.
///
/// # Errors
/// `Locked` while a server has it, and whatever would make a start refuse.
pub fn verify(dir: &Path) -> Result<Verified, Error> {
    verify_on(dir, Arc::new(RealDisk::existing(dir)))
}

pub(super) fn verify_on(dir: &Path, disk: Arc<dyn Disk>) -> Result<Verified, Error> {
    let look = Look::open(dir, disk)?;
    let Look { manifest, fence, .. } = &look;
    let (mut records, mut wall) = (0, fence.wall.max(manifest.compacted));
    let mut snapshot_records = 0;
    let (end, torn) = look.walk(&mut |place, _, at| {
        wall = wall.max(at);
        match place.file {
            Name::Segment(_) => records += 1,
            Name::Snapshot(_) | Name::SnapshotTmp(_) => snapshot_records += 1,
        }
    })?;
    Ok(Verified {
        segments: manifest.segments.len() as u64,
        snapshot_records: manifest.snapshot.map(|_| snapshot_records),
        records,
        bytes: manifest.settled_bytes() + end.offset,
        last_segment: manifest.last().number,
        last_offset: end.offset,
        last_sequence: end.sequence - 1,
        torn_bytes: torn,
        fence_segment: fence.segment,
        fence_offset: fence.offset,
        closed_cleanly: fence.clean,
        wall,
    })
}

/// Gives every fact of the log in `dir` to `visit`, in the order of a replay.
///
/// # Errors
/// As [`verify`]; what comes before the damage has been visited.
pub fn dump(dir: &Path, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), Error> {
    dump_on(dir, Arc::new(RealDisk::existing(dir)), visit)
}

pub(super) fn dump_on(
    dir: &Path,
    disk: Arc<dyn Disk>,
    visit: &mut dyn FnMut(Item<'_>),
) -> Result<(), Error> {
    let look = Look::open(dir, disk)?;
    look.walk(&mut |place, fact, wall| {
        let (segment, in_snapshot) = match place.file {
            Name::Segment(number) => (number, false),
            Name::Snapshot(number) | Name::SnapshotTmp(number) => (number, true),
        };
        let Place { offset, sequence, .. } = *place;
        visit(Item { segment, in_snapshot, offset, sequence, wall, fact });
    })?;
    Ok(())
}

/// A log opened for reading.
struct Look {
    directory: Directory,
    manifest: Manifest,
    fence: Fence,
    #[expect(dead_code, reason = "held while the log is read")]
    guard: Option<Box<dyn Guard>>,
}

impl Look {
    fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Look, Error> {
        let directory = Directory::new(dir, disk);
        // A copy of a log may come without the lock file; then nobody can have it open either.
        let has_lock = directory.find(LOCK, Access::Read)?.is_some();
        let guard = if has_lock { Some(directory.lock(Sharing::Shared)?) } else { None };
        let manifest = Manifest::load(&directory)?.ok_or_else(|| {
            let path = directory.path_of(super::directory::MANIFEST);
            Damage::of_file(Case::ManifestMissing, path, dir)
        })?;
        let walk = Walk { directory: &directory, manifest: &manifest };
        let (_, fence) = walk.fence(Access::Read)?;
        walk.check_state(&fence)?;
        Ok(Look { directory, manifest, fence, guard })
    }

    fn files(&self) -> Walk<'_> {
        Walk { directory: &self.directory, manifest: &self.manifest }
    }

    /// Walks through all of it; returns where the log ends, and bytes of a torn tail there.
    fn walk(
        &self,
        visit: &mut super::walk::Visit<'_>,
    ) -> Result<(super::record::Position, u64), Error> {
        let walk = self.files();
        walk.snapshot(visit)?;
        for segment in &self.manifest.segments {
            if let Some(closed) = &segment.closed {
                walk.closed(segment, closed, visit)?;
            }
        }
        let end = walk.last(Access::Read, visit)?;
        let torn = walk.judge(&end, &self.fence)?;
        Ok((end.position, torn.map_or(0, |tail| tail.used_to - end.position.offset)))
    }
}

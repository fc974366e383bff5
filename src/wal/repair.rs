//! Cuts a damaged log where an operator says, after keeping a copy of all that is cut.
//!
//! Every step may be the last one before the power goes: until the manifest and then the fence are
//! written, a start refuses, and the same repair can be run again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::aside::{keep_aside, remove_leftovers};
use super::directory::{Directory, Handle, Name};
use super::disk::real::RealDisk;
use super::disk::{Access, Disk, Sharing};
use super::fence::{Fence, FenceFile};
use super::first::{lower_half, random_salt};
use super::format::{FORMAT, FileHeader, HEADER_BYTES, Role};
use super::manifest::{Manifest, Segment};
use super::payload::decode;
use super::reader::{Reader, used_bytes};
use super::record::{Fault, Position};
use super::ruling::{Case, Damage};
use super::walk::{Walk, expected};
use crate::model::UnixMillis;

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Where the segment is kept as it was; segments behind it are kept beside it.
    pub saved_as: PathBuf,
    /// Bytes that are no longer part of the log.
    pub cut_bytes: u64,
}

/// Ends the log in `dir` at `offset` of `segment`, which must be the end of a record, of the header
/// (64), or 0 for a segment whose header is damaged or that is missing. Everything behind is cut
/// off and kept aside. The fence is written anew.
///
/// Without `accept_loss` only a torn tail is cut, which is what a start would do.
///
/// # Errors
/// `Locked`; `Damaged` if the manifest cannot be read, or if this may lose what was acknowledged and
/// that was not accepted; `Io` if there is no such segment or no record ends there.
pub fn repair(dir: &Path, segment: u32, offset: u64, accept_loss: bool) -> Result<Repaired, Error> {
    repair_on(dir, Arc::new(RealDisk::existing(dir)), (segment, offset), accept_loss)
}

pub(super) fn repair_on(
    dir: &Path,
    disk: Arc<dyn Disk>,
    (number, offset): (u32, u64),
    accept_loss: bool,
) -> Result<Repaired, Error> {
    let directory = Directory::new(dir, disk);
    let _guard = directory.lock(Sharing::Exclusive)?;
    let manifest = Manifest::load(&directory)?.ok_or_else(|| {
        let path = directory.path_of(super::directory::MANIFEST);
        Damage::of_file(Case::ManifestMissing, path, dir)
    })?;
    let name = Name::Segment(number);
    let Some(index) = manifest.segments.iter().position(|segment| segment.number == number) else {
        return Err(impossible(&directory, name, "the manifest names no such segment"));
    };
    if !accept_loss {
        check_harmless(&directory, &manifest, (number, offset))?;
    }
    let segment = manifest.segments[index];
    let cut = Cut { directory: &directory, manifest: &manifest, index };
    let (end, wall) = cut.find_end(&segment, offset)?;
    let (saved_as, cut_bytes) = cut.keep_copies(number, offset)?;
    let sequence = end.map_or(segment.first_sequence, |end| end.sequence);
    let shortened = cut.shorten(&segment, end)?;
    cut.write_fence(&shortened, offset.max(HEADER_BYTES), sequence - 1, wall)?;
    Ok(Repaired { saved_as, cut_bytes })
}

/// Errors: whatever speaks against a cut that nobody would miss.
fn check_harmless(
    directory: &Directory,
    manifest: &Manifest,
    (number, offset): (u32, u64),
) -> Result<(), Error> {
    let walk = Walk { directory, manifest };
    let (_, fence) = FenceFile::load(directory, Access::Read)?;
    walk.check_state(&fence)?;
    let end = walk.last(Access::Read, &mut |_, _, _| ())?;
    walk.judge(&end, &fence)?;
    if (number, offset) == (manifest.last().number, end.position.offset) {
        return Ok(());
    }
    let said = "records that can be read would be lost; --accept-loss says that this is meant";
    Err(impossible(directory, Name::Segment(number), said))
}

fn impossible(directory: &Directory, name: Name, said: &'static str) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidInput, said);
    Error::Io { action: "cut", path: directory.path_of(name), source }
}

/// A cut in a segment.
struct Cut<'a> {
    directory: &'a Directory,
    manifest: &'a Manifest,
    /// Of the segment, in the manifest.
    index: usize,
}

impl Cut<'_> {
    /// Reads up to `offset`. Returns what a record there would continue, and the highest wall time
    /// before it; no position: the segment is to begin anew.
    fn find_end(
        &self,
        segment: &Segment,
        offset: u64,
    ) -> Result<(Option<Position>, UnixMillis), Error> {
        let mut wall = self.manifest.compacted;
        if offset == 0 {
            return Ok((None, wall));
        }
        let name = Name::Segment(segment.number);
        if offset < HEADER_BYTES {
            return Err(impossible(self.directory, name, "no record ends there"));
        }
        let expected = expected(self.manifest, segment);
        let mut reader = Reader::open(self.directory, &expected, Some(offset), Access::Read)?;
        loop {
            match reader.next()? {
                Ok(record) => {
                    wall = decode(record.payload, |_, at| at).map_or(wall, |at| at.max(wall));
                }
                Err(stop) if stop.fault == Fault::End => return Ok((Some(stop.position), wall)),
                Err(_) => return Err(impossible(self.directory, name, "no record ends there")),
            }
        }
    }

    /// Copies the segment and those behind it, whole. Returns where the first is kept and how many
    /// bytes that are in use lie behind `offset`.
    fn keep_copies(&self, number: u32, offset: u64) -> Result<(PathBuf, u64), Error> {
        let handle = self.find_or_make(number)?;
        let saved_as = keep_aside(self.directory, &handle, 0, handle.bytes()?)?;
        let mut cut_bytes = used_bytes(&handle)?.saturating_sub(offset);
        for number in self.later(number)? {
            if let Some(handle) = self.directory.find(Name::Segment(number), Access::Read)? {
                cut_bytes += used_bytes(&handle)?;
                keep_aside(self.directory, &handle, 0, handle.bytes()?)?;
            }
        }
        Ok((saved_as, cut_bytes))
    }

    /// Segments behind `number`, those that the manifest does not name included.
    fn later(&self, number: u32) -> Result<Vec<u32>, Error> {
        let number_of = |name: &String| match Name::parse(name) {
            Some(Name::Segment(later)) if later > number => Some(later),
            Some(Name::Segment(_) | Name::Snapshot(_) | Name::SnapshotTmp(_)) | None => None,
        };
        Ok(self.directory.list()?.iter().filter_map(number_of).collect())
    }

    fn find_or_make(&self, number: u32) -> Result<Handle, Error> {
        match self.directory.find(Name::Segment(number), Access::ReadWrite)? {
            Some(handle) => Ok(handle),
            None => self.directory.create(Name::Segment(number)),
        }
    }

    /// Makes the segment the last one, ending at `end`; removes those behind it.
    fn shorten(&self, segment: &Segment, end: Option<Position>) -> Result<Manifest, Error> {
        let handle = self.find_or_make(segment.number)?;
        match end {
            Some(end) => handle.truncate(end.offset)?,
            None => {
                let header = FileHeader {
                    format: FORMAT,
                    role: Role::Segment,
                    salt: random_salt(self.directory),
                    store: self.manifest.store,
                    number: segment.number,
                    first_sequence: segment.first_sequence,
                    chain_before: segment.chain_before,
                };
                handle.truncate(0)?;
                handle.write(&header.encode(), 0)?;
            }
        }
        handle.sync()?;
        self.directory.sync()?;
        let mut shortened = self.manifest.clone();
        shortened.generation += 1;
        shortened.segments.truncate(self.index + 1);
        shortened.segments[self.index].closed = None;
        shortened.prepare(self.directory)?;
        Manifest::publish(self.directory)?;
        remove_leftovers(self.directory, &shortened);
        Ok(shortened)
    }

    fn write_fence(
        &self,
        manifest: &Manifest,
        offset: u64,
        sequence: u64,
        wall: UnixMillis,
    ) -> Result<(), Error> {
        let before = match FenceFile::load(self.directory, Access::Read) {
            Ok((_, fence)) => fence.wall,
            Err(Error::Damaged(_)) => UnixMillis::ZERO,
            Err(error) => return Err(error),
        };
        let fence = Fence {
            store: lower_half(manifest.store),
            generation: manifest.generation,
            segment: manifest.last().number,
            offset,
            sequence,
            wall: before.max(wall),
            clean: false,
        };
        FenceFile::create(self.directory, &fence)?;
        self.directory.sync()
    }
}

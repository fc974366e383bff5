//! The first start: makes the files of an empty log.
//!
//! The manifest comes last and its rename is the moment the log exists, so a start that was cut short
//! is simply done again. (A directory built aside and renamed would say the same, but the directory is
//! often the root of a mounted volume, which cannot be renamed.)

use super::directory::{BALLAST, Directory, Handle, MANIFEST, Name};
use super::disk::Access;
use super::fence::{Fence, FenceFile};
use super::format::{FORMAT, FileHeader, HEADER_BYTES, Role};
use super::manifest::{Manifest, Segment};
use super::ruling::{Case, Damage};
use super::walk::holds_record;
use super::{Config, Error};
use crate::model::UnixMillis;

/// Makes an empty log. Errors: `Damaged` if there are files of a log that has lost its manifest.
pub(super) fn start(directory: &Directory, config: &Config) -> Result<Manifest, Error> {
    if !is_unused(directory)? {
        let path = directory.path_of(MANIFEST);
        return Err(Damage::of_file(Case::ManifestMissing, path, directory.path()).into());
    }
    let store = u128::from(directory.random()) << 64 | u128::from(directory.random());
    let header = FileHeader {
        format: FORMAT,
        role: Role::Segment,
        salt: random_salt(directory),
        store,
        number: 1,
        first_sequence: 1,
        chain_before: 0,
    };
    let segment = reserve_segment(directory, 1, config.segment_bytes)?;
    segment.write(&header.encode(), 0)?;
    segment.sync()?;
    let manifest = Manifest {
        generation: 1,
        store,
        compacted: UnixMillis::ZERO,
        snapshot: None,
        segments: vec![Segment { number: 1, first_sequence: 1, chain_before: 0, closed: None }],
    };
    let fence = Fence {
        store: lower_half(store),
        generation: 1,
        segment: 1,
        offset: HEADER_BYTES,
        sequence: 0,
        wall: UnixMillis::ZERO,
        clean: false,
    };
    FenceFile::create(directory, &fence)?;
    directory.sync()?;
    manifest.prepare(directory)?;
    Manifest::publish(directory)?;
    Ok(manifest)
}

/// Whether there is nothing of a log, or no more than a first start leaves that was cut short.
fn is_unused(directory: &Directory) -> Result<bool, Error> {
    for name in directory.list()? {
        match Name::parse(&name) {
            None | Some(Name::Segment(1)) => {}
            Some(Name::Segment(_) | Name::Snapshot(_) | Name::SnapshotTmp(_)) => return Ok(false),
        }
        if name == BALLAST {
            return Ok(false);
        }
    }
    let has_appended = match FenceFile::load(directory, Access::Read) {
        Ok((_, fence)) => fence.segment != 1 || fence.sequence != 0 || fence.generation != 1,
        // Missing or half written: it says nothing.
        Err(Error::Damaged(_)) => false,
        Err(error) => return Err(error),
    };
    Ok(!has_appended && !holds_record(directory, 1, None)?)
}

/// Makes a file for a segment, without its header, and reserves space for `bytes` where the disk can.
pub(super) fn reserve_segment(
    directory: &Directory,
    number: u32,
    bytes: u64,
) -> Result<Handle, Error> {
    let handle = directory.create(Name::Segment(number))?;
    if handle.allocate(bytes).is_err() {
        // Reserved space makes syncs cheaper, no more; give back what was reserved in part.
        handle.truncate(0)?;
    }
    Ok(handle)
}

/// A salt for a new file.
pub(super) fn random_salt(directory: &Directory) -> u32 {
    u32::try_from(directory.random() >> 32).expect("half of 64 bits")
}

/// The part of the store's number that the fence has room for.
pub(super) fn lower_half(store: u128) -> u64 {
    u64::try_from(store & u128::from(u64::MAX)).expect("masked to 64 bits")
}

//! Goes through the files of the log in the order of the manifest, and judges their end.
//!
//! Recovery, `verify` and `dump` all walk this way, so they cannot disagree about what is damage.

use super::Error;
use super::directory::{Directory, Handle, Name};
use super::disk::Access;
use super::fence::{Fence, FenceFile};
use super::format::{HEADER_BYTES, Role};
use super::manifest::{Closed, Manifest, Segment, Snapshot};
use super::payload::{Footer, Item, decode};
use super::reader::{Expected, Reader, Stop, Tail, read_header, search_tail};
use super::record::{Fault, Position};
use super::ruling::{Case, Damage, Observed, Ruling, rule};
use crate::model::{Fact, UnixMillis};

/// Where a fact stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) file: Name,
    pub(super) offset: u64,
    pub(super) sequence: u64,
}

/// Takes the facts of a walk.
pub(super) type Visit<'v> = dyn FnMut(&Place, Fact<'_>, UnixMillis) + 'v;

/// The end of the last segment, as read.
#[derive(Debug)]
pub(super) struct End {
    pub(super) handle: Handle,
    /// The format of the segment.
    pub(super) format: u32,
    /// Where the next record belongs.
    pub(super) position: Position,
    fault: Fault,
}

/// The files of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'d> {
    pub(super) directory: &'d Directory,
    pub(super) manifest: &'d Manifest,
}

impl Walk<'_> {
    /// Checks that fence, manifest and the names in the directory are of one state.
    ///
    /// Errors: `Damaged` if the fence is of another store or the manifest is older than the rest.
    pub(super) fn check_state(&self, fence: &Fence) -> Result<(), Error> {
        let Walk { directory, manifest } = self;
        let damaged = |case, name: &str| {
            Error::from(Damage::of_file(case, directory.path_of(name), directory.path()))
        };
        if u128::from(fence.store) != manifest.store & u128::from(u64::MAX) {
            return Err(damaged(Case::ForeignFence, super::directory::FENCE));
        }
        let is_later = fence.generation > manifest.generation
            || fence.segment > manifest.last().number
            || self.is_segment_unnamed()?;
        if is_later {
            return Err(damaged(Case::ManifestBehind, super::directory::MANIFEST));
        }
        Ok(())
    }

    /// Whether a segment after the last one the manifest names holds a record. Nothing is written to
    /// a segment before the manifest that names it is durable.
    fn is_segment_unnamed(&self) -> Result<bool, Error> {
        for name in self.directory.list()? {
            if let Some(Name::Segment(number)) = Name::parse(&name)
                && number > self.manifest.last().number
                && holds_record(self.directory, number, Some(self.manifest.store))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Loads the fence. Damage to it comes with the repair that goes by the records alone.
    pub(super) fn fence(&self, access: Access) -> Result<(FenceFile, Fence), Error> {
        FenceFile::load(self.directory, access).map_err(|error| {
            let Error::Damaged(damage) = error else { return error };
            match self.last(Access::Read, &mut |_, _, _| ()) {
                Ok(end) => {
                    let (number, offset) = (self.manifest.last().number, end.position.offset);
                    let directory = self.directory.path();
                    let cut =
                        Damage::of_segment(damage.case, damage.path, directory, number, offset);
                    Damage { offset: 0, ..cut }.into()
                }
                Err(worse) => worse,
            }
        })
    }

    /// Reads the snapshot, if there is one.
    pub(super) fn snapshot(&self, visit: &mut Visit<'_>) -> Result<(), Error> {
        let Some(snapshot) = self.manifest.snapshot else { return Ok(()) };
        let file = Name::Snapshot(snapshot.number);
        let expected = Expected {
            role: Role::Snapshot,
            store: self.manifest.store,
            number: snapshot.number,
            first_sequence: 1,
            chain_before: 0,
        };
        let limit = Some(snapshot.bytes);
        let mut reader = Reader::open(self.directory, &expected, limit, Access::Read)?;
        let mut footer = None;
        let stop = self.records(&mut reader, file, &mut footer, visit)?;
        let is_whole = stop.fault == Fault::End
            && stop.position.chain == snapshot.chain
            && footer == Some(snapshot.footer());
        if is_whole { Ok(()) } else { Err(self.damage(Case::SnapshotDamaged, file, &stop)) }
    }

    /// Reads a closed segment.
    pub(super) fn closed(
        &self,
        segment: &Segment,
        closed: &Closed,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let file = Name::Segment(segment.number);
        let expected = expected(self.manifest, segment);
        let limit = Some(closed.bytes);
        let mut reader = Reader::open(self.directory, &expected, limit, Access::Read)?;
        let stop = self.records(&mut reader, file, &mut None, visit)?;
        let is_whole = stop.fault == Fault::End
            && stop.position.chain == closed.chain
            && stop.position.sequence == closed.last_sequence + 1;
        if is_whole { Ok(()) } else { Err(self.damage(Case::ClosedDamaged, file, &stop)) }
    }

    /// Reads the last segment as far as it goes.
    pub(super) fn last(&self, access: Access, visit: &mut Visit<'_>) -> Result<End, Error> {
        let segment = self.manifest.last();
        let file = Name::Segment(segment.number);
        let expected = expected(self.manifest, segment);
        let mut reader = Reader::open(self.directory, &expected, None, access)?;
        let Stop { position, fault } = self.records(&mut reader, file, &mut None, visit)?;
        Ok(End { handle: reader.handle().clone(), format: reader.format(), position, fault })
    }

    /// Rules on the end of the last segment; what it returns may be cut, and was promised to nobody.
    pub(super) fn judge(&self, end: &End, fence: &Fence) -> Result<Option<Tail>, Error> {
        let tail = search_tail(&end.handle, &end.position)?;
        let last = self.manifest.last().number;
        let seen = Observed {
            readable_to: end.position.offset,
            file_bytes: end.handle.bytes()?,
            used_to: tail.used_to,
            fence_beyond: tail.fence,
            fence: if fence.segment == last { fence.offset } else { HEADER_BYTES },
        };
        match rule(&seen) {
            Ruling::Whole => Ok(None),
            Ruling::Torn => Ok(Some(tail)),
            Ruling::Refuse(case) => {
                let stop = Stop { position: end.position, fault: end.fault };
                Err(self.damage(case, Name::Segment(last), &stop))
            }
        }
    }

    /// Gives all records that can be read to `visit`; a footer goes into `footer`.
    fn records(
        &self,
        reader: &mut Reader,
        file: Name,
        footer: &mut Option<Footer>,
        visit: &mut Visit<'_>,
    ) -> Result<Stop, Error> {
        loop {
            let position = reader.position();
            let record = match reader.next()? {
                Ok(record) => record,
                Err(stop) => return Ok(stop),
            };
            let place = Place { file, offset: record.offset, sequence: record.sequence };
            let is_snapshot = matches!(file, Name::Snapshot(_));
            let understood = decode(record.payload, |item, wall| match item {
                Item::Fact(fact) if footer.is_none() => {
                    visit(&place, fact, wall);
                    true
                }
                Item::Footer(found) if is_snapshot && footer.is_none() => {
                    *footer = Some(found);
                    true
                }
                Item::Fact(_) | Item::Footer(_) => false,
            });
            if understood != Some(true) {
                let stop = Stop { position, fault: Fault::End };
                return Err(self.damage(Case::Undecodable, file, &stop));
            }
        }
    }

    fn damage(&self, case: Case, file: Name, stop: &Stop) -> Error {
        let (path, directory) = (self.directory.path_of(file), self.directory.path());
        let offset = stop.position.offset;
        let mut damage = match file {
            Name::Segment(number) => Damage::of_segment(case, path, directory, number, offset),
            Name::Snapshot(_) | Name::SnapshotTmp(_) => {
                Damage { offset, ..Damage::of_file(case, path, directory) }
            }
        };
        // The count is a help for the operator: where it cannot be had, the message goes without.
        if let Ok(Some(handle)) = self.directory.find(file, Access::Read) {
            damage.beyond = search_tail(&handle, &stop.position).ok().map(|tail| tail.headers);
        }
        damage.stopped_by(stop.fault, stop.position.sequence).into()
    }
}

/// What the header of `segment` must say.
pub(super) fn expected(manifest: &Manifest, segment: &Segment) -> Expected {
    Expected {
        role: Role::Segment,
        store: manifest.store,
        number: segment.number,
        first_sequence: segment.first_sequence,
        chain_before: segment.chain_before,
    }
}

impl Snapshot {
    fn footer(&self) -> Footer {
        Footer { records: self.records, mutations: self.mutations }
    }
}

/// Whether the segment `number` begins with a record that can be read. A file of another store, if
/// one is named, or without a sound header holds none of ours.
pub(super) fn holds_record(
    directory: &Directory,
    number: u32,
    store: Option<u128>,
) -> Result<bool, Error> {
    let Some(handle) = directory.find(Name::Segment(number), Access::Read)? else {
        return Ok(false);
    };
    match read_header(&handle)? {
        Ok(header) if store.is_none_or(|store| store == header.store) => {
            let limit = handle.bytes()?;
            Ok(Reader::new(handle, &header, limit).next()?.is_ok())
        }
        Ok(_) | Err(_) => Ok(false),
    }
}

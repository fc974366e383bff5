//! The manifest: which files make up the log.
//!
//! ```text
//! MANIFEST  magic 8 │ format 4 │ generation 8 │ store 16 │ compacted 8 │
//!           snapshot 4: 0 or 1 │ if 1: number 4 │ bytes 8 │ chain 4 │ records 8 │ mutations 8 │
//!           segments 4 │ each: number 4 │ first sequence 8 │ chain before 4 │ closed 4: 0 or 1 │
//!                              if 1: bytes 8 │ last sequence 8 │ chain 4 │
//!           checksum 4
//! ```
//!
//! It is never changed in place: a new one is written beside it, synced, and renamed over it.

use super::Error;
use super::cursor::Bytes;
use super::directory::{Directory, MANIFEST, MANIFEST_TMP, Name};
use super::disk::Access;
use super::format::{FORMAT, Unreadable};
use super::ruling::{Case, Damage};
use crate::model::UnixMillis;

const MAGIC: [u8; 8] = *b"PYKVMAN\0";

/// Largest manifest that is read; a thousand closed segments take 44 KiB.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What the log consists of. There is at least one segment; their numbers and sequences follow each
/// other without a gap; all but the last are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Counts the manifests of this store.
    pub(super) generation: u64,
    /// Drawn at the first start.
    pub(super) store: u128,
    /// When the snapshot was finished; zero without one.
    pub(super) compacted: UnixMillis,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) segments: Vec<Segment>,
}

/// A snapshot: the state that the segments build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) number: u32,
    pub(super) bytes: u64,
    /// The chain behind its footer.
    pub(super) chain: u32,
    pub(super) records: u64,
    pub(super) mutations: u64,
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) first_sequence: u64,
    pub(super) chain_before: u32,
    /// How it ended; `None`: it is the last one.
    pub(super) closed: Option<Closed>,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) bytes: u64,
    /// One below `first_sequence` if it is empty.
    pub(super) last_sequence: u64,
    pub(super) chain: u32,
}

impl Manifest {
    /// The segment that is appended to.
    pub(super) fn last(&self) -> &Segment {
        self.segments.last().expect("a manifest has a segment")
    }

    /// Closes the last segment and names the next one.
    pub(super) fn extended(&self, closed: Closed) -> Manifest {
        let mut next = self.clone();
        next.generation += 1;
        let last = next.segments.last_mut().expect("a manifest has a segment");
        last.closed = Some(closed);
        let segment = Segment {
            number: last.number + 1,
            first_sequence: closed.last_sequence + 1,
            chain_before: closed.chain,
            closed: None,
        };
        next.segments.push(segment);
        next
    }

    /// Puts `snapshot` in the place of what came before the segment of its number.
    pub(super) fn compacted(&self, snapshot: Snapshot, now: UnixMillis) -> Manifest {
        let mut next = self.clone();
        next.generation += 1;
        next.compacted = now;
        next.snapshot = Some(snapshot);
        next.segments.retain(|segment| segment.number >= snapshot.number);
        next
    }

    /// The names of the files it names.
    pub(super) fn names(&self) -> Vec<Name> {
        let snapshot = self.snapshot.map(|snapshot| Name::Snapshot(snapshot.number));
        let segments = self.segments.iter().map(|segment| Name::Segment(segment.number));
        snapshot.into_iter().chain(segments).collect()
    }

    /// Bytes of the snapshot and the closed segments.
    pub(super) fn settled_bytes(&self) -> u64 {
        let closed = self.segments.iter().filter_map(|segment| segment.closed);
        self.snapshot.map_or(0, |snapshot| snapshot.bytes)
            + closed.map(|closed| closed.bytes).sum::<u64>()
    }

    /// Reads the manifest; `None`: there is none.
    pub(super) fn load(directory: &Directory) -> Result<Option<Manifest>, Error> {
        let Some(handle) = directory.find(MANIFEST, Access::Read)? else { return Ok(None) };
        let size = handle.bytes()?;
        let damaged = || {
            let path = directory.path_of(MANIFEST);
            Error::from(Damage::of_file(Case::ManifestDamaged, path, directory.path()))
        };
        let size = usize::try_from(size.min(MANIFEST_BYTES_MAX)).map_err(|_| damaged())?;
        let mut bytes = vec![0; size];
        let read = handle.read(&mut bytes, 0)?;
        match Manifest::decode(&bytes[..read]) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Unreadable::Damaged(_)) => Err(damaged()),
            Err(Unreadable::Newer(found)) => Err(Error::NewerFormat {
                path: directory.path_of(MANIFEST),
                found,
                supported: FORMAT,
            }),
        }
    }

    /// Writes the manifest beside the one in force. Errors: that one stays in force.
    pub(super) fn prepare(&self, directory: &Directory) -> Result<(), Error> {
        let handle = directory.create(MANIFEST_TMP)?;
        handle.write(&self.encode(), 0)?;
        handle.sync()
    }

    /// Puts the prepared manifest in force. Errors: nobody knows which of the two is in force after
    /// a power cut, so nothing may be built on either.
    pub(super) fn publish(directory: &Directory) -> Result<(), Error> {
        directory.rename(MANIFEST_TMP, MANIFEST)?;
        directory.sync()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.store.to_le_bytes());
        out.extend_from_slice(&self.compacted.as_millis().to_le_bytes());
        out.extend_from_slice(&u32::from(self.snapshot.is_some()).to_le_bytes());
        if let Some(snapshot) = self.snapshot {
            out.extend_from_slice(&snapshot.number.to_le_bytes());
            out.extend_from_slice(&snapshot.bytes.to_le_bytes());
            out.extend_from_slice(&snapshot.chain.to_le_bytes());
            out.extend_from_slice(&snapshot.records.to_le_bytes());
            out.extend_from_slice(&snapshot.mutations.to_le_bytes());
        }
        let segments =
            u32::try_from(self.segments.len()).expect("segments are numbered in 32 bits");
        out.extend_from_slice(&segments.to_le_bytes());
        for segment in &self.segments {
            out.extend_from_slice(&segment.number.to_le_bytes());
            out.extend_from_slice(&segment.first_sequence.to_le_bytes());
            out.extend_from_slice(&segment.chain_before.to_le_bytes());
            out.extend_from_slice(&u32::from(segment.closed.is_some()).to_le_bytes());
            if let Some(closed) = segment.closed {
                out.extend_from_slice(&closed.bytes.to_le_bytes());
                out.extend_from_slice(&closed.last_sequence.to_le_bytes());
                out.extend_from_slice(&closed.chain.to_le_bytes());
            }
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, Unreadable> {
        let damaged = Unreadable::Damaged(Case::ManifestDamaged);
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) || !content.starts_with(&MAGIC)
        {
            return Err(damaged);
        }
        let mut content = Bytes(&content[MAGIC.len()..]);
        match content.fixed_u32().ok_or(damaged)? {
            format if format > FORMAT => Err(Unreadable::Newer(format)),
            _ => Manifest::content(&mut content).filter(Manifest::is_consistent).ok_or(damaged),
        }
    }

    fn content(bytes: &mut Bytes<'_>) -> Option<Manifest> {
        let generation = bytes.fixed()?;
        let store = u128::from(bytes.fixed()?) | u128::from(bytes.fixed()?) << 64;
        let compacted = UnixMillis::from_millis(bytes.fixed()?);
        let snapshot = match bytes.fixed_u32()? {
            0 => None,
            1 => Some(Snapshot {
                number: bytes.fixed_u32()?,
                bytes: bytes.fixed()?,
                chain: bytes.fixed_u32()?,
                records: bytes.fixed()?,
                mutations: bytes.fixed()?,
            }),
            _ => return None,
        };
        let mut segments = Vec::new();
        for _ in 0..bytes.fixed_u32()? {
            segments.push(Segment {
                number: bytes.fixed_u32()?,
                first_sequence: bytes.fixed()?,
                chain_before: bytes.fixed_u32()?,
                closed: match bytes.fixed_u32()? {
                    0 => None,
                    1 => Some(Closed {
                        bytes: bytes.fixed()?,
                        last_sequence: bytes.fixed()?,
                        chain: bytes.fixed_u32()?,
                    }),
                    _ => return None,
                },
            });
        }
        bytes.end()?;
        Some(Manifest { generation, store, compacted, snapshot, segments })
    }

    fn is_consistent(&self) -> bool {
        let follows = |pair: &[Segment]| {
            pair[0].closed.is_some_and(|closed| {
                pair[0].number.checked_add(1) == Some(pair[1].number)
                    && closed.last_sequence.checked_add(1) == Some(pair[1].first_sequence)
                    && closed.chain == pair[1].chain_before
            })
        };
        self.segments.last().is_some_and(|last| last.closed.is_none())
            && self.segments.windows(2).all(follows)
            && self.snapshot.is_none_or(|snapshot| snapshot.number == self.segments[0].number)
    }
}

//! Reads the records of one file, in order, in bounded memory; changes nothing.

use super::Error;
use super::directory::{Directory, Handle, Name};
use super::disk::Access;
use super::format::{
    ALIGNMENT, FORMAT, FileHeader, HEADER_BYTES, RECORD_HEADER_BYTES, Role, Unreadable, to_usize,
};
use super::record::{Fault, Header, Position, may_begin_at};
use super::ruling::{Case, Damage};

/// Bytes read at a time; more only for a record that is longer, and whose header holds.
const CHUNK_BYTES: usize = 1 << 20;

/// A record whose checksums hold.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) payload: &'a [u8],
}

/// Where reading came to its end, and why there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) position: Position,
    pub(super) fault: Fault,
}

/// A segment or snapshot being read.
#[derive(Debug)]
pub(super) struct Reader {
    handle: Handle,
    format: u32,
    position: Position,
    /// Nothing is read from here on.
    limit: u64,
    /// Bytes of the file from `start`; the first `filled` of them are good.
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

/// What the header of a file must say besides its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) role: Role,
    pub(super) store: u128,
    pub(super) number: u32,
    pub(super) first_sequence: u64,
    pub(super) chain_before: u32,
}

impl Expected {
    fn name(&self) -> Name {
        match self.role {
            Role::Segment => Name::Segment(self.number),
            Role::Snapshot => Name::Snapshot(self.number),
        }
    }

    /// Damage of the file as a whole. A segment may be given up from its start, a snapshot may not.
    fn damage(&self, case: Case, directory: &Directory) -> Damage {
        let (path, place) = (directory.path_of(self.name()), directory.path());
        match self.role {
            Role::Segment => Damage::of_segment(case, path, place, self.number, 0),
            Role::Snapshot => Damage::of_file(case, path, place),
        }
    }

    fn is_met_by(&self, header: &FileHeader) -> bool {
        let Expected { role, store, number, first_sequence, chain_before } = *self;
        let FileHeader { format, salt, .. } = *header;
        *header == FileHeader { format, role, salt, store, number, first_sequence, chain_before }
    }
}

impl Reader {
    /// Opens a file and checks its header. Records are read up to `limit`, or the end of the file.
    ///
    /// Errors: `Damaged` if the file is missing, its header fails or is not as `expected`.
    pub(super) fn open(
        directory: &Directory,
        expected: &Expected,
        limit: Option<u64>,
        access: Access,
    ) -> Result<Reader, Error> {
        let name = expected.name();
        let damaged = |case| Error::from(expected.damage(case, directory));
        let handle = directory.find(name, access)?.ok_or_else(|| damaged(Case::FileMissing))?;
        let header = match read_header(&handle)? {
            Ok(header) if expected.is_met_by(&header) => header,
            Ok(_) => return Err(damaged(Case::ForeignFile)),
            Err(Unreadable::Damaged(case)) => return Err(damaged(case)),
            Err(Unreadable::Newer(found)) => {
                let path = directory.path_of(name);
                return Err(Error::NewerFormat { path, found, supported: FORMAT });
            }
        };
        let file_bytes = handle.bytes()?;
        if limit.is_some_and(|limit| limit > file_bytes) {
            return Err(damaged(Case::ClosedShort));
        }
        Ok(Reader::new(handle, &header, limit.unwrap_or(file_bytes)))
    }

    /// Reads the records behind `header`, up to `limit`.
    pub(super) fn new(handle: Handle, header: &FileHeader, limit: u64) -> Reader {
        let position = Position {
            salt: header.salt,
            chain: header.chain(),
            sequence: header.first_sequence,
            offset: HEADER_BYTES,
        };
        Reader {
            handle,
            format: header.format,
            position,
            limit,
            buffer: Vec::new(),
            start: HEADER_BYTES,
            filled: 0,
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The format of the file.
    pub(super) fn format(&self) -> u32 {
        self.format
    }

    /// Where the next record would begin.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Reads the next record; `Err` inside: there is none, and why.
    pub(super) fn next(&mut self) -> Result<Result<Record<'_>, Stop>, Error> {
        match self.check_next()? {
            Err(fault) => Ok(Err(Stop { position: self.position, fault })),
            Ok((header, chain)) => {
                let offset = self.position.offset;
                self.position.chain = chain;
                self.position.sequence += 1;
                self.position.offset += header.whole_bytes() as u64;
                let from = to_usize(offset - self.start) + RECORD_HEADER_BYTES;
                let payload = &self.buffer[from..from + header.payload_bytes];
                Ok(Ok(Record { offset, sequence: header.sequence, payload }))
            }
        }
    }

    fn check_next(&mut self) -> Result<Result<(Header, u32), Fault>, Error> {
        if self.position.offset == self.limit {
            return Ok(Err(Fault::End));
        }
        let position = self.position;
        let Some(bytes) = self.at(position.offset, RECORD_HEADER_BYTES)? else {
            return Ok(Err(Fault::Short));
        };
        let header = match Header::decode(bytes, position.salt) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let Some(record) = self.at(position.offset, header.whole_bytes())? else {
            return Ok(Err(Fault::Short));
        };
        Ok(header.check(record, &position).map(|chain| (header, chain)))
    }

    /// The `count` bytes at `offset`; `None` if the limit comes first.
    fn at(&mut self, offset: u64, count: usize) -> Result<Option<&[u8]>, Error> {
        if self.limit.saturating_sub(offset) < count as u64 {
            return Ok(None);
        }
        let mut from = to_usize(offset - self.start);
        if from + count > self.filled {
            self.buffer.copy_within(from..self.filled, 0);
            self.filled -= from;
            self.start = offset;
            from = 0;
            if !self.fill(count)? {
                return Ok(None);
            }
        }
        Ok(Some(&self.buffer[from..from + count]))
    }

    /// Reads on until at least `count` bytes are there; false if the file ends before.
    fn fill(&mut self, count: usize) -> Result<bool, Error> {
        let left = self.limit - self.start;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES.max(count));
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let into = &mut self.buffer[self.filled..wanted];
        self.filled += self.handle.read(into, self.start + self.filled as u64)?;
        Ok(self.filled >= count)
    }
}

/// Reads the header of a file; a file too short for one has none.
pub(super) fn read_header(handle: &Handle) -> Result<Result<FileHeader, Unreadable>, Error> {
    let mut bytes = [0; 64];
    if handle.read(&mut bytes, 0)? < bytes.len() {
        return Ok(Err(Unreadable::Damaged(Case::HeaderDamaged)));
    }
    Ok(FileHeader::decode(&bytes))
}

/// What lies behind the last record that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Behind the last byte that is not zero; where the search began if there is none.
    pub(super) used_to: u64,
    /// Sound headers of records.
    pub(super) headers: u64,
    /// The highest fence in them.
    pub(super) fence: u64,
}

/// Bytes of a file up to the last one that is not zero.
pub(super) fn used_bytes(handle: &Handle) -> Result<u64, Error> {
    let start = Position { salt: 0, chain: 0, sequence: u64::MAX, offset: 0 };
    Ok(search_tail(handle, &start)?.used_to)
}

/// Searches `handle` from `stop` to its end.
pub(super) fn search_tail(handle: &Handle, stop: &Position) -> Result<Tail, Error> {
    let mut tail = Tail { used_to: stop.offset, headers: 0, fence: 0 };
    // A header may lie across the border of two chunks: the next chunk begins a header earlier.
    let mut offset = stop.offset;
    let left = handle.bytes()?.saturating_sub(offset);
    let mut chunk = vec![0; to_usize(left.min(CHUNK_BYTES as u64))];
    loop {
        let filled = handle.read(&mut chunk, offset)?;
        let bytes = &chunk[..filled];
        // Space only reserved is nearly all there is to see: a sweep without a branch is fast.
        let is_unused = bytes.iter().fold(0, |any, byte| any | byte) == 0;
        if !is_unused && let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            tail.used_to = offset + last as u64 + 1;
            search_headers(bytes, stop, &mut tail);
        }
        if filled < CHUNK_BYTES {
            return Ok(tail);
        }
        offset += (CHUNK_BYTES - RECORD_HEADER_BYTES + ALIGNMENT) as u64;
    }
}

fn search_headers(bytes: &[u8], stop: &Position, tail: &mut Tail) {
    for at in (0..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1)).step_by(ALIGNMENT) {
        let candidate = &bytes[at..];
        if !may_begin_at(candidate) {
            continue;
        }
        if let Ok(header) = Header::decode(candidate, stop.salt)
            && header.sequence >= stop.sequence
        {
            tail.headers += 1;
            tail.fence = tail.fence.max(header.fence);
        }
    }
}

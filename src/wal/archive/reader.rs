//! From the bytes of an archive, as they come, to definitions and entries.

use std::collections::HashSet;
use std::mem;

use super::header::{Header, may_begin_with};
use super::{
    DEFINITION, ENTRIES, Entry, Error, FOOTER, Footer, NAMESPACES_MAX, RECORD_BYTES_MAX, Summary,
    Wrong,
};
use crate::model::{Definition, NamespaceId, NamespaceName};
use crate::wal::cursor::Bytes;
use crate::wal::definition;
use crate::wal::format::{HEADER_BYTES, RECORD_HEADER_BYTES, to_usize};
use crate::wal::record::{self, Fault, Position};

/// Something an archive says. Nothing of it counts before [`Reader::finish`] has said that the archive
/// is whole.
#[derive(Debug)]
pub enum Item<'a> {
    /// A namespace, under its number in the archive.
    Definition(Definition),
    /// An entry.
    Entry {
        /// The number of its namespace, which was defined before.
        namespace: NamespaceId,
        /// The entry.
        entry: Entry<'a>,
        /// The entry as [`Entry::decode`] reads it.
        encoded: &'a [u8],
    },
}

/// Takes the items of an archive.
type Visit<'v> = dyn FnMut(Item<'_>) + 'v;

/// An archive being read.
#[derive(Debug, Default)]
pub struct Reader {
    /// What came and is not complete.
    pending: Vec<u8>,
    header: Option<Header>,
    /// Where the next record begins, once there is a header.
    position: Position,
    names: HashSet<NamespaceName>,
    footer: Footer,
    is_ended: bool,
}

impl Reader {
    /// Nothing read so far.
    #[must_use]
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Takes the next bytes, any number of them, and gives to `visit` what is complete.
    ///
    /// # Errors
    /// The bytes so far cannot be the beginning of an archive; nothing more can be read then.
    pub fn feed(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        if self.pending.is_empty() {
            let used = self.read(bytes, visit)?;
            self.pending.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut pending = mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let used = self.read(&pending, visit)?;
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// Says that there are no more bytes.
    ///
    /// # Errors
    /// The archive is not complete.
    pub fn finish(self) -> Result<Summary, Error> {
        let Footer { namespaces, entries, .. } = self.footer;
        match self.header.filter(|_| self.is_ended) {
            Some(Header { format, moment, .. }) => {
                let bytes = self.position.offset;
                Ok(Summary { format, moment, namespaces, entries, bytes })
            }
            // Where the end is, not where the incomplete record begins.
            None => {
                let offset = self.position.offset + self.pending.len() as u64;
                Err(Error::Damaged { offset, wrong: Wrong::CutShort })
            }
        }
    }

    /// Reads as far as `bytes` go; returns how many of them are done with.
    fn read(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<usize, Error> {
        let mut rest = bytes;
        if self.header.is_none() {
            let Some(first) = rest.first_chunk::<64>() else {
                return if may_begin_with(rest) { Ok(0) } else { Err(self.damage(Wrong::Magic)) };
            };
            let header = Header::decode(first)?;
            (self.header, self.position) = (Some(header), header.start());
            rest = &rest[to_usize(HEADER_BYTES)..];
        }
        while !rest.is_empty() {
            if self.is_ended {
                return Err(self.damage(Wrong::GoesOn));
            }
            let Some(used) = self.read_record(rest, visit)? else { break };
            rest = &rest[used..];
        }
        Ok(bytes.len() - rest.len())
    }

    /// Reads the record that `bytes` begin with; `None`: it is not all there yet.
    fn read_record(&mut self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<Option<usize>, Error> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return Ok(None);
        }
        let failed = |fault: Fault| self.damage(Wrong::of_fault(fault));
        let header = record::Header::decode(bytes, self.position.salt).map_err(failed)?;
        if header.payload_bytes > RECORD_BYTES_MAX {
            return Err(self.damage(Wrong::RecordLength));
        }
        let Some(record) = bytes.get(..header.whole_bytes()) else { return Ok(None) };
        let chain = header.check(record, &self.position).map_err(failed)?;
        if header.fence != 0 {
            return Err(self.damage(Wrong::Content { expected: "a record without a fence" }));
        }
        let payload = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.payload_bytes];
        self.read_payload(payload, visit)
            .map_err(|expected| self.damage(Wrong::Content { expected }))?;
        self.position.chain = chain;
        self.position.sequence += 1;
        self.position.offset += record.len() as u64;
        Ok(Some(record.len()))
    }

    /// Errors: what was expected.
    fn read_payload(&mut self, payload: &[u8], visit: &mut Visit<'_>) -> Result<(), &'static str> {
        let mut bytes = Bytes(payload);
        match bytes.byte() {
            Some(DEFINITION) => {
                let definition = definition::decode(&mut bytes).filter(|_| bytes.0.is_empty());
                let definition = definition.ok_or("the definition of a namespace")?;
                self.take_definition(&definition)?;
                visit(Item::Definition(definition));
            }
            Some(ENTRIES) => self.read_entries(bytes, visit)?,
            Some(FOOTER) => {
                let mut count = || bytes.fixed();
                let counts = count().zip(count()).zip(count());
                let footer = counts.map(|((namespaces, records), entries)| Footer {
                    namespaces,
                    records,
                    entries,
                });
                if footer != Some(self.footer) || !bytes.0.is_empty() {
                    return Err("a footer that counts what came before it");
                }
                self.is_ended = true;
                return Ok(());
            }
            Some(_) | None => return Err("a definition, entries or the footer"),
        }
        self.footer.records += 1;
        Ok(())
    }

    fn take_definition(&mut self, definition: &Definition) -> Result<(), &'static str> {
        if self.footer.entries > 0 || self.footer.namespaces >= NAMESPACES_MAX as u64 {
            return Err("entries, or the footer");
        }
        if u64::from(definition.id.0) != self.footer.namespaces + 1 || !definition.is_lawful() {
            return Err("a definition that a server may have written");
        }
        if !self.names.insert(definition.name.clone()) {
            return Err("each namespace once");
        }
        self.footer.namespaces += 1;
        Ok(())
    }

    fn read_entries(
        &mut self,
        mut bytes: Bytes<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), &'static str> {
        let known = 1..=self.footer.namespaces;
        let namespace = bytes.namespace().filter(|id| known.contains(&u64::from(id.0)));
        let namespace = namespace.ok_or("the number of a namespace that was defined")?;
        let mut rest = bytes.rest();
        if rest.is_empty() {
            return Err("an entry");
        }
        while !rest.is_empty() {
            let (entry, behind) = Entry::decode(rest).ok_or("an entry")?;
            let encoded = &rest[..rest.len() - behind.len()];
            visit(Item::Entry { namespace, entry, encoded });
            self.footer.entries += 1;
            rest = behind;
        }
        Ok(())
    }

    fn damage(&self, wrong: Wrong) -> Error {
        Error::Damaged { offset: self.position.offset, wrong }
    }
}

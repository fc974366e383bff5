//! From definitions and entries to the bytes of an archive.

use std::mem;

use super::header::Header;
use super::{DEFINITION, ENTRIES, Entry, FOOTER, FORMAT, Footer, RECORD_BYTES_MAX, Summary};
use crate::model::{Definition, NamespaceId, UnixMillis};
use crate::wal::cursor::put_number;
use crate::wal::definition;
use crate::wal::record::{self, Position, seal};

/// A record that has grown to this is followed by the next: large enough that its header does not
/// count, small enough that a reader has something to do before all of it has come.
const RECORD_BYTES: usize = 64 << 10;

/// An archive being written. Its bytes are what [`Writer::take`] gives, one behind the other.
#[derive(Debug)]
pub struct Writer {
    moment: UnixMillis,
    position: Position,
    /// Records that are not sealed yet; the last one may be open.
    buffer: Vec<u8>,
    /// The header, until it was taken.
    head: Vec<u8>,
    open: Option<Open>,
    footer: Footer,
}

/// A record that takes more entries.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: usize,
    namespace: NamespaceId,
}

impl Writer {
    /// An archive of the state at `moment`. `salt`: bits that differ from file to file.
    #[must_use]
    pub fn new(moment: UnixMillis, salt: u32) -> Writer {
        let header = Header { format: FORMAT, salt, moment };
        Writer {
            moment,
            position: header.start(),
            buffer: Vec::new(),
            head: header.encode().to_vec(),
            open: None,
            footer: Footer::default(),
        }
    }

    /// Adds a namespace and returns its number in the archive. All come before the first entry.
    ///
    /// # Panics
    /// Behind an entry.
    pub fn define(&mut self, definition: &Definition) -> NamespaceId {
        assert!(self.footer.entries == 0, "definitions come first");
        self.footer.namespaces += 1;
        let number = u32::try_from(self.footer.namespaces).expect("namespaces have 32-bit numbers");
        let id = NamespaceId(number);
        let start = record::begin(&mut self.buffer);
        self.buffer.push(DEFINITION);
        definition::encode(&Definition { id, ..definition.clone() }, &mut self.buffer);
        self.end(start);
        id
    }

    /// Adds an entry of a namespace that was defined. Only copies: it is made for use under a lock.
    pub fn add(&mut self, namespace: NamespaceId, entry: &Entry<'_>) {
        let start = match self.open {
            Some(open) if open.namespace == namespace => open.start,
            Some(_) | None => {
                self.end_open();
                let start = record::begin(&mut self.buffer);
                self.buffer.push(ENTRIES);
                put_number(&mut self.buffer, u64::from(namespace.0));
                self.open = Some(Open { start, namespace });
                start
            }
        };
        entry.encode(&mut self.buffer);
        self.footer.entries += 1;
        if self.buffer.len() - start >= RECORD_BYTES {
            self.end_open();
        }
    }

    /// Bytes that [`Writer::take`] would give.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.head.len() + self.buffer.len()
    }

    /// The next bytes of the archive; leaves room for as many.
    pub fn take(&mut self) -> Vec<u8> {
        self.end_open();
        seal(&mut self.buffer, &mut self.position, 0);
        let empty = Vec::with_capacity(self.buffer.len());
        let bytes = mem::replace(&mut self.buffer, empty);
        if self.head.is_empty() {
            return bytes;
        }
        let mut head = mem::take(&mut self.head);
        head.extend_from_slice(&bytes);
        head
    }

    /// The last bytes of the archive, and what it holds.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, Summary) {
        self.end_open();
        let Footer { namespaces, records, entries } = self.footer;
        let start = record::begin(&mut self.buffer);
        self.buffer.push(FOOTER);
        for count in [namespaces, records, entries] {
            self.buffer.extend_from_slice(&count.to_le_bytes());
        }
        record::end(&mut self.buffer, start);
        let bytes = self.take();
        let (moment, size) = (self.moment, self.position.offset);
        (bytes, Summary { format: FORMAT, moment, namespaces, entries, bytes: size })
    }

    fn end_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.end(open.start);
        }
    }

    fn end(&mut self, start: usize) {
        assert!(self.buffer.len() - start <= RECORD_BYTES_MAX, "limits of the model exclude this");
        record::end(&mut self.buffer, start);
        self.footer.records += 1;
    }
}

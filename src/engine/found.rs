//! What was found for many keys, kept together.

use std::ops::Range;

use bytes::Bytes;

use super::record::Record;
use super::{Entry, View};
use crate::model::{UnixMillis, Version};

/// What there is under each of a list of keys, in its order. All values lie in one buffer: one
/// allocation for a list, not one for each entry.
#[derive(Clone, Debug, Default)]
pub struct Found {
    values: Bytes,
    places: Vec<Option<Place>>,
}

/// An entry, and where its value lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    /// Zero unless the view includes the value.
    included_bytes: u32,
    value_bytes: u32,
    version: Version,
    deadline: Option<UnixMillis>,
    written: UnixMillis,
}

/// What is known of an entry, as [`Entry`] has it, where it lies. Fields that the view leaves out
/// are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The bytes.
    pub value: &'a [u8],
    /// Bytes in the value, whether or not it is included.
    pub value_bytes: u32,
    /// Its last change.
    pub version: Version,
    /// When it stops being readable.
    pub deadline: Option<UnixMillis>,
    /// When its value was last written.
    pub written: UnixMillis,
}

impl Found {
    /// What is found for keys of which there are no entries.
    #[must_use]
    pub fn nothing(keys: usize) -> Found {
        Found { values: Bytes::new(), places: vec![None; keys] }
    }

    /// For how many keys this is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it is known for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all values included.
    #[must_use]
    pub fn values_bytes(&self) -> usize {
        self.values.len()
    }

    /// What there is under each key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<Seen<'_>>> {
        self.places.iter().map(|place| {
            place.as_ref().map(|place| Seen {
                value: &self.values[place.range()],
                value_bytes: place.value_bytes,
                version: place.version,
                deadline: place.deadline,
                written: place.written,
            })
        })
    }

    /// The same as entries of their own, which share the buffer.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Option<Entry>> {
        self.places.iter().map(|place| {
            place.as_ref().map(|place| Entry {
                value: self.values.slice(place.range()),
                value_bytes: place.value_bytes,
                version: place.version,
                deadline: place.deadline,
                written: place.written,
            })
        })
    }
}

impl FromIterator<Option<Entry>> for Found {
    fn from_iter<I: IntoIterator<Item = Option<Entry>>>(entries: I) -> Found {
        let mut values = Vec::new();
        let places = entries.into_iter().map(|entry| {
            let Entry { value, value_bytes, version, deadline, written } = entry?;
            let start = length(values.len());
            values.extend_from_slice(&value);
            let included_bytes = length(value.len());
            Some(Place { start, included_bytes, value_bytes, version, deadline, written })
        });
        Found { places: places.collect(), values: Bytes::from(values) }
    }
}

/// Where something begins in a buffer of values, or how long it is.
#[inline]
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("values end below 4 GiB")
}

impl Place {
    fn range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.included_bytes as usize
    }
}

/// A [`Found`] in the making.
pub(super) struct Finding {
    values: Vec<u8>,
    values_bytes_max: usize,
    places: Vec<Option<Place>>,
}

impl Finding {
    /// Room for `keys` of them, and for at most `values_bytes_max` bytes of values.
    pub(super) fn new(keys: usize, values_bytes_max: usize) -> Finding {
        // Places have 32 bits for where a value begins.
        let values_bytes_max = values_bytes_max.min(u32::MAX as usize);
        Finding { values: Vec::new(), values_bytes_max, places: Vec::with_capacity(keys) }
    }

    /// Whether the value of `record` would be one too many. A first one never is.
    #[inline]
    pub(super) fn is_full_for(&self, record: &Record<'_>, view: View) -> bool {
        view.is_use()
            && !self.values.is_empty()
            && self.values.len() + record.value.len() > self.values_bytes_max
    }

    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>, view: View) {
        let start = length(self.values.len());
        let bare = Place {
            start,
            included_bytes: 0,
            value_bytes: 0,
            version: record.version,
            deadline: None,
            written: UnixMillis::ZERO,
        };
        let value_bytes = length(record.value.len());
        let (deadline, written) = (record.deadline, record.written);
        if view.is_use() {
            self.values.extend_from_slice(record.value);
        }
        self.places.push(Some(match view {
            View::Key => bare,
            View::Metadata => Place { value_bytes, deadline, written, ..bare },
            View::Value => Place { included_bytes: value_bytes, value_bytes, ..bare },
            View::Full => {
                Place { included_bytes: value_bytes, value_bytes, deadline, written, ..bare }
            }
        }));
    }

    #[inline]
    pub(super) fn push_none(&mut self) {
        self.places.push(None);
    }

    /// Makes room for the values of the keys still to come, as if they were like those so far.
    pub(super) fn expect_more(&mut self) {
        let so_far = self.places.len().max(1);
        let to_come = self.places.capacity() - self.places.len();
        let expected = self.values.len() * to_come / so_far;
        self.values.reserve(expected.min(self.values_bytes_max));
    }

    pub(super) fn finish(self) -> Found {
        Found { values: Bytes::from(self.values), places: self.places }
    }
}

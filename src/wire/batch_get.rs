//! The messages of BatchGet, by hand.

use bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, encode_varint, encoded_len_varint};
use prost::encoding::{int32, message, skip_field, string};
use prost::{DecodeError, Message};
use prost_types::{Duration, Timestamp};

use super::texts::Texts;
use super::v1::BatchGetResult;

/// Request of KeyValueService.BatchGet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchGetRequest {
    /// The namespace to read.
    pub namespace: String,
    /// The keys to read, 1 to 1000; repeats are allowed.
    pub keys: Texts,
    /// What to return: an `EntryView`. Default: `ENTRY_VIEW_FULL`.
    pub view: i32,
}

const NAMESPACE: u32 = 1;
const KEYS: u32 = 2;
const KEYS_HEAD: u8 = head(2, WireType::LengthDelimited);
const VIEW: u32 = 3;
/// Bytes of any tag below 16.
const TAG_BYTES: usize = 1;

impl Message for BatchGetRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.namespace.is_empty() {
            string::encode(NAMESPACE, &self.namespace, buf);
        }
        self.keys.encode(KEYS, buf);
        if self.view != 0 {
            int32::encode(VIEW, &self.view, buf);
        }
    }

    #[inline]
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let (merged, field) = match tag {
            NAMESPACE => (string::merge(wire_type, &mut self.namespace, buf, context), "namespace"),
            KEYS => (self.keys.merge_some(KEYS_HEAD, wire_type, buf, context), "keys"),
            VIEW => (int32::merge(wire_type, &mut self.view, buf, context), "view"),
            _ => return skip_field(wire_type, tag, buf, context),
        };
        merged.map_err(|error| at(error, "BatchGetRequest", field))
    }

    fn encoded_len(&self) -> usize {
        let namespace = match self.namespace.is_empty() {
            true => 0,
            false => string::encoded_len(NAMESPACE, &self.namespace),
        };
        let view = if self.view == 0 { 0 } else { int32::encoded_len(VIEW, &self.view) };
        namespace + self.keys.encoded_len(TAG_BYTES) + view
    }

    fn clear(&mut self) {
        *self = BatchGetRequest::default();
    }
}

/// Says in which field of which message something is wrong.
fn at(mut error: DecodeError, message: &'static str, field: &'static str) -> DecodeError {
    error.push(message, field);
    error
}

/// Response of KeyValueService.BatchGet: one result for each key, in the order of the request.
///
/// It keeps them as the bytes they are on the wire, so that an entry is written once, where it is
/// found, and neither measured nor copied as a message.
#[derive(Clone, Default, PartialEq)]
pub struct BatchGetResponse {
    /// Fields with the tag [`RESULTS`], nothing else.
    bytes: Vec<u8>,
}

/// An entry for a [`BatchGetResponse`]. What is empty, zero or `None` takes no room.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryFields<'a> {
    /// As in `Entry`.
    pub key: &'a str,
    /// As in `Entry`.
    pub value: &'a [u8],
    /// As in `Entry`.
    pub version: i64,
    /// As in `Entry`.
    pub expire_time: Option<Timestamp>,
    /// As in `Entry`.
    pub ttl: Option<Duration>,
    /// As in `Entry`.
    pub update_time: Option<Timestamp>,
    /// As in `Entry`.
    pub size_bytes: i64,
}

const RESULTS: u32 = 1;
/// A field's first byte: its tag, and what follows.
const fn head(tag: u8, wire_type: WireType) -> u8 {
    tag << 3 | wire_type as u8
}

const RESULT: u8 = head(1, WireType::LengthDelimited);
const ENTRY: u8 = head(1, WireType::LengthDelimited);
const ENTRY_KEY: u8 = head(1, WireType::LengthDelimited);
const ENTRY_VALUE: u8 = head(2, WireType::LengthDelimited);
const ENTRY_VERSION: u8 = head(3, WireType::Varint);
const ENTRY_EXPIRE_TIME: u32 = 4;
const ENTRY_TTL: u32 = 5;
const ENTRY_UPDATE_TIME: u32 = 6;
const ENTRY_SIZE_BYTES: u8 = head(7, WireType::Varint);

impl BatchGetResponse {
    /// An empty one with room for `bytes` bytes of message.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> BatchGetResponse {
        BatchGetResponse { bytes: Vec::with_capacity(bytes) }
    }

    /// Adds the result for the next key.
    #[inline]
    pub fn push(&mut self, entry: Option<&EntryFields<'_>>) {
        let buf = &mut self.bytes;
        let Some(entry) = entry else {
            buf.extend_from_slice(&[RESULT, 0]);
            return;
        };
        let entry_bytes = entry.encoded_len();
        let result_bytes = TAG_BYTES + encoded_len_varint(entry_bytes as u64) + entry_bytes;
        buf.push(RESULT);
        put_varint(result_bytes as u64, buf);
        buf.push(ENTRY);
        put_varint(entry_bytes as u64, buf);
        entry.encode(buf);
    }

    /// The results as messages.
    #[must_use]
    pub fn results(&self) -> Vec<BatchGetResult> {
        let mut decoded = Decoded::default();
        decoded.merge(&*self.bytes).expect("only results are kept");
        decoded.results
    }
}

/// Adds a number, which nearly always takes a byte or two.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_varint(number: u64, buf: &mut Vec<u8>) {
    match number {
        0..0x80 => buf.push(number as u8),
        0x80..0x4000 => buf.extend_from_slice(&[number as u8 | 0x80, (number >> 7) as u8]),
        0x4000.. => encode_varint(number, buf),
    }
}

impl EntryFields<'_> {
    #[inline]
    fn encoded_len(&self) -> usize {
        let text = |bytes: usize| match bytes {
            0 => 0,
            bytes => TAG_BYTES + encoded_len_varint(bytes as u64) + bytes,
        };
        let number = |number: i64| match number {
            0 => 0,
            number => TAG_BYTES + encoded_len_varint(number.cast_unsigned()),
        };
        let moment = |tag, moment: &Option<Timestamp>| {
            moment.as_ref().map_or(0, |moment| message::encoded_len(tag, moment))
        };
        text(self.key.len())
            + text(self.value.len())
            + number(self.version)
            + moment(ENTRY_EXPIRE_TIME, &self.expire_time)
            + self.ttl.as_ref().map_or(0, |ttl| message::encoded_len(ENTRY_TTL, ttl))
            + moment(ENTRY_UPDATE_TIME, &self.update_time)
            + number(self.size_bytes)
    }

    #[inline]
    fn encode(&self, buf: &mut Vec<u8>) {
        for (head, bytes) in [(ENTRY_KEY, self.key.as_bytes()), (ENTRY_VALUE, self.value)] {
            if !bytes.is_empty() {
                buf.push(head);
                put_varint(bytes.len() as u64, buf);
                buf.extend_from_slice(bytes);
            }
        }
        if self.version != 0 {
            buf.push(ENTRY_VERSION);
            put_varint(self.version.cast_unsigned(), buf);
        }
        if let Some(moment) = &self.expire_time {
            message::encode(ENTRY_EXPIRE_TIME, moment, buf);
        }
        if let Some(ttl) = &self.ttl {
            message::encode(ENTRY_TTL, ttl, buf);
        }
        if let Some(moment) = &self.update_time {
            message::encode(ENTRY_UPDATE_TIME, moment, buf);
        }
        if self.size_bytes != 0 {
            buf.push(ENTRY_SIZE_BYTES);
            put_varint(self.size_bytes.cast_unsigned(), buf);
        }
    }
}

impl Message for BatchGetResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.bytes);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != RESULTS {
            return skip_field(wire_type, tag, buf, context);
        }
        let mut result = BatchGetResult::default();
        let merged = message::merge(wire_type, &mut result, buf, context);
        merged.map_err(|error| at(error, "BatchGetResponse", "results"))?;
        message::encode(RESULTS, &result, &mut self.bytes);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl std::fmt::Debug for BatchGetResponse {
    /// Shows its size only: the rest is tenant data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchGetResponse({} bytes)", self.bytes.len())
    }
}

/// The response as it would be generated.
#[derive(Clone, PartialEq, Message)]
struct Decoded {
    #[prost(message, repeated, tag = "1")]
    results: Vec<BatchGetResult>,
}

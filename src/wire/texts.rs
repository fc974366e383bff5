//! A repeated text field whose texts lie end to end.

use bytes::{Buf, BufMut};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, string,
};

/// Most bytes of text that room is made for before they are seen: a list of a thousand short ones.
const RESERVED_BYTES_MAX: usize = 16 << 10;
/// What a short text has before it: a tag and its length.
const FRAMING_BYTES: usize = 2;

/// Texts in an order, in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Texts {
    text: String,
    /// Where in `text` each ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        // A message is far smaller; what is not cannot be sent either.
        self.ends.push(u32::try_from(self.text.len()).expect("texts of one message fit 4 GiB"));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start as usize..*end as usize])
    }

    /// All of them end to end, and where each ends.
    #[must_use]
    pub fn into_parts(self) -> (String, Vec<u32>) {
        (self.text, self.ends)
    }

    /// Reads one more text from the wire.
    ///
    /// Errors: it is cut short or no UTF-8; then nothing was added.
    pub(super) fn merge_one(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if let Some(text) = short_text(wire_type, buf.chunk()) {
            if self.ends.is_empty() {
                // Most of what is left of a message that begins with texts is texts like this one.
                let bytes = buf.remaining().min(RESERVED_BYTES_MAX);
                self.text.reserve(bytes);
                self.ends.reserve(bytes / (text.len() + FRAMING_BYTES));
            }
            self.push(text);
            let bytes = text.len() + 1;
            buf.advance(bytes);
            return Ok(());
        }
        let mut text = String::new();
        string::merge(wire_type, &mut text, buf, context)?;
        self.push(&text);
        Ok(())
    }

    pub(super) fn encode(&self, tag: u32, buf: &mut impl BufMut) {
        for text in self.iter() {
            encode_key(tag, WireType::LengthDelimited, buf);
            encode_varint(text.len() as u64, buf);
            buf.put_slice(text.as_bytes());
        }
    }

    pub(super) fn encoded_len(&self, tag_bytes: usize) -> usize {
        let lengths = self.iter().map(|text| tag_bytes + encoded_len_varint(text.len() as u64));
        lengths.sum::<usize>() + self.text.len()
    }
}

/// The text that `bytes` begin with, if it is one whose length takes one byte, whole and good.
#[inline]
fn short_text(wire_type: WireType, bytes: &[u8]) -> Option<&str> {
    let (length, rest) = bytes.split_first()?;
    if wire_type != WireType::LengthDelimited || *length >= 0x80 {
        return None;
    }
    std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Texts {
        let mut all = Texts::default();
        for text in texts {
            all.push(text.as_ref());
        }
        all
    }
}

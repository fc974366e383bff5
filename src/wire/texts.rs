//! A repeated text field whose texts lie end to end.

use bytes::{Buf, BufMut};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, string,
};

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

    /// Reads one more text from the wire, and those that follow it there as the same field, which
    /// begin with `head`.
    ///
    /// Errors: the first is cut short or no UTF-8; then nothing was added.
    pub(super) fn merge_some(
        &mut self,
        head: u8,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if wire_type == WireType::LengthDelimited {
            let taken = self.take_short(head, buf.chunk());
            if taken > 0 {
                buf.advance(taken);
                return Ok(());
            }
        }
        let mut text = String::new();
        string::merge(wire_type, &mut text, buf, context)?;
        self.push(&text);
        Ok(())
    }

    /// Adds the good texts that `bytes` begin with and whose lengths take one byte; returns how many
    /// bytes they are.
    ///
    /// Lengths and heads are ASCII, so what is UTF-8 as a whole is so text by text, and one look at
    /// all of it does.
    fn take_short(&mut self, head: u8, bytes: &[u8]) -> usize {
        let (extent, count) = short_texts(head, bytes);
        let good = match std::str::from_utf8(&bytes[..extent]) {
            Ok(good) => good,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        self.text.reserve(good.len());
        self.ends.reserve(count);
        let mut taken = 0;
        for _ in 0..count {
            // Behind each text but the last is the head of the next.
            let at = if taken == 0 { 0 } else { taken + 1 };
            let end = at + 1 + usize::from(bytes[at]);
            let Some(text) = good.get(at + 1..end) else { break };
            self.push(text);
            taken = end;
        }
        taken
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

/// How many bytes of `bytes` are whole texts whose lengths take one byte, `head` before each but the
/// first; and how many texts.
#[inline]
fn short_texts(head: u8, bytes: &[u8]) -> (usize, usize) {
    let (mut at, mut extent, mut count) = (0, 0, 0);
    while let Some(length) = bytes.get(at)
        && *length < 0x80
        && at + 1 + usize::from(*length) <= bytes.len()
    {
        extent = at + 1 + usize::from(*length);
        count += 1;
        if bytes.get(extent) != Some(&head) {
            break;
        }
        at = extent + 1;
    }
    (extent, count)
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

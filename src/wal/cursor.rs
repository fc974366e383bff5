//! Numbers, times and texts: the small pieces that payloads and manifests are made of.

use crate::model::{NamespaceId, UnixMillis, Version};

pub(super) fn put_time(out: &mut Vec<u8>, time: UnixMillis) {
    out.extend_from_slice(&time.as_millis().to_le_bytes()[..6]);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// What is left of a payload. Every question is answered with `None` where the bytes do not hold it.
#[derive(Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(super) fn fixed(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn fixed_u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn time(&mut self) -> Option<UnixMillis> {
        let mut millis = [0; 8];
        millis[..6].copy_from_slice(self.take(6)?);
        Some(UnixMillis::from_millis(u64::from_le_bytes(millis)))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(super) fn namespace(&mut self) -> Option<NamespaceId> {
        Some(NamespaceId(u32::try_from(self.number()?).ok()?))
    }

    pub(super) fn version(&mut self) -> Option<Version> {
        Some(Version(self.number()?)).filter(|version| *version <= Version::MAX)
    }

    /// The outer `None`: the bytes end. The inner: there is none.
    pub(super) fn time_if(&mut self, present: bool) -> Option<Option<UnixMillis>> {
        if present { self.time().map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_and_an_endless_one_is_not() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            let mut bytes = Bytes(&out);
            assert_eq!((bytes.number(), bytes.0.len()), (Some(number), 0));
        }
        assert_eq!(Bytes(&[0xff; 11]).number(), None);
        assert_eq!(Bytes(&[0x80]).number(), None);
    }
}

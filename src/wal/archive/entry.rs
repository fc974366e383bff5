//! One entry as bytes.

use crate::model::{KEY_BYTES_MAX, UnixMillis, VALUE_BYTES_HARD_MAX, Version};
use crate::wal::cursor::{Bytes, put_number, put_time};

const HAS_DEADLINE: u8 = 1;

/// An entry of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 1 to 4096 bytes.
    pub key: &'a str,
    /// At most 3 MiB.
    pub value: &'a [u8],
    /// The version it had, which tells the order of writes in its namespace.
    pub version: Version,
    /// When its value was written.
    pub written: UnixMillis,
    /// When it stops being readable; `None`: never.
    pub deadline: Option<UnixMillis>,
}

impl<'a> Entry<'a> {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.deadline.is_some() { HAS_DEADLINE } else { 0 });
        put_number(out, self.version.0);
        put_time(out, self.written);
        if let Some(deadline) = self.deadline {
            put_time(out, deadline);
        }
        put_number(out, self.key.len() as u64);
        put_number(out, self.value.len() as u64);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.value);
    }

    /// Reads the entry that `bytes` begins with; what follows it is left over. `None`: there is none
    /// that keeps the limits of the model.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<(Entry<'a>, &'a [u8])> {
        let mut bytes = Bytes(bytes);
        let flags = bytes.byte()?;
        if flags & !HAS_DEADLINE != 0 {
            return None;
        }
        let version = bytes.version()?;
        let written = bytes.time()?;
        let deadline = bytes.time_if(flags & HAS_DEADLINE != 0)?;
        let key_bytes = usize::try_from(bytes.number()?).ok()?;
        let value_bytes = usize::try_from(bytes.number()?).ok()?;
        if !(1..=KEY_BYTES_MAX).contains(&key_bytes) || value_bytes > VALUE_BYTES_HARD_MAX {
            return None;
        }
        let key = std::str::from_utf8(bytes.take(key_bytes)?).ok()?;
        let value = bytes.take(value_bytes)?;
        Some((Entry { key, value, version, written, deadline }, bytes.rest()))
    }
}

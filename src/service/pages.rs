//! Page tokens: where a list goes on, and proof that it is the same list.
//!
//! Shape: one byte of format, four of CRC-32C over the list and the place, then the place without
//! the list's prefix, all in lower-case hexadecimal. A token holds nothing secret and grants
//! nothing: whoever sends one could have listed the same. The checksum is there so that a token of
//! another list is refused instead of skipping entries in silence. It means the same to every
//! server and after every restart.

use std::fmt::Write;

use crate::store::View;

/// The first byte of every token; another one is another format.
const FORMAT: u8 = 1;
/// Bytes in front of the place.
const HEAD_BYTES: usize = 5;

/// The list that a page is of: everything that must be the same from page to page.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageOf<'a> {
    /// Entries of a namespace.
    Entries { namespace: &'a str, prefix: &'a str, view: View },
    /// Namespaces.
    Namespaces { prefix: &'a str },
}

impl PageOf<'_> {
    fn prefix(&self) -> &str {
        match self {
            PageOf::Entries { prefix, .. } | PageOf::Namespaces { prefix } => prefix,
        }
    }

    fn checksum(&self, rest: &str) -> u32 {
        let (kind, namespace, prefix) = match *self {
            PageOf::Entries { namespace, prefix, view } => (view_byte(view), namespace, prefix),
            PageOf::Namespaces { prefix } => (b'n', "", prefix),
        };
        // Lengths in between: "a" + "bc" is not "ab" + "c".
        let mut sum = crc32c::crc32c(&[FORMAT, kind]);
        for text in [namespace, prefix, rest] {
            sum = crc32c::crc32c_append(sum, &text.len().to_le_bytes());
            sum = crc32c::crc32c_append(sum, text.as_bytes());
        }
        sum
    }
}

const fn view_byte(view: View) -> u8 {
    match view {
        View::Key => b'k',
        View::Metadata => b'm',
        View::Value => b'v',
        View::Full => b'f',
    }
}

/// The token for the page of `list` behind `last`, which starts with the list's prefix.
pub(super) fn token(list: PageOf<'_>, last: &str) -> String {
    let rest = last.strip_prefix(list.prefix()).unwrap_or(last);
    let sum = list.checksum(rest).to_be_bytes();
    let mut token = String::with_capacity(2 * (HEAD_BYTES + rest.len()));
    for byte in [FORMAT].iter().chain(&sum).chain(rest.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// Where `token` says to go on; `None` if it is not a token of `list`.
pub(super) fn open(token: &str, list: PageOf<'_>) -> Option<String> {
    let bytes = from_hex(token)?;
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (&format, sum) = head.split_first()?;
    let rest = std::str::from_utf8(rest).ok()?;
    let known = format == FORMAT && sum == list.checksum(rest).to_be_bytes();
    known.then(|| format!("{}{rest}", list.prefix()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
    digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: PageOf<'_> =
        PageOf::Entries { namespace: "acme", prefix: "user:", view: View::Metadata };

    #[test]
    fn a_token_leads_back_to_where_its_list_stopped() {
        for last in
            ["user:", "user:1", "user:ü€😀", "user:\0\n", &format!("user:{}", "k".repeat(4091))]
        {
            assert_eq!(open(&token(LIST, last), LIST).as_deref(), Some(last));
        }
        let all = PageOf::Namespaces { prefix: "" };
        assert_eq!(open(&token(all, "zebra"), all).as_deref(), Some("zebra"));
    }

    #[test]
    fn a_token_of_another_list_is_none() {
        let token = token(LIST, "user:1");
        let entries = |namespace, prefix, view| PageOf::Entries { namespace, prefix, view };
        for other in [
            entries("acne", "user:", View::Metadata),
            entries("acme", "user", View::Metadata),
            entries("acme", "", View::Metadata),
            entries("acme", "user:", View::Full),
            entries("acmeu", "ser:", View::Metadata),
            PageOf::Namespaces { prefix: "user:" },
        ] {
            assert_eq!(open(&token, other), None, "{other:?}");
        }
    }

    #[test]
    fn a_changed_token_is_none() {
        let good = token(LIST, "user:12");
        for index in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[index] = if bad[index] == b'0' { b'1' } else { b'0' };
            assert_eq!(open(std::str::from_utf8(&bad).unwrap(), LIST), None, "digit {index}");
            assert_eq!(open(&good[..index], LIST), None, "cut at {index}");
        }
        for junk in
            ["0", "zz", "ü", "0x", &"00".repeat(5), &good.to_uppercase(), &format!("{good} ")]
        {
            let same = *junk == good;
            assert_eq!(open(junk, LIST).is_some(), same, "{junk}");
        }
    }
}

//! Names for requests, by which a caller, a log and a person can speak of the same one.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name that is taken over.
const LENGTH_MAX: usize = 128;

/// The name that a request brings along, if it is fit to be shown.
pub fn brought(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID).filter(|value| is_fit(value.as_bytes()))
}

/// That, or else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    brought(headers).cloned().unwrap_or_else(next)
}

fn is_fit(name: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

/// A name that no other request has, of this process or another.
pub(super) fn next() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The only randomness of the standard library.
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one("process"));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = Vec::with_capacity(32);
    for word in [*process, count] {
        for byte in word.to_be_bytes() {
            name.extend(
                [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]),
            );
        }
    }
    let name = HeaderValue::from_maybe_shared(Bytes::from(name));
    name.unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_name_is_kept_and_any_other_replaced() {
        let named = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_bytes(name.as_bytes()).unwrap());
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(named("abc-1"), "abc-1");
        for name in ["", "a b", "€", &"x".repeat(LENGTH_MAX + 1)] {
            assert_eq!(named(name).len(), 32, "{name}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}

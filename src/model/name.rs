//! Names of namespaces and keys: their limits live in the constructors.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 4096;
/// Longest namespace name, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Largest value unless a policy says otherwise: 1 MiB.
pub const VALUE_BYTES_DEFAULT_MAX: usize = 1 << 20;
/// Largest value any policy may allow: 3 MiB, so that a response with it stays below 4 MiB.
pub const VALUE_BYTES_HARD_MAX: usize = 3 << 20;

/// Why a text is not a namespace name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`NAMESPACE_BYTES_MAX`] bytes.
    #[error("must be at most {NAMESPACE_BYTES_MAX} bytes, this has {bytes}")]
    TooLong {
        /// Bytes in the refused text.
        bytes: usize,
    },
    /// A character outside the allowed set, or a first one that is no letter or digit.
    #[error("must be of A-Z a-z 0-9 . _ : - and begin with a letter or digit")]
    Character,
}

/// The name of a namespace: 1 to 128 of `A-Z a-z 0-9 . _ : -`, first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName(Arc<str>);

impl NamespaceName {
    /// The namespace that always exists, and the one an empty name on the wire means.
    pub const DEFAULT: &'static str = "default";

    /// Checks `text`.
    ///
    /// # Errors
    /// [`NameError`], the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<NamespaceName, NameError> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
        let bytes = text.as_bytes();
        match bytes.first() {
            None => Err(NameError::Empty),
            Some(_) if bytes.len() > NAMESPACE_BYTES_MAX => {
                Err(NameError::TooLong { bytes: bytes.len() })
            }
            Some(first) if first.is_ascii_alphanumeric() && bytes.iter().all(allowed) => {
                Ok(NamespaceName(Arc::from(text)))
            }
            Some(_) => Err(NameError::Character),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the namespace that always exists.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl Default for NamespaceName {
    fn default() -> Self {
        NamespaceName(Arc::from(Self::DEFAULT))
    }
}

impl Borrow<str> for NamespaceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace inside the log: a number given once and never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u32);

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`KEY_BYTES_MAX`] bytes.
    #[error("must be at most {KEY_BYTES_MAX} bytes, this has {bytes}")]
    TooLong {
        /// Bytes in the refused text.
        bytes: usize,
    },
}

/// A key: 1 to [`KEY_BYTES_MAX`] bytes of UTF-8, compared byte by byte.
///
/// Its `Debug` form shows the length only: a key is tenant data and has no place in a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Checks `text`, without copying it.
    ///
    /// # Errors
    /// [`KeyError`] if it is empty or too long.
    pub fn parse(text: String) -> Result<Key, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > KEY_BYTES_MAX => Err(KeyError::TooLong { bytes }),
            _ => Ok(Key(text)),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as owned text, without copying it.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_name_is_refused_for_the_first_rule_it_breaks() {
        let check = |text: &str, expected: Result<(), NameError>| {
            assert_eq!(NamespaceName::parse(text).map(|_| ()), expected, "{text:?}");
        };
        for good in ["a", "0", "myapp:production", "A.b_c-d:e", &"x".repeat(128)] {
            check(good, Ok(()));
        }
        check("", Err(NameError::Empty));
        check(&"x".repeat(129), Err(NameError::TooLong { bytes: 129 }));
        for bad in ["-a", ":a", ".", "a b", "a/b", "ä", "a\0", "a\n"] {
            check(bad, Err(NameError::Character));
        }
    }

    #[test]
    fn a_key_is_one_to_4096_bytes() {
        let check = |text: String, expected: Result<(), KeyError>| {
            assert_eq!(Key::parse(text).map(|_| ()), expected);
        };
        check("k".into(), Ok(()));
        check("\0\n ü}{*?[\\".into(), Ok(()));
        check("k".repeat(KEY_BYTES_MAX), Ok(()));
        check(String::new(), Err(KeyError::Empty));
        check("k".repeat(4097), Err(KeyError::TooLong { bytes: 4097 }));
        check("ü".repeat(2049), Err(KeyError::TooLong { bytes: 4098 }));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", Key::parse("secret".into()).unwrap()), "Key(6 bytes)");
    }
}

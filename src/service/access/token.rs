//! Tokens: what a caller shows to be known.
//!
//! Shape: `kv1_<id>_<secret>`; the id is 24 hexadecimal digits and no secret, the secret 43 characters of
//! base64url, 256 random bits. So a fast digest is enough at rest: nobody guesses one.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

const SCHEME: &str = "kv1_";
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
const DIGEST_BYTES: usize = 32;

/// The part of a token that is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; ID_BYTES]);

impl TokenId {
    /// Reads 24 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<TokenId> {
        from_hex(text).map(TokenId)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The SHA-256 of a whole token, all that is kept of it.
#[derive(Clone, Copy)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// Of which nothing is known: compared like any other, and never equal to that of a token.
    pub(super) const NONE: Digest = Digest([0; DIGEST_BYTES]);

    /// The digest of `token`.
    #[must_use]
    pub fn of(token: &[u8]) -> Digest {
        let mut bytes = [0; DIGEST_BYTES];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Digest(bytes)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Digest> {
        from_hex(text).map(Digest)
    }

    /// Whether they are the same, in the same time whether or not they are.
    pub(super) fn is(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// A new token, to be shown to its owner once.
pub struct Token {
    /// Its public part.
    pub id: TokenId,
    text: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Token {
    /// A token that there has never been. None where the system gives no random bytes.
    #[must_use]
    pub fn mint() -> Option<Token> {
        let random = SystemRandom::new();
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        random.fill(&mut id).ok()?;
        random.fill(&mut secret).ok()?;
        let id = TokenId(id);
        let text = format!("{SCHEME}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        Some(Token { id, text })
    }

    /// What its owner shows.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// The id in something that has the form of a token.
pub(super) fn id_in(text: &str) -> Option<TokenId> {
    let (id, secret) = text.strip_prefix(SCHEME)?.split_once('_')?;
    (secret.len() == SECRET_CHARS).then(|| TokenId::parse(id)).flatten()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

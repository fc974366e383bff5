//! Everybody who is known.

use std::sync::Arc;

use ahash::AHashMap;

use super::principal::Principal;
use super::token::{Digest, TokenId, id_in};
use crate::model::UnixMillis;

/// What somebody is known by.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token.
    Token {
        /// Its public part.
        id: TokenId,
        /// What is kept of the whole.
        digest: Digest,
        /// When it ends; never, unless it says so.
        expires: Option<UnixMillis>,
    },
    /// A certificate with this DNS name or URI among its alternative names.
    Certificate(String),
}

/// Somebody, and what he is known by.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What he is known by.
    pub credential: Credential,
    /// Who it is.
    pub principal: Principal,
}

/// Everybody who is known, by what he shows.
#[derive(Debug, Default)]
pub struct Directory {
    tokens: AHashMap<TokenId, Entry>,
    certificates: AHashMap<String, Arc<Principal>>,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    expires: Option<UnixMillis>,
    principal: Arc<Principal>,
}

/// What a caller was recognised by, to be asked again later. Holds no secret.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    Token(TokenId, Digest),
    Certificate(String),
}

impl Directory {
    /// A directory of these; of two with the same id or name, the later one holds.
    pub fn new(listed: impl IntoIterator<Item = Listed>) -> Directory {
        let mut directory = Directory::default();
        for Listed { credential, principal } in listed {
            let principal = Arc::new(principal);
            match credential {
                Credential::Token { id, digest, expires } => {
                    directory.tokens.insert(id, Entry { digest, expires, principal });
                }
                Credential::Certificate(name) => {
                    directory.certificates.insert(name, principal);
                }
            }
        }
        directory
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who shows `token` at `now`, with what to ask again by. What does not fit takes as long as what
    /// does.
    pub(super) fn by_token(&self, token: &str, now: UnixMillis) -> Option<(Arc<Principal>, Shown)> {
        let id = id_in(token);
        let digest = Digest::of(token.as_bytes());
        let entry = id.as_ref().and_then(|id| self.tokens.get(id));
        let is_right = entry.map_or(&Digest::NONE, |entry| &entry.digest).is(&digest);
        let entry = entry.filter(|entry| is_right && entry.is_valid(now))?;
        Some((Arc::clone(&entry.principal), Shown::Token(id?, digest)))
    }

    /// Who shows a certificate with these names; the first that is known.
    pub(super) fn by_certificate(&self, names: &[String]) -> Option<(Arc<Principal>, Shown)> {
        names.iter().find_map(|name| {
            let principal = self.certificates.get(name)?;
            Some((Arc::clone(principal), Shown::Certificate(name.clone())))
        })
    }

    /// Who shows now what was shown then.
    pub(super) fn again(&self, shown: &Shown, now: UnixMillis) -> Option<&Arc<Principal>> {
        match shown {
            Shown::Token(id, digest) => {
                let entry = self.tokens.get(id)?;
                (entry.digest.is(digest) && entry.is_valid(now)).then_some(&entry.principal)
            }
            Shown::Certificate(name) => self.certificates.get(name),
        }
    }
}

impl Entry {
    fn is_valid(&self, now: UnixMillis) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

//! Somebody known, and what he was granted.

use std::fmt;

use crate::model::NamespaceName;
use crate::service::Role;

/// Which namespaces a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All, and the server as a whole.
    Any,
    /// Those whose name begins so.
    Prefix(String),
    /// The one of this name.
    Name(NamespaceName),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a namespace, the beginning of one with a \"*\" behind it, or \"*\"")]
pub struct PatternError;

impl Pattern {
    /// Reads "acme", "acme-*" or "*".
    ///
    /// Errors: it is none of these.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        match text.strip_suffix('*') {
            Some("") => Ok(Pattern::Any),
            Some(prefix) => match NamespaceName::parse(prefix) {
                Ok(_) => Ok(Pattern::Prefix(prefix.to_owned())),
                Err(_) => Err(PatternError),
            },
            None => NamespaceName::parse(text).map(Pattern::Name).map_err(|_| PatternError),
        }
    }

    /// Whether a namespace is one of them.
    fn fits(&self, namespace: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Prefix(prefix) => namespace.starts_with(prefix.as_str()),
            Pattern::Name(name) => name.as_str() == namespace,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Any => f.write_str("*"),
            Pattern::Prefix(prefix) => write!(f, "{prefix}*"),
            Pattern::Name(name) => f.write_str(name.as_str()),
        }
    }
}

/// A role on some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// On which.
    pub namespaces: Vec<Pattern>,
    /// Which.
    pub role: Role,
}

/// Somebody known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What to call him in a log.
    pub name: String,
    /// All he was granted.
    pub grants: Vec<Grant>,
}

impl Principal {
    /// His role on a namespace.
    #[must_use]
    pub fn role_on(&self, namespace: &str) -> Option<Role> {
        self.role_where(|pattern| pattern.fits(namespace))
    }

    /// His role on the server as a whole.
    #[must_use]
    pub fn role_on_server(&self) -> Option<Role> {
        self.role_where(|pattern| *pattern == Pattern::Any)
    }

    /// The largest role he has on anything.
    #[must_use]
    pub fn role_anywhere(&self) -> Option<Role> {
        self.role_where(|_| true)
    }

    fn role_where(&self, fits: impl Fn(&Pattern) -> bool) -> Option<Role> {
        let granted = self.grants.iter().filter(|grant| grant.namespaces.iter().any(&fits));
        granted.map(|grant| grant.role).max()
    }

    /// Whether he may still do all that `before` might, as far as the patterns tell.
    pub(super) fn covers(&self, before: &Principal) -> bool {
        before.grants.iter().all(|old| {
            old.namespaces.iter().all(|pattern| {
                self.grants
                    .iter()
                    .any(|new| new.role >= old.role && new.namespaces.contains(pattern))
            })
        })
    }
}

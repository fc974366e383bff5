//! What changed: the only vocabulary that engine and log share.

use std::borrow::Cow;

use super::{Definition, NamespaceId, UnixMillis};

/// The number of a change in its namespace: 1, 2, 3 ...; fits 56 bits and never goes back.
///
/// It is the compare-and-set token, the fence of a lock, the ETag and the position of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The last version there can be: 2^56 - 1, two thousand years at a million changes a second.
    pub const MAX: Version = Version((1 << 56) - 1);

    /// The version of the next change.
    #[must_use]
    pub const fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

/// Why an entry went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A caller asked for it.
    Deleted,
    /// Its time was up.
    Expired,
    /// Memory was short.
    Evicted,
}

/// One change to one namespace, already ruled upon: a fact, not a wish.
///
/// It borrows keys and values from the request that caused it, or from the log it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation<'a> {
    /// The number this change took.
    pub version: Version,
    /// What it did.
    pub change: Change<'a>,
}

/// What a [`Mutation`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The entry was written, whole.
    Set {
        /// 1 to 4096 bytes.
        key: Cow<'a, str>,
        /// At most 3 MiB.
        value: Cow<'a, [u8]>,
        /// When it stops being readable; `None`: never.
        deadline: Option<UnixMillis>,
        /// When it was written.
        written: UnixMillis,
    },
    /// The deadline was moved; the value stays.
    Touch {
        /// The entry's key.
        key: Cow<'a, str>,
        /// The new deadline; `None`: never.
        deadline: Option<UnixMillis>,
    },
    /// The entry is gone.
    Remove {
        /// The entry's key.
        key: Cow<'a, str>,
        /// Why.
        cause: Cause,
    },
    /// Every entry of an earlier version is gone.
    Clear,
}

impl Change<'_> {
    /// Bytes of its key and its value.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Change::Set { key, value, .. } => key.len() + value.len(),
            Change::Touch { key, .. } | Change::Remove { key, .. } => key.len(),
            Change::Clear => 0,
        };
        bytes as u64
    }
}

/// What the log remembers: one fact is one atomic record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// One client operation on one namespace with everything it caused, in order.
    Changed {
        /// Where.
        namespace: NamespaceId,
        /// What, evictions included.
        mutations: Cow<'a, [Mutation<'a>]>,
    },
    /// A namespace came into being, or its definition changed.
    Defined(Cow<'a, Definition>),
    /// A namespace and everything in it is gone.
    Dropped {
        /// Which; its number is never given again.
        namespace: NamespaceId,
        /// Where its versions ended; a new namespace of that name goes on behind it.
        version: Version,
    },
    /// Versions up to and including this one may be handed out without being logged one by one.
    Reserved {
        /// Where.
        namespace: NamespaceId,
        /// The last version covered.
        through: Version,
    },
    /// The last version given so far is exactly this one, and every change after it is logged: what
    /// a watch can resume from begins here.
    Reached {
        /// Where.
        namespace: NamespaceId,
        /// The version.
        version: Version,
    },
    /// Settings changed at run time that are to be kept: an opaque text of the layer above; the
    /// last one holds.
    Settings(Cow<'a, [u8]>),
}

//! The nouns: what a namespace, a key, an entry, a moment and a change are.
//!
//! # How it works
//! Text and numbers from outside are parsed once, at the edge, into types that cannot be wrong;
//! inside, nothing is checked twice. [`Mutation`] and [`Fact`] are the only vocabulary that the
//! engine and the log share, so that live traffic and recovery take the same path.
//!
//! # Why
//! Limits live in constructors. A limit that lives in a handler is forgotten by the next handler.
//!
//! # Invariants
//! A [`Key`] is 1 to [`KEY_BYTES_MAX`] bytes of UTF-8; a [`UnixMillis`] fits 48 bits; a [`Version`]
//! fits 56. Nothing here knows a clock, a file, a lock or a wire format.
//!
//! # Not here
//! What a command may do: `engine`. What bytes it becomes on disk: `wal`; on the wire: `service`.

mod keys;
mod mutation;
mod name;
mod namespace;
mod time;

pub use keys::Keys;
pub use mutation::{Cause, Change, Fact, Mutation, Version};
pub use name::{
    KEY_BYTES_MAX, Key, KeyError, NAMESPACE_BYTES_MAX, NameError, NamespaceId, NamespaceName,
    VALUE_BYTES_DEFAULT_MAX, VALUE_BYTES_HARD_MAX,
};
pub use namespace::{
    Bound, DESCRIPTION_BYTES_MAX, Definition, Durability, Eviction, LABEL_BYTES_MAX, LABELS_MAX,
    Lifetime, Policy, Rules, WATCH_HISTORY_EVENTS_MAX,
};
pub use time::{Ttl, TtlError, UnixMillis};

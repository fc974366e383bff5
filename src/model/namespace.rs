//! What a namespace is: its definition, the policy as written, and the rules that follow from it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::{
    NamespaceId, NamespaceName, Ttl, UnixMillis, VALUE_BYTES_DEFAULT_MAX, VALUE_BYTES_HARD_MAX,
    Version,
};

/// Longest description of a namespace, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Most labels of a namespace.
pub const LABELS_MAX: usize = 32;
/// Longest key or value of a label, in bytes; a key has at least one.
pub const LABEL_BYTES_MAX: usize = 63;
/// Most past changes that a policy may keep for watches.
pub const WATCH_HISTORY_EVENTS_MAX: u32 = 1_000_000;

/// An upper bound, or the word that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At most this many.
    AtMost(NonZeroU64),
    /// No bound.
    Unlimited,
}

/// A time to live, or the word that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// This long.
    Ttl(Ttl),
    /// No end.
    Unlimited,
}

/// What happens when a write would exceed a limit of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The entries not used for longest go.
    Lru,
    /// Nothing goes; the write is refused.
    None,
}

/// How safe a write is before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Never written to disk; gone after a restart.
    Memory,
    /// In the log when acknowledged, on disk within the flush interval.
    Async,
    /// On disk when acknowledged.
    Sync,
}

/// A namespace's policy as its owner wrote it. `None`: as the server's default policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most entries at a time.
    pub keys_max: Option<Bound>,
    /// Most bytes at a time, as charged.
    pub bytes_max: Option<Bound>,
    /// Most bytes in one value, up to the hard limit.
    pub value_bytes_max: Option<u32>,
    /// Time to live of an entry written without an expiration.
    pub ttl_default: Option<Lifetime>,
    /// No entry may live longer than this after a write.
    pub ttl_max: Option<Lifetime>,
    /// What to do at a limit.
    pub eviction: Option<Eviction>,
    /// How safe a write is before its answer.
    pub durability: Option<Durability>,
    /// Most operations in a second.
    pub operations_per_second_max: Option<Bound>,
    /// Past changes kept for watches to resume from; zero keeps none.
    pub watch_history_events: Option<u32>,
}

/// A policy with every question answered: the namespace's own word, else the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most entries at a time; `None`: no limit.
    pub keys_max: Option<u64>,
    /// Most bytes at a time, as charged; `None`: no limit.
    pub bytes_max: Option<u64>,
    /// Most bytes in one value.
    pub value_bytes_max: usize,
    /// Time to live of an entry written without an expiration; `None`: it does not expire.
    pub ttl_default: Option<Ttl>,
    /// Longest time to live after a write; `None`: no limit.
    pub ttl_max: Option<Ttl>,
    /// What to do at a limit.
    pub eviction: Eviction,
    /// How safe a write is before its answer.
    pub durability: Durability,
    /// Most operations in a second; `None`: no limit.
    pub operations_per_second_max: Option<NonZeroU64>,
    /// Past changes kept for watches to resume from.
    pub watch_history_events: u32,
}

impl Default for Rules {
    /// What holds where nobody said anything.
    fn default() -> Rules {
        Rules {
            keys_max: None,
            bytes_max: None,
            value_bytes_max: VALUE_BYTES_DEFAULT_MAX,
            ttl_default: None,
            ttl_max: None,
            eviction: Eviction::Lru,
            durability: Durability::Sync,
            operations_per_second_max: None,
            watch_history_events: 10_000,
        }
    }
}

impl Rules {
    /// The rules that `policy` makes where `self` is the server's word.
    #[must_use]
    pub fn overridden_by(&self, policy: &Policy) -> Rules {
        let count = |own: Option<Bound>, default: Option<u64>| match own {
            None => default,
            Some(Bound::Unlimited) => None,
            Some(Bound::AtMost(most)) => Some(most.get()),
        };
        let length = |own: Option<Lifetime>, default: Option<Ttl>| match own {
            None => default,
            Some(Lifetime::Unlimited) => None,
            Some(Lifetime::Ttl(ttl)) => Some(ttl),
        };
        Rules {
            keys_max: count(policy.keys_max, self.keys_max),
            bytes_max: count(policy.bytes_max, self.bytes_max),
            value_bytes_max: policy.value_bytes_max.map_or(self.value_bytes_max, |b| b as usize),
            ttl_default: length(policy.ttl_default, self.ttl_default),
            ttl_max: length(policy.ttl_max, self.ttl_max),
            eviction: policy.eviction.unwrap_or(self.eviction),
            durability: policy.durability.unwrap_or(self.durability),
            operations_per_second_max: match policy.operations_per_second_max {
                None => self.operations_per_second_max,
                Some(Bound::Unlimited) => None,
                Some(Bound::AtMost(most)) => Some(most),
            },
            watch_history_events: policy.watch_history_events.unwrap_or(self.watch_history_events),
        }
    }
}

/// Everything that is true of a namespace besides its entries; survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its number in the log.
    pub id: NamespaceId,
    /// Its name.
    pub name: NamespaceName,
    /// For people; at most 1 KiB.
    pub description: String,
    /// For tools; at most 32, keys and values at most 63 bytes.
    pub labels: BTreeMap<String, String>,
    /// Limits and defaults as written.
    pub policy: Policy,
    /// Whether a first write made it.
    pub auto_created: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// When its description, labels or policy last changed.
    pub updated: UnixMillis,
    /// Counts the updates; the etag.
    pub revision: u64,
    /// A version no change before this definition has passed; a recreated name goes on from here.
    pub version_floor: Version,
}

impl Definition {
    /// Whether description, labels and policy keep the limits that the API sets. One that was made
    /// here always does; one that somebody brings along need not.
    #[must_use]
    pub fn is_lawful(&self) -> bool {
        let is_short = |text: &String| text.len() <= LABEL_BYTES_MAX;
        let label =
            |(key, value): (&String, &String)| !key.is_empty() && is_short(key) && is_short(value);
        let value_bytes = |bytes: u32| (1..=VALUE_BYTES_HARD_MAX).contains(&(bytes as usize));
        self.description.len() <= DESCRIPTION_BYTES_MAX
            && self.labels.len() <= LABELS_MAX
            && self.labels.iter().all(label)
            && self.policy.value_bytes_max.is_none_or(value_bytes)
            && self.policy.watch_history_events.is_none_or(|n| n <= WATCH_HISTORY_EVENTS_MAX)
    }
}

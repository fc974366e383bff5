//! Watching a namespace: what is asked for, and what is told.

use std::future::Future;

use super::{Entry, Error};
use crate::model::{Key, UnixMillis, Version};

/// Which keys are watched. Nothing named: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By order, none twice, none that begins with one of `prefixes`.
    keys: Vec<Key>,
    /// By order; none begins with another.
    prefixes: Vec<String>,
}

impl Filter {
    /// Keys in `keys`, and keys that start with one of `prefixes`.
    #[must_use]
    pub fn new(mut keys: Vec<Key>, mut prefixes: Vec<String>) -> Filter {
        prefixes.sort_unstable();
        // Behind a prefix come those that begin with it.
        prefixes.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        keys.sort_unstable();
        keys.dedup();
        let mut filter = Filter { keys: Vec::new(), prefixes };
        keys.retain(|key| !filter.has_prefix_of(key.as_str()));
        filter.keys = keys;
        filter
    }

    /// Whether every key is watched.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// Single keys; none is covered by a prefix.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Prefixes; none is covered by another.
    #[must_use]
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// Whether `key` is watched.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        self.is_everything()
            || self.has_prefix_of(key)
            || self.keys.binary_search_by(|own| own.as_str().cmp(key)).is_ok()
    }

    fn has_prefix_of(&self, key: &str) -> bool {
        // The only one that can be is the last that does not come behind the key.
        let behind = self.prefixes.partition_point(|prefix| prefix.as_str() <= key);
        behind.checked_sub(1).is_some_and(|at| key.starts_with(self.prefixes[at].as_str()))
    }
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    Now,
    /// With what happened after this version.
    After(Version),
    /// With the entries as they are, then what happens to them.
    Entries,
}

/// Whether events carry values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// They do.
    Included,
    /// They tell how long a value is.
    Omitted,
}

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOrder {
    /// Which keys.
    pub filter: Filter,
    /// From where.
    pub start: Start,
    /// With or without values.
    pub values: Values,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was there when the watch began.
    Initial,
    /// It was written.
    Set,
    /// A caller removed it.
    Deleted,
    /// Its time was up.
    Expired,
    /// Memory was short.
    Evicted,
    /// Every entry of the namespace is gone.
    Cleared,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind.
    pub kind: EventKind,
    /// Of which entry; empty where all were cleared.
    pub key: String,
    /// The entry as it was written; where it is gone, only the version of the change.
    pub entry: Entry,
    /// When the change was made; of an initial entry, when it was written.
    pub at: UnixMillis,
}

/// Events that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// In the order of their versions; initial ones by key. What one turn did is never in two
    /// deliveries.
    pub events: Vec<Event>,
    /// Everything that was asked for and happened up to this version has been delivered; zero as
    /// long as initial entries are still to come.
    pub version: Version,
    /// Whether the initial entries end here.
    pub initial_complete: bool,
}

/// A watch under way. Dropping it ends it.
pub trait Watching: Send + 'static {
    /// What comes next; waits until there is something. May be given up at any time without losing
    /// anything.
    ///
    /// Errors end the watch: [`WatchError::Lagging`](super::WatchError::Lagging) when this was called too rarely,
    /// [`Error::NamespaceNotFound`] when the namespace was dropped, and what a read may meet.
    fn next(&mut self) -> impl Future<Output = Result<Delivery, Error>> + Send;

    /// How far everything has been delivered, for as long as [`Watching::next`] has nothing.
    fn position(&self) -> Version;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(keys: &[&str], prefixes: &[&str]) -> Filter {
        let keys = keys.iter().map(|key| Key::parse((*key).to_owned()).unwrap()).collect();
        Filter::new(keys, prefixes.iter().map(|prefix| (*prefix).to_owned()).collect())
    }

    #[test]
    fn a_filter_matches_its_keys_and_prefixes_and_nothing_else() {
        let check = |filter: &Filter, key: &str, expected| {
            assert_eq!(filter.matches(key), expected, "{filter:?} and {key}");
        };
        let all = filter(&[], &[]);
        check(&all, "a", true);
        check(&filter(&[], &[""]), "a", true);
        let some = filter(&["b", "user", "user:1", "b"], &["user:", "us", "a/b/", "a/"]);
        for (key, expected) in [
            ("b", true),
            ("ba", false),
            ("a", false),
            ("a/", true),
            ("a/x", true),
            ("us", true),
            ("user:9", true),
            ("ut", false),
            ("u", false),
            ("ü", false),
        ] {
            check(&some, key, expected);
        }
    }

    #[test]
    fn what_is_covered_is_left_out() {
        let some = filter(&["b", "user:1", "b"], &["user:", "us", "a/b/", "a/", "us"]);
        assert_eq!(some.prefixes(), ["a/", "us"]);
        assert_eq!(some.keys().iter().map(Key::as_str).collect::<Vec<_>>(), ["b"]);
    }
}

//! The flags that describe a namespace, and the message they make.

use std::collections::HashMap;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::length;
use crate::config::parse_bytes;
use crate::wire::v1 as wire;

/// The word for a limit that is not there.
pub(super) const UNLIMITED: &str = "unlimited";

#[derive(Clone, Debug, Default, Args)]
pub(super) struct SpecFlags {
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// For tools; may be repeated. All labels are replaced
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Most entries, or "unlimited"
    #[arg(long, value_name = "N", value_parser = count)]
    max_keys: Option<wire::Limit>,
    /// Most bytes, such as 64MiB, or "unlimited"
    #[arg(long, value_name = "BYTES", value_parser = bytes_limit)]
    max_bytes: Option<wire::Limit>,
    /// Most bytes in one value, up to 3MiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_value_bytes: Option<i64>,
    /// Time to live of an entry written without one, or "unlimited"
    #[arg(long, value_name = "LENGTH", value_parser = lifetime)]
    default_ttl: Option<wire::Lifetime>,
    /// No entry may live longer, or "unlimited"
    #[arg(long, value_name = "LENGTH", value_parser = lifetime)]
    max_ttl: Option<wire::Lifetime>,
    /// What happens at a limit
    #[arg(long, value_enum)]
    eviction: Option<Eviction>,
    /// How safe a write is when it is acknowledged
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// Most operations in a second, or "unlimited"
    #[arg(long, value_name = "N", value_parser = count)]
    max_operations_per_second: Option<wire::Limit>,
    /// Past changes kept for watches to resume from
    #[arg(long, value_name = "N")]
    watch_history_events: Option<i64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Eviction {
    /// The least recently used entries go
    Lru,
    /// Writes are refused
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    /// Gone after a restart
    Memory,
    /// On disk within the flush interval
    Async,
    /// On disk
    Sync,
}

impl SpecFlags {
    /// The namespace they describe.
    pub(super) fn namespace(self, name: String) -> wire::Namespace {
        let eviction = match self.eviction {
            None => wire::EvictionPolicy::Unspecified,
            Some(Eviction::Lru) => wire::EvictionPolicy::Lru,
            Some(Eviction::None) => wire::EvictionPolicy::None,
        };
        let durability = match self.durability {
            None => wire::Durability::Unspecified,
            Some(Durability::Memory) => wire::Durability::Memory,
            Some(Durability::Async) => wire::Durability::Async,
            Some(Durability::Sync) => wire::Durability::Sync,
        };
        wire::Namespace {
            name,
            description: self.description.unwrap_or_default(),
            labels: self.label.into_iter().collect::<HashMap<_, _>>(),
            policy: Some(wire::NamespacePolicy {
                max_keys: self.max_keys,
                max_bytes: self.max_bytes,
                max_value_bytes: self.max_value_bytes,
                default_ttl: self.default_ttl,
                max_ttl: self.max_ttl,
                eviction_policy: eviction.into(),
                durability: durability.into(),
                max_operations_per_second: self.max_operations_per_second,
                watch_history_events: self.watch_history_events,
            }),
            ..wire::Namespace::default()
        }
    }

    /// Paths of an update mask: what was written.
    pub(super) fn mask(&self) -> Vec<String> {
        let written = [
            ("description", self.description.is_some()),
            ("labels", !self.label.is_empty()),
            ("policy.max_keys", self.max_keys.is_some()),
            ("policy.max_bytes", self.max_bytes.is_some()),
            ("policy.max_value_bytes", self.max_value_bytes.is_some()),
            ("policy.default_ttl", self.default_ttl.is_some()),
            ("policy.max_ttl", self.max_ttl.is_some()),
            ("policy.eviction_policy", self.eviction.is_some()),
            ("policy.durability", self.durability.is_some()),
            ("policy.max_operations_per_second", self.max_operations_per_second.is_some()),
            ("policy.watch_history_events", self.watch_history_events.is_some()),
        ];
        written.into_iter().filter(|(_, is)| *is).map(|(path, _)| path.to_owned()).collect()
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "must be KEY=VALUE".to_owned())
}

fn limit(maximum: Option<i64>, text: &str, wanted: &str) -> Result<wire::Limit, String> {
    let bound = match maximum {
        Some(maximum) => wire::limit::Bound::Maximum(maximum),
        None if text == UNLIMITED => wire::limit::Bound::Unlimited(true),
        None => return Err(format!("must be {wanted} or \"{UNLIMITED}\"")),
    };
    Ok(wire::Limit { bound: Some(bound) })
}

fn count(text: &str) -> Result<wire::Limit, String> {
    limit(text.parse().ok(), text, "a number")
}

fn bytes_limit(text: &str) -> Result<wire::Limit, String> {
    limit(bytes(text).ok(), text, BYTES_WANTED)
}

const BYTES_WANTED: &str = "a number of bytes such as 64MiB";

fn bytes(text: &str) -> Result<i64, String> {
    let bytes = parse_bytes(text).and_then(|bytes| i64::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("must be {BYTES_WANTED}"))
}

fn lifetime(text: &str) -> Result<wire::Lifetime, String> {
    let length = if text == UNLIMITED {
        wire::lifetime::Length::Unlimited(true)
    } else {
        wire::lifetime::Length::Ttl(wire_length(length(text)?)?)
    };
    Ok(wire::Lifetime { length: Some(length) })
}

/// A length of time as messages carry it. Errors: it is too long for that.
pub(super) fn wire_length(length: Duration) -> Result<prost_types::Duration, String> {
    prost_types::Duration::try_from(length).map_err(|_| "must be a shorter length".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_the_word_for_none() {
        let bound = |limit: wire::Limit| limit.bound;
        let check = |outcome: Result<wire::Limit, String>, expected: Option<wire::limit::Bound>| {
            assert_eq!(outcome.ok().and_then(bound), expected);
        };
        check(count("5"), Some(wire::limit::Bound::Maximum(5)));
        check(count("unlimited"), Some(wire::limit::Bound::Unlimited(true)));
        check(count("many"), None);
        check(bytes_limit("1KiB"), Some(wire::limit::Bound::Maximum(1024)));
        check(bytes_limit("1 parsec"), None);
        assert!(lifetime("0s").is_err());
        assert!(lifetime("1h").is_ok());
    }

    #[test]
    fn only_what_was_written_is_in_the_mask() {
        assert_eq!(SpecFlags::default().mask(), Vec::<String>::new());
        let flags = SpecFlags {
            description: Some(String::new()),
            durability: Some(Durability::Sync),
            ..SpecFlags::default()
        };
        assert_eq!(flags.mask(), ["description", "policy.durability"]);
    }
}

//! Facts to log, and seeds to try.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::story::Counts;
use crate::model::{
    Bound, Cause, Change, Definition, Durability, Eviction, Fact, Lifetime, Mutation, NamespaceId,
    NamespaceName, Policy, Ttl, UnixMillis, Version,
};

/// A write of one entry.
pub(in crate::wal) fn set<'a>(version: u64, key: &'a str, value: &'a [u8]) -> Fact<'a> {
    let change = Change::Set {
        key: Cow::Borrowed(key),
        value: Cow::Borrowed(value),
        deadline: None,
        written: UnixMillis::from_millis(1_700_000_000_000),
    };
    let mutations = Cow::Owned(vec![Mutation { version: Version(version), change }]);
    Fact::Changed { namespace: NamespaceId(1), mutations }
}

/// Runs `tell` for seeds from 0 on, on two threads, and sums up.
pub(super) fn seeds(usual: u64, tell: impl Fn(u64) -> Counts + Sync) -> Counts {
    #[expect(clippy::disallowed_methods, reason = "a knob of the tests, not of the program")]
    let asked = std::env::var("PYKV_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = asked.unwrap_or(usual);
    println!("{seeds} seeds");
    let run = |first: u64| {
        let mut counts = Counts::default();
        for seed in (first..seeds).step_by(2) {
            counts.add(tell(seed));
        }
        counts
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let mut counts = run(0);
        counts.add(other.join().expect("a seed failed; its number is above"));
        counts
    })
}

/// Facts of every kind, with and without everything optional.
pub(in crate::wal) fn one_of_each() -> Vec<Fact<'static>> {
    let at = UnixMillis::from_millis;
    let key = || Cow::Borrowed("ключ");
    let change = |version, change| Mutation { version: Version(version), change };
    let mutations = vec![
        change(7, Change::Remove { key: key(), cause: Cause::Evicted }),
        change(8, Change::Remove { key: key(), cause: Cause::Expired }),
        change(9, Change::Remove { key: key(), cause: Cause::Deleted }),
        change(10, Change::Touch { key: key(), deadline: Some(UnixMillis::MAX) }),
        change(11, Change::Touch { key: key(), deadline: None }),
        change(12, Change::Clear),
        change(
            13,
            Change::Set {
                key: key(),
                value: Cow::Owned(vec![0xff; 300]),
                deadline: Some(at(1_800_000_000_000)),
                written: at(1_700_000_000_000),
            },
        ),
        change(
            Version::MAX.0,
            Change::Set {
                key: key(),
                value: Cow::Borrowed(b""),
                deadline: None,
                written: UnixMillis::ZERO,
            },
        ),
    ];
    let namespace = NamespaceId(u32::MAX);
    let (bare, full) = definitions(namespace);
    vec![
        set(1, "k", b"v"),
        Fact::Changed { namespace, mutations: Cow::Owned(mutations) },
        Fact::Changed { namespace, mutations: Cow::Borrowed(&[]) },
        Fact::Defined(Cow::Owned(bare)),
        Fact::Defined(Cow::Owned(full)),
        Fact::Dropped { namespace, version: Version(12) },
        Fact::Reserved { namespace: NamespaceId(0), through: Version(1 << 40) },
        Fact::Reached { namespace, version: Version::MAX },
        Fact::Settings(Cow::Borrowed(b"{}")),
        Fact::Settings(Cow::Borrowed(b"")),
    ]
}

/// One with nothing optional, one with everything.
pub(super) fn definitions(namespace: NamespaceId) -> (Definition, Definition) {
    let at = UnixMillis::from_millis;
    let bare = Definition {
        id: namespace,
        name: NamespaceName::default(),
        description: String::new(),
        labels: BTreeMap::new(),
        policy: Policy::default(),
        auto_created: true,
        created: UnixMillis::ZERO,
        updated: UnixMillis::ZERO,
        revision: 0,
        version_floor: Version(0),
    };
    let full = Definition {
        id: NamespaceId(3),
        name: NamespaceName::parse("myapp:production").unwrap(),
        description: "where sessions live".to_owned(),
        labels: BTreeMap::from([
            ("team".to_owned(), "web".to_owned()),
            ("x".to_owned(), String::new()),
        ]),
        policy: Policy {
            keys_max: NonZeroU64::new(1000).map(Bound::AtMost),
            bytes_max: Some(Bound::Unlimited),
            value_bytes_max: Some(u32::MAX),
            ttl_default: Ttl::from_millis(5).ok().map(Lifetime::Ttl),
            ttl_max: Some(Lifetime::Unlimited),
            eviction: Some(Eviction::Lru),
            durability: Some(Durability::Sync),
            operations_per_second_max: NonZeroU64::new(u64::MAX).map(Bound::AtMost),
            watch_history_events: Some(0),
        },
        auto_created: false,
        created: at(1),
        updated: at(2),
        revision: 300,
        version_floor: Version(200),
    };
    (bare, full)
}

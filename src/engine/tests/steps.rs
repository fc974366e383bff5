//! What can happen to a namespace, at random: few keys, so that they meet often.

use proptest::prelude::*;

use super::*;
use crate::engine::{Condition, Reading, Scan};
use crate::model::{Eviction, Rules, Ttl, Version};

/// What can happen.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write { commands: Vec<Command>, atomic: bool, room: Option<u64> },
    Get { key: Key, view: View },
    GetMany { keys: Vec<Key>, view: View },
    Pass { millis: u64 },
    Expire { limit: usize },
    Evict { bytes: u64, limit: usize },
    Rules(Rules),
    Overflow { limit: usize },
    Scan(Scan),
    Count { prefix: String },
    BuildIndex,
    Ready,
    Defragment,
    Clear,
    Snapshot { bytes: usize },
    Restart { twice: bool },
    Cut,
    Show { which: usize, bytes: usize },
    DropCut { which: usize },
}

fn keys() -> impl Strategy<Value = Key> {
    let text = prop_oneof![
        8 => "[ab]{1,3}",
        1 => Just("ü".to_owned()),
        1 => "[ab]z{90,99}",
    ];
    text.prop_map(|text| Key::parse(text).unwrap())
}

fn values() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        3 => (0_usize..60).prop_map(|len| Bytes::from(vec![b'x'; len])),
        2 => any::<i8>().prop_map(|number| Bytes::from(number.to_string())),
        1 => Just(Bytes::from(i64::MAX.to_string())),
        1 => (600_usize..1200).prop_map(|len| Bytes::from(vec![b'y'; len])),
    ]
}

fn expirations() -> impl Strategy<Value = Expiration> {
    prop_oneof![
        3 => Just(Expiration::Default),
        3 => (1_u64..3000).prop_map(|ms| Expiration::After(Ttl::from_millis(ms).unwrap())),
        2 => (0_u64..9000).prop_map(|ms| {
            Expiration::At(UnixMillis::from_millis(NOW.as_millis() + ms))
        }),
        1 => Just(Expiration::Never),
        1 => Just(Expiration::Keep),
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Present),
        (1_u64..30).prop_map(|version| Condition::Version(Version(version))),
    ]
}

fn views() -> impl Strategy<Value = View> {
    prop_oneof![Just(View::Key), Just(View::Metadata), Just(View::Value), Just(View::Full)]
}

fn commands() -> impl Strategy<Value = Command> {
    let condition = || prop::option::weighted(0.2, conditions());
    let set = (keys(), values(), expirations(), condition(), any::<bool>()).prop_map(
        |(key, value, expiration, condition, return_previous)| Command::Set {
            key,
            value,
            expiration,
            condition,
            return_previous,
        },
    );
    let delete =
        (keys(), condition(), any::<bool>()).prop_map(|(key, condition, return_previous)| {
            Command::Delete { key, condition, return_previous }
        });
    let touch = (keys(), expirations(), condition(), views()).prop_map(
        |(key, expiration, condition, view)| Command::Touch { key, expiration, condition, view },
    );
    let bound = || prop::option::weighted(0.2, -100_i64..100);
    let delta = prop_oneof![4 => -50_i64..50, 1 => any::<i64>()];
    let increment = (keys(), delta, -5_i64..5, bound(), bound(), expirations(), any::<bool>())
        .prop_map(|(key, delta, initial, lower_bound, upper_bound, expiration, refresh)| {
            Command::Increment {
                key,
                delta,
                initial,
                lower_bound,
                upper_bound,
                expiration,
                refresh_expiration: refresh,
            }
        });
    let check =
        (keys(), conditions()).prop_map(|(key, condition)| Command::Check { key, condition });
    prop_oneof![6 => set, 2 => delete, 2 => touch, 2 => increment, 1 => check]
}

pub(super) fn rules() -> impl Strategy<Value = Rules> {
    let ttl =
        || prop::option::weighted(0.3, (1_u64..4000).prop_map(|ms| Ttl::from_millis(ms).unwrap()));
    (
        prop::option::of(1_u64..8),
        prop::option::of(80_u64..2500),
        prop_oneof![Just(40_usize), Just(2000)],
        ttl(),
        ttl(),
        any::<bool>(),
    )
        .prop_map(|(keys_max, bytes_max, value_bytes_max, ttl_default, ttl_max, evicts)| {
            Rules {
                keys_max,
                bytes_max,
                value_bytes_max,
                ttl_default,
                ttl_max,
                eviction: if evicts { Eviction::Lru } else { Eviction::None },
                ..Rules::default()
            }
        })
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let write = (
        prop_oneof![3 => prop::collection::vec(commands(), 1), 2 => prop::collection::vec(commands(), 0..7)],
        any::<bool>(),
        prop::option::weighted(0.2, 0_u64..400),
    )
        .prop_map(|(commands, atomic, room)| Step::Write { commands, atomic, room });
    let scan = ("[ab]{0,2}", prop::option::of("[ab]{1,3}"), 0_usize..5, 1_usize..900, views());
    let scan = (scan, any::<bool>());
    let scan = scan.prop_map(|((prefix, start_after, entries_max, bytes_max, view), is_use)| {
        let reading = if is_use { Reading::Use } else { Reading::Look };
        Step::Scan(Scan { prefix, start_after, entries_max, bytes_max, view, reading })
    });
    prop_oneof![
        24 => write,
        4 => (keys(), views()).prop_map(|(key, view)| Step::Get { key, view }),
        2 => (prop::collection::vec(keys(), 0..40), views())
            .prop_map(|(keys, view)| Step::GetMany { keys, view }),
        3 => (0_u64..1500).prop_map(|millis| Step::Pass { millis }),
        2 => (1_usize..5).prop_map(|limit| Step::Expire { limit }),
        1 => (0_u64..500, 0_usize..4).prop_map(|(bytes, limit)| Step::Evict { bytes, limit }),
        1 => rules().prop_map(Step::Rules),
        1 => (0_usize..4).prop_map(|limit| Step::Overflow { limit }),
        2 => scan,
        1 => "[ab]{0,2}".prop_map(|prefix| Step::Count { prefix }),
        1 => Just(Step::BuildIndex),
        3 => Just(Step::Ready),
        1 => Just(Step::Defragment),
        1 => prop::bool::weighted(0.2).prop_map(|clear| if clear { Step::Clear } else { Step::Ready }),
        2 => (0_usize..600).prop_map(|bytes| Step::Snapshot { bytes }),
        1 => any::<bool>().prop_map(|twice| Step::Restart { twice }),
        3 => cut_steps(),
    ]
}

/// More looks than cuts, so that some come to their end.
fn cut_steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Cut),
        7 => (0_usize..3, 0_usize..300).prop_map(|(which, bytes)| Step::Show { which, bytes }),
        1 => (0_usize..3).prop_map(|which| Step::DropCut { which }),
    ]
}

//! A namespace's definition as bytes.
//!
//! ```text
//! definition  namespace v │ name │ description │ labels v │ (key │ value) ... │ policy │
//!             auto-created 1 │ created 6 │ updated 6 │ revision v │ version floor v
//! policy      which 2 │ those present, in this order:
//!             keys v │ bytes v │ value bytes v │ default lifetime v │ longest lifetime v │
//!             eviction 1 │ durability 1 │ rate v │ watch history v
//! ```
//!
//! Text is its length (`v`) and its bytes. Bit 0 of `which` stands for the first field of a policy,
//! and so on. Zero stands for "unlimited" in a bound or lifetime, neither of which can be zero.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::cursor::{Bytes, put_bytes, put_number, put_time};
use crate::model::{Bound, Definition, Durability, Eviction, Lifetime, NamespaceName, Policy, Ttl};

/// Bits of `which` that mean something.
const FIELDS: u16 = 9;

/// Appends `definition` to `out`.
pub(super) fn encode(definition: &Definition, out: &mut Vec<u8>) {
    put_number(out, u64::from(definition.id.0));
    put_bytes(out, definition.name.as_str().as_bytes());
    put_bytes(out, definition.description.as_bytes());
    put_number(out, definition.labels.len() as u64);
    for (key, value) in &definition.labels {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_policy(out, &definition.policy);
    out.push(u8::from(definition.auto_created));
    put_time(out, definition.created);
    put_time(out, definition.updated);
    put_number(out, definition.revision);
    put_number(out, definition.version_floor.0);
}

fn put_policy(out: &mut Vec<u8>, policy: &Policy) {
    let bound = |bound: Bound| match bound {
        Bound::AtMost(most) => most.get(),
        Bound::Unlimited => 0,
    };
    let lifetime = |lifetime: Lifetime| match lifetime {
        Lifetime::Ttl(ttl) => ttl.as_millis(),
        Lifetime::Unlimited => 0,
    };
    let eviction = |eviction: Eviction| match eviction {
        Eviction::None => 0,
        Eviction::Lru => 1,
    };
    let durability = |durability: Durability| match durability {
        Durability::Memory => 0,
        Durability::Async => 1,
        Durability::Sync => 2,
    };
    // Eviction and durability are numbers below 128, so the same form serves for all nine.
    let fields: [Option<u64>; FIELDS as usize] = [
        policy.keys_max.map(bound),
        policy.bytes_max.map(bound),
        policy.value_bytes_max.map(u64::from),
        policy.ttl_default.map(lifetime),
        policy.ttl_max.map(lifetime),
        policy.eviction.map(eviction),
        policy.durability.map(durability),
        policy.operations_per_second_max.map(bound),
        policy.watch_history_events.map(u64::from),
    ];
    let which =
        fields.iter().rev().fold(0_u16, |bits, field| bits << 1 | u16::from(field.is_some()));
    out.extend_from_slice(&which.to_le_bytes());
    fields.iter().flatten().for_each(|field| put_number(out, *field));
}

/// Reads a definition; `None`: the bytes are not one.
pub(super) fn decode(bytes: &mut Bytes<'_>) -> Option<Definition> {
    Some(Definition {
        id: bytes.namespace()?,
        name: NamespaceName::parse(bytes.text()?).ok()?,
        description: bytes.text()?.to_owned(),
        labels: labels(bytes)?,
        policy: policy(bytes)?,
        auto_created: match bytes.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        },
        created: bytes.time()?,
        updated: bytes.time()?,
        revision: bytes.number()?,
        version_floor: bytes.version()?,
    })
}

fn labels(bytes: &mut Bytes<'_>) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for _ in 0..bytes.number()? {
        labels.insert(bytes.text()?.to_owned(), bytes.text()?.to_owned());
    }
    Some(labels)
}

fn policy(bytes: &mut Bytes<'_>) -> Option<Policy> {
    let which = u16::from_le_bytes(bytes.take(2)?.try_into().ok()?);
    if which >> FIELDS != 0 {
        return None;
    }
    let mut fields = [None; FIELDS as usize];
    for (bit, field) in fields.iter_mut().enumerate() {
        if which >> bit & 1 == 1 {
            *field = Some(bytes.number()?);
        }
    }
    let [keys, size, value, ttl_default, ttl_max, eviction, durability, rate, history] = fields;
    Some(Policy {
        keys_max: keys.map(bound),
        bytes_max: size.map(bound),
        value_bytes_max: each(value, |n| u32::try_from(n).ok())?,
        ttl_default: each(ttl_default, lifetime)?,
        ttl_max: each(ttl_max, lifetime)?,
        eviction: each(eviction, |n| match n {
            0 => Some(Eviction::None),
            1 => Some(Eviction::Lru),
            _ => None,
        })?,
        durability: each(durability, |n| match n {
            0 => Some(Durability::Memory),
            1 => Some(Durability::Async),
            2 => Some(Durability::Sync),
            _ => None,
        })?,
        operations_per_second_max: rate.map(bound),
        watch_history_events: each(history, |n| u32::try_from(n).ok())?,
    })
}

fn bound(number: u64) -> Bound {
    NonZeroU64::new(number).map_or(Bound::Unlimited, Bound::AtMost)
}

fn lifetime(number: u64) -> Option<Lifetime> {
    if number == 0 {
        return Some(Lifetime::Unlimited);
    }
    Ttl::from_millis(number).ok().map(Lifetime::Ttl)
}

/// The outer `None`: the number is none of those allowed. The inner: it is absent.
fn each<T>(field: Option<u64>, read: impl FnOnce(u64) -> Option<T>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(number) => read(number).map(Some),
    }
}

//! Facts as bytes: what is in the payload of a record.
//!
//! ```text
//! payload     kind 1 │ wall time 6 │ by kind:
//!   1 changed   namespace v │ mutations v │ mutation, mutation ...
//!   2 defined   see `definition`
//!   3 dropped   namespace v │ version v
//!   4 reserved  namespace v │ through v
//!   5 settings  the rest
//!   6 reached   namespace v │ version v
//!   9 footer    records 8 │ mutations 8          (the last record of a snapshot, and only there)
//!
//! mutation    operation and flags 1 │ version v │ by operation:
//!   1 set       deadline 6 if flag 16 │ written 6 if flag 32 │ key bytes v │ value bytes v │ key │ value
//!   2 touch     deadline 6 if flag 16 │ key bytes v │ key
//!   3 remove    key bytes v │ key          (cause in the flags: 0 deleted, 16 expired, 32 evicted)
//!   4 clear
//! ```
//!
//! `v` is a number in groups of seven bits, lowest first, the top bit of a byte saying that more
//! follow. Times are milliseconds since 1970 in six bytes. `written` is left out where it equals
//! the wall time of the record, which is nearly always.

use std::borrow::Cow;

use super::cursor::{Bytes, put_bytes, put_number, put_time};
use super::definition;
use crate::model::{Cause, Change, Fact, Mutation, UnixMillis};

const CHANGED: u8 = 1;
const DEFINED: u8 = 2;
const DROPPED: u8 = 3;
const RESERVED: u8 = 4;
const SETTINGS: u8 = 5;
const REACHED: u8 = 6;
const FOOTER: u8 = 9;

const SET: u8 = 1;
const TOUCH: u8 = 2;
const REMOVE: u8 = 3;
const CLEAR: u8 = 4;
const OPERATION_BITS: u8 = 0x0f;

const HAS_DEADLINE: u8 = 0x10;
const HAS_WRITTEN: u8 = 0x20;

const EXPIRED: u8 = 0x10;
const EVICTED: u8 = 0x20;

/// Bytes of the smallest mutation; bounds how many a payload can hold.
const MUTATION_BYTES_MIN: usize = 2;

/// What a snapshot ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    /// Records before this one.
    pub(super) records: u64,
    /// Mutations in them.
    pub(super) mutations: u64,
}

/// What a payload says.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Fact(Fact<'a>),
    Footer(Footer),
}

/// Appends `fact` to `out`.
pub(super) fn encode(fact: &Fact<'_>, wall: UnixMillis, out: &mut Vec<u8>) {
    match fact {
        Fact::Changed { namespace, mutations } => {
            put_head(out, CHANGED, wall);
            put_number(out, u64::from(namespace.0));
            put_number(out, mutations.len() as u64);
            for mutation in mutations.iter() {
                put_mutation(out, mutation, wall);
            }
        }
        Fact::Defined(definition) => {
            put_head(out, DEFINED, wall);
            definition::encode(definition, out);
        }
        Fact::Dropped { namespace, version } => {
            put_head(out, DROPPED, wall);
            put_number(out, u64::from(namespace.0));
            put_number(out, version.0);
        }
        Fact::Reserved { namespace, through } => {
            put_head(out, RESERVED, wall);
            put_number(out, u64::from(namespace.0));
            put_number(out, through.0);
        }
        Fact::Reached { namespace, version } => {
            put_head(out, REACHED, wall);
            put_number(out, u64::from(namespace.0));
            put_number(out, version.0);
        }
        Fact::Settings(text) => {
            put_head(out, SETTINGS, wall);
            out.extend_from_slice(text);
        }
    }
}

/// Appends the footer of a snapshot to `out`.
pub(super) fn encode_footer(footer: Footer, wall: UnixMillis, out: &mut Vec<u8>) {
    put_head(out, FOOTER, wall);
    out.extend_from_slice(&footer.records.to_le_bytes());
    out.extend_from_slice(&footer.mutations.to_le_bytes());
}

fn put_head(out: &mut Vec<u8>, kind: u8, wall: UnixMillis) {
    let mut head = [kind; 7];
    head[1..].copy_from_slice(&wall.as_millis().to_le_bytes()[..6]);
    out.extend_from_slice(&head);
}

fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation<'_>, wall: UnixMillis) {
    match &mutation.change {
        Change::Set { key, value, deadline, written } => {
            let has_deadline = if deadline.is_some() { HAS_DEADLINE } else { 0 };
            let has_written = if *written == wall { 0 } else { HAS_WRITTEN };
            out.push(SET | has_deadline | has_written);
            put_number(out, mutation.version.0);
            if let Some(deadline) = deadline {
                put_time(out, *deadline);
            }
            if *written != wall {
                put_time(out, *written);
            }
            put_number(out, key.len() as u64);
            put_number(out, value.len() as u64);
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(value);
        }
        Change::Touch { key, deadline } => {
            out.push(TOUCH | if deadline.is_some() { HAS_DEADLINE } else { 0 });
            put_number(out, mutation.version.0);
            if let Some(deadline) = deadline {
                put_time(out, *deadline);
            }
            put_bytes(out, key.as_bytes());
        }
        Change::Remove { key, cause } => {
            let cause = match cause {
                Cause::Deleted => 0,
                Cause::Expired => EXPIRED,
                Cause::Evicted => EVICTED,
            };
            out.push(REMOVE | cause);
            put_number(out, mutation.version.0);
            put_bytes(out, key.as_bytes());
        }
        Change::Clear => {
            out.push(CLEAR);
            put_number(out, mutation.version.0);
        }
    }
}

/// Reads `payload` and gives it, borrowed, to `take` with its wall time. `None`: it is not one.
pub(super) fn decode<T>(payload: &[u8], take: impl FnOnce(Item<'_>, UnixMillis) -> T) -> Option<T> {
    let mut bytes = Bytes(payload);
    let kind = bytes.byte()?;
    let wall = bytes.time()?;
    let fact = match kind {
        CHANGED => {
            let namespace = bytes.namespace()?;
            let count = usize::try_from(bytes.number()?).ok()?;
            if count == 1 {
                // The usual case, without a list on the heap.
                let mutation = bytes.mutation(wall)?;
                let mutations = Cow::Borrowed(std::slice::from_ref(&mutation));
                bytes.end()?;
                return Some(take(Item::Fact(Fact::Changed { namespace, mutations }), wall));
            }
            let mutations = bytes.mutations(count, wall)?;
            Fact::Changed { namespace, mutations: Cow::Owned(mutations) }
        }
        DEFINED => Fact::Defined(Cow::Owned(definition::decode(&mut bytes)?)),
        DROPPED => Fact::Dropped { namespace: bytes.namespace()?, version: bytes.version()? },
        RESERVED => Fact::Reserved { namespace: bytes.namespace()?, through: bytes.version()? },
        REACHED => Fact::Reached { namespace: bytes.namespace()?, version: bytes.version()? },
        SETTINGS => Fact::Settings(Cow::Borrowed(bytes.rest())),
        FOOTER => {
            let footer = Footer { records: bytes.fixed()?, mutations: bytes.fixed()? };
            bytes.end()?;
            return Some(take(Item::Footer(footer), wall));
        }
        _ => return None,
    };
    bytes.end()?;
    Some(take(Item::Fact(fact), wall))
}

impl<'a> Bytes<'a> {
    fn mutations(&mut self, count: usize, wall: UnixMillis) -> Option<Vec<Mutation<'a>>> {
        // A count is believed only as far as the bytes that are there could bear it out.
        if count > self.0.len() / MUTATION_BYTES_MIN {
            return None;
        }
        let mut mutations = Vec::with_capacity(count);
        for _ in 0..count {
            mutations.push(self.mutation(wall)?);
        }
        Some(mutations)
    }

    fn mutation(&mut self, wall: UnixMillis) -> Option<Mutation<'a>> {
        let operation = self.byte()?;
        let flags = operation & !OPERATION_BITS;
        let version = self.version()?;
        let change = match operation & OPERATION_BITS {
            SET => {
                let deadline = self.time_if(flags & HAS_DEADLINE != 0)?;
                let written = self.time_if(flags & HAS_WRITTEN != 0)?.unwrap_or(wall);
                let key_bytes = usize::try_from(self.number()?).ok()?;
                let value_bytes = usize::try_from(self.number()?).ok()?;
                let key = Cow::Borrowed(std::str::from_utf8(self.take(key_bytes)?).ok()?);
                let value = Cow::Borrowed(self.take(value_bytes)?);
                Change::Set { key, value, deadline, written }
            }
            TOUCH => {
                let deadline = self.time_if(flags & HAS_DEADLINE != 0)?;
                Change::Touch { key: Cow::Borrowed(self.text()?), deadline }
            }
            REMOVE => {
                let cause = match flags {
                    0 => Cause::Deleted,
                    EXPIRED => Cause::Expired,
                    EVICTED => Cause::Evicted,
                    _ => return None,
                };
                Change::Remove { key: Cow::Borrowed(self.text()?), cause }
            }
            CLEAR => Change::Clear,
            _ => return None,
        };
        Some(Mutation { version, change })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fact_is_read_back_as_it_was_written() {
        let wall = UnixMillis::from_millis(1_700_000_000_000);
        for fact in crate::wal::tests::kit::one_of_each() {
            let mut out = Vec::new();
            encode(&fact, wall, &mut out);
            let same = decode(&out, |item, at| match item {
                Item::Fact(read) => format!("{read:?}") == format!("{fact:?}") && at == wall,
                Item::Footer(_) => false,
            });
            assert_eq!(same, Some(true), "{fact:?}");
            for cut in 0..out.len() {
                // A settings text has no length of its own: the record's holds.
                if !matches!(fact, Fact::Settings(_)) {
                    assert!(decode(&out[..cut], |_, _| ()).is_none(), "{fact:?} cut at {cut}");
                }
            }
        }
    }
}

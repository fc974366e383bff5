//! The engine as one would first write it: a sorted map and a list in the order of use.
//!
//! The model rules on commands by itself. Only *who* expired goes first to make room it leaves to
//! the engine, and checks each removal: an eviction must be of the least recently used entry, an
//! expiry of an expired one, and neither may happen without need.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::{
    Command, Condition, Counters, Entry, Expiration, Outcome, Quota, Refusal, Usage, View,
};
use crate::model::{Cause, Change, Eviction, Mutation, Rules, UnixMillis, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) value: Vec<u8>,
    pub(super) version: Version,
    pub(super) deadline: Option<UnixMillis>,
    pub(super) written: UnixMillis,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) rules: Rules,
    pub(super) now: UnixMillis,
    pub(super) version: Version,
    pub(super) entries: BTreeMap<String, Known>,
    /// Least recently used first.
    pub(super) order: Vec<String>,
    pub(super) counters: Counters,
}

pub(super) fn charge(key: &str, value: &[u8]) -> u64 {
    (28 + key.len() + value.len()).div_ceil(8) as u64 * 8 + 28
}

fn shown(known: &Known, view: View) -> Entry {
    let has_value = matches!(view, View::Value | View::Full);
    let has_times = matches!(view, View::Metadata | View::Full);
    Entry {
        value: Bytes::from(if has_value { known.value.clone() } else { Vec::new() }),
        value_bytes: if view == View::Key { 0 } else { u32::try_from(known.value.len()).unwrap() },
        version: known.version,
        deadline: known.deadline.filter(|_| has_times),
        written: if has_times { known.written } else { UnixMillis::ZERO },
    }
}

/// What the model expects of one decision: the mutations that the engine announced are consumed.
struct Turn<'m, 'd> {
    model: &'m mut Model,
    announced: &'d [Mutation<'d>],
    room_end: u64,
    own: Option<Vec<String>>,
}

impl Model {
    pub(super) fn new(rules: Rules, now: UnixMillis) -> Model {
        Model {
            rules,
            now,
            version: Version(0),
            entries: BTreeMap::new(),
            order: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let bytes = self.entries.iter().map(|(key, known)| charge(key, &known.value)).sum();
        Usage { keys: self.entries.len() as u64, bytes }
    }

    pub(super) fn live(&self, key: &str) -> Option<&Known> {
        self.entries.get(key).filter(|known| known.deadline.is_none_or(|at| at > self.now))
    }

    pub(super) fn use_key(&mut self, key: &str) {
        self.order.retain(|other| other != key);
        self.order.push(key.to_owned());
    }

    pub(super) fn get(&mut self, key: &str, view: View) -> Option<Entry> {
        let entry = self.look(key, view);
        if matches!(view, View::Value | View::Full) {
            self.count_read(entry.is_some());
            if entry.is_some() {
                self.use_key(key);
            }
        }
        entry
    }

    /// As [`Model::get`], but no use of the entry.
    pub(super) fn look(&self, key: &str, view: View) -> Option<Entry> {
        self.live(key).map(|known| shown(known, view))
    }

    pub(super) fn count_read(&mut self, hit: bool) {
        if hit { self.counters.hits += 1 } else { self.counters.misses += 1 }
    }

    pub(super) fn remove(&mut self, key: &str, cause: Cause) -> Known {
        self.order.retain(|other| other != key);
        match cause {
            Cause::Deleted => self.counters.deletes += 1,
            Cause::Expired => self.counters.expirations += 1,
            Cause::Evicted => self.counters.evictions += 1,
        }
        self.entries.remove(key).expect("only what is there is removed")
    }

    /// Rules on `commands`; `announced` are the engine's mutations. Returns what it expects.
    pub(super) fn decide(
        &mut self,
        commands: &[Command],
        atomic: bool,
        room: u64,
        announced: &[Mutation<'_>],
    ) -> Vec<Result<Outcome, Refusal>> {
        let room_end = self.usage().bytes.saturating_add(room);
        let own = (atomic && commands.len() > 1).then(Vec::new);
        let mut turn = Turn { model: self, announced, room_end, own };
        let outcomes = commands.iter().map(|command| turn.rule(command)).collect();
        assert!(turn.announced.is_empty(), "unexpected: {:?}", turn.announced);
        outcomes
    }
}

impl Turn<'_, '_> {
    /// The next announced mutation, which must have the next version.
    fn take(&mut self) -> Change<'_> {
        let (first, rest) = self.announced.split_first().expect("a mutation is announced");
        self.announced = rest;
        self.model.version = self.model.version.next();
        assert_eq!(first.version, self.model.version);
        first.change.clone()
    }

    fn rule(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Set { key, value, expiration, condition, return_previous } => {
                self.check_length(value.len())?;
                let key = key.as_str();
                let live = self.model.live(key).cloned();
                let until = self.until(*expiration, live.as_ref())?;
                if !held(*condition, live.as_ref()) {
                    let entry = live.map(|known| shown(&known, View::Metadata));
                    return Ok(Outcome::Set { applied: false, entry, previous: None });
                }
                let entry = self.write(key, value, until)?;
                let previous =
                    live.filter(|_| *return_previous).map(|known| shown(&known, View::Full));
                Ok(Outcome::Set { applied: true, entry, previous })
            }
            Command::Delete { key, condition, return_previous } => {
                let live = self.model.live(key.as_str()).cloned();
                let entry = live.as_ref().map(|known| shown(known, View::Metadata));
                if live.is_none() || !held(*condition, live.as_ref()) {
                    return Ok(Outcome::Delete { deleted: false, entry, previous: None });
                }
                self.delete(key.as_str());
                let previous =
                    live.filter(|_| *return_previous).map(|known| shown(&known, View::Full));
                Ok(Outcome::Delete { deleted: true, entry: None, previous })
            }
            Command::Touch { key, expiration, condition, view } => {
                let outcome = self.touch(key.as_str(), *expiration, *condition, *view);
                if let Ok(Outcome::Touch { entry, .. }) = &outcome
                    && view.is_use()
                {
                    self.model.count_read(entry.is_some());
                }
                outcome
            }
            Command::Increment { .. } => self.increment(command),
            Command::Check { key, condition } => {
                let live = self.model.live(key.as_str());
                let entry = live.map(|known| shown(known, View::Metadata));
                Ok(Outcome::Check { held: held(Some(*condition), live), entry })
            }
        }
    }

    fn touch(
        &mut self,
        key: &str,
        expiration: Expiration,
        condition: Option<Condition>,
        view: View,
    ) -> Result<Outcome, Refusal> {
        let live = self.model.live(key).cloned();
        let until = self.until(expiration, live.as_ref())?;
        let entry = live.as_ref().map(|known| shown(known, view));
        if live.is_none() || !held(condition, live.as_ref()) {
            return Ok(Outcome::Touch { applied: false, entry });
        }
        let Some(deadline) = until else {
            self.delete(key);
            return Ok(Outcome::Touch { applied: true, entry: None });
        };
        assert_eq!(self.take(), Change::Touch { key: key.into(), deadline });
        let version = self.model.version;
        let known = self.model.entries.get_mut(key).unwrap();
        (known.deadline, known.version) = (deadline, version);
        let entry = Some(shown(known, view));
        self.model.use_key(key);
        Ok(Outcome::Touch { applied: true, entry })
    }

    fn increment(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        let Command::Increment {
            key,
            delta,
            initial,
            lower_bound,
            upper_bound,
            expiration,
            refresh_expiration,
        } = command
        else {
            unreachable!()
        };
        let live = self.model.live(key.as_str()).cloned();
        let wish =
            if live.is_none() || *refresh_expiration { *expiration } else { Expiration::Keep };
        let until = self.until(wish, live.as_ref())?;
        let before = match &live {
            None => *initial,
            Some(known) => String::from_utf8(known.value.clone())
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or(Refusal::ValueNotInteger)?,
        };
        let sum = i128::from(before) + i128::from(*delta);
        let applied = lower_bound.is_none_or(|bound| sum >= i128::from(bound))
            && upper_bound.is_none_or(|bound| sum <= i128::from(bound));
        if !applied || *delta == 0 {
            let entry = live.map(|known| shown(&known, View::Metadata));
            return Ok(Outcome::Increment { value: before, applied, created: false, entry });
        }
        let value = i64::try_from(sum).map_err(|_| Refusal::CounterOverflow)?;
        if until.is_some() {
            self.check_length(value.to_string().len())?;
        }
        let entry = self.write(key.as_str(), value.to_string().as_bytes(), until)?;
        let created = live.is_none() && entry.is_some();
        Ok(Outcome::Increment { value, applied, created, entry })
    }

    fn check_length(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.model.rules.value_bytes_max;
        let refusal =
            Refusal::ValueTooLarge { limit_bytes: limit as u64, size_bytes: bytes as u64 };
        if bytes > limit { Err(refusal) } else { Ok(()) }
    }

    /// `None`: at once.
    fn until(
        &self,
        wish: Expiration,
        live: Option<&Known>,
    ) -> Result<Option<Option<UnixMillis>>, Refusal> {
        let (rules, now) = (&self.model.rules, self.model.now);
        let default = rules.ttl_default.map(|ttl| now.checked_add(ttl).unwrap());
        let wish = match wish {
            Expiration::Default => default,
            Expiration::After(ttl) => Some(now.checked_add(ttl).unwrap()),
            Expiration::At(at) if at <= now => return Ok(None),
            Expiration::At(at) => Some(at),
            Expiration::Never if rules.ttl_max.is_some() => {
                return Err(Refusal::ExpirationRequired);
            }
            Expiration::Never => None,
            Expiration::Keep => live.map_or(default, |known| known.deadline),
        };
        let latest = rules.ttl_max.map(|ttl| now.checked_add(ttl).unwrap());
        Ok(Some(wish.into_iter().chain(latest).min()))
    }

    fn delete(&mut self, key: &str) {
        assert_eq!(self.take(), Change::Remove { key: key.into(), cause: Cause::Deleted });
        self.model.remove(key, Cause::Deleted);
    }

    fn write(
        &mut self,
        key: &str,
        value: &[u8],
        until: Option<Option<UnixMillis>>,
    ) -> Result<Option<Entry>, Refusal> {
        let Some(deadline) = until else {
            if self.model.live(key).is_some() {
                self.delete(key);
            }
            return Ok(None);
        };
        self.make_room(key, charge(key, value))?;
        let written = self.model.now;
        let expected = Change::Set { key: key.into(), value: value.into(), deadline, written };
        assert_eq!(self.take(), expected);
        let version = self.model.version;
        let known = Known { value: value.to_vec(), version, deadline, written };
        let entry = shown(&known, View::Metadata);
        self.model.entries.insert(key.to_owned(), known);
        self.model.counters.sets += 1;
        self.model.use_key(key);
        if let Some(own) = &mut self.own {
            own.push(key.to_owned());
        }
        Ok(Some(entry))
    }

    fn make_room(&mut self, key: &str, charge_new: u64) -> Result<(), Refusal> {
        let start = self.model.usage();
        let charge_old = self.model.entries.get(key).map_or(0, |known| charge(key, &known.value));
        let lack = |model: &Model, room_end: u64| {
            let usage = model.usage();
            let evicts = model.rules.eviction == Eviction::Lru;
            let bound = |limit: Option<u64>, start: u64| {
                limit.map(|limit| if evicts { limit.max(start) } else { limit })
            };
            let quota =
                |quota, limit: Option<u64>| Refusal::QuotaExceeded { quota, limit: limit.unwrap() };
            let is_above = |used, limit: Option<u64>| limit.is_some_and(|limit| used > limit);
            let bytes = usage.bytes - charge_old + charge_new;
            let grows = charge_new > charge_old;
            let (keys_max, bytes_max) = (model.rules.keys_max, model.rules.bytes_max);
            if charge_old == 0 && is_above(usage.keys + 1, bound(keys_max, start.keys)) {
                Some(quota(Quota::Keys, keys_max))
            } else if grows && is_above(bytes, bound(bytes_max, start.bytes)) {
                Some(quota(Quota::Bytes, bytes_max))
            } else if grows && bytes > room_end {
                Some(Refusal::MemoryExhausted)
            } else {
                None
            }
        };
        if lack(self.model, self.room_end).is_some() {
            let most = self.model.rules.bytes_max.unwrap_or(u64::MAX);
            if charge_new > most.max(charge_old) {
                return Err(Refusal::QuotaExceeded { quota: Quota::Bytes, limit: most });
            }
            if let Some(refusal) = lack(&self.with_everything_gone(key), self.room_end) {
                return Err(refusal);
            }
        }
        while lack(self.model, self.room_end).is_some()
            && let Some((first, rest)) = self.announced.split_first()
            && let Change::Remove { key: victim, cause } = &first.change
            && *cause != Cause::Deleted
        {
            self.announced = rest;
            self.model.version = self.model.version.next();
            assert_eq!(first.version, self.model.version);
            let may_go = |other: &&String| {
                *other != key && self.own.as_ref().is_none_or(|own| !own.contains(other))
            };
            let expired = self.model.live(victim).is_none();
            match cause {
                Cause::Expired => assert!(expired && victim != key, "{victim} has not expired"),
                Cause::Evicted => {
                    assert_eq!(self.model.order.iter().find(may_go), Some(&victim.to_string()));
                    assert!(!expired, "an expired entry is not evicted");
                    assert_eq!(self.model.rules.eviction, Eviction::Lru);
                }
                Cause::Deleted => unreachable!(),
            }
            self.model.remove(victim, *cause);
        }
        assert_eq!(lack(self.model, self.room_end), None, "there was a way to make room");
        Ok(())
    }

    /// The model without all that may go to make room for `key`.
    fn with_everything_gone(&self, key: &str) -> Model {
        let mut bare = self.model.clone();
        let evicts = bare.rules.eviction == Eviction::Lru;
        let keys: Vec<String> = bare.entries.keys().cloned().collect();
        for other in keys {
            let is_own = self.own.as_ref().is_some_and(|own| own.contains(&other));
            let expired = bare.live(&other).is_none();
            if other != key && (expired || (evicts && !is_own)) {
                bare.remove(&other, Cause::Evicted);
            }
        }
        bare
    }
}

fn held(condition: Option<Condition>, live: Option<&Known>) -> bool {
    match condition {
        None => true,
        Some(Condition::Absent) => live.is_none(),
        Some(Condition::Present) => live.is_some(),
        Some(Condition::Version(version)) => live.map(|known| known.version) == Some(version),
    }
}

//! Who makes room for a write, and when there is none.

use std::borrow::Cow;

use super::entries::charge;
use super::ledger::{Ledger, Scope, Standing};
use super::{Quota, Refusal};
use crate::model::{Cause, Change, Eviction};

/// Who makes room.
struct Victim<'c> {
    key: Cow<'c, str>,
    charge: u64,
    cause: Cause,
    slot: Option<u32>,
}

/// What one write may come to.
struct Limits {
    keys: u64,
    bytes: u64,
    keys_max: u64,
    bytes_max: u64,
}

impl Limits {
    fn quota(&self, quota: Quota) -> Refusal {
        let limit = match quota {
            Quota::Keys => self.keys_max,
            Quota::Bytes => self.bytes_max,
        };
        Refusal::QuotaExceeded { quota, limit }
    }
}

impl<'e, 'c> Ledger<'e, 'c> {
    /// Removes others until an entry charged `charge` may stand where `standing` does.
    pub(super) fn make_room(
        &mut self,
        key: &'c str,
        standing: &Standing<'e>,
        charge: u64,
    ) -> Result<(), Refusal> {
        let limits = self.limits(standing, charge);
        let Some(mut lack) = self.lack(&limits, standing, charge) else { return Ok(()) };
        if charge > limits.bytes_max && charge > standing.charge {
            return Err(limits.quota(Quota::Bytes));
        }
        let before = (self.keys, self.bytes, self.oldest.mark(), self.due.clone());
        let mut victims: Vec<Victim<'c>> = Vec::new();
        loop {
            let Some(victim) = self.next_victim(key, standing.slot, &victims) else {
                // What was planned is taken back.
                for slot in victims.iter().filter_map(|victim| victim.slot) {
                    self.claimed.remove(&slot);
                }
                (self.keys, self.bytes) = (before.0, before.1);
                self.oldest.go_back(before.2);
                self.due = before.3;
                return Err(lack);
            };
            self.keys -= 1;
            self.bytes -= victim.charge;
            self.claimed.extend(victim.slot);
            victims.push(victim);
            match self.lack(&limits, standing, charge) {
                Some(still) => lack = still,
                None => break,
            }
        }
        for victim in victims {
            if victim.slot.is_none()
                && let Some(changed) = self.changes.get_mut(&*victim.key)
            {
                (changed.live, changed.charge) = (None, 0);
            }
            self.push(Change::Remove { key: victim.key, cause: victim.cause });
        }
        Ok(())
    }

    /// The limits for one write. Where the namespace evicts and is above a limit that was lowered,
    /// the write only must not make it worse; the rest goes in slices of its own.
    fn limits(&self, standing: &Standing<'e>, charge: u64) -> Limits {
        let lenient = |limit: Option<u64>, now: u64| match self.rules.eviction {
            Eviction::Lru => limit.unwrap_or(u64::MAX).max(now),
            Eviction::None => limit.unwrap_or(u64::MAX),
        };
        let is_new = standing.charge == 0;
        let grows = charge > standing.charge;
        Limits {
            keys: if is_new { lenient(self.rules.keys_max, self.keys) } else { u64::MAX },
            bytes: if grows { lenient(self.rules.bytes_max, self.bytes) } else { u64::MAX },
            keys_max: self.rules.keys_max.unwrap_or(u64::MAX),
            bytes_max: self.rules.bytes_max.unwrap_or(u64::MAX),
        }
    }

    /// What stands against an entry charged `charge` in the place of `standing`.
    fn lack(&self, limits: &Limits, standing: &Standing<'e>, charge: u64) -> Option<Refusal> {
        let keys = self.keys + u64::from(standing.charge == 0);
        let bytes = self.bytes - standing.charge + charge;
        if keys > limits.keys {
            Some(limits.quota(Quota::Keys))
        } else if bytes > limits.bytes {
            Some(limits.quota(Quota::Bytes))
        } else if charge > standing.charge && bytes > self.bytes_end {
            Some(Refusal::MemoryExhausted)
        } else {
            None
        }
    }

    /// Whose turn it is to go: what has expired and is known to have; then, where the namespace
    /// evicts, whoever was used least recently; else whatever has expired.
    fn next_victim(
        &mut self,
        key: &str,
        slot: Option<u32>,
        chosen: &[Victim<'c>],
    ) -> Option<Victim<'c>> {
        while let Some(due) = self.due.next() {
            if self.may_go(due, slot) && self.has_expired(due) {
                return Some(self.victim(due));
            }
        }
        match self.rules.eviction {
            Eviction::Lru => {
                while let Some(old) = self.oldest.next(&self.entries.recency, &self.entries.slots) {
                    if self.may_go(old, slot) {
                        return Some(self.victim(old));
                    }
                }
                self.own_victim(key, chosen)
            }
            Eviction::None => {
                let begun = || self.entries.expiry.begun(self.now);
                let overdue = self.overdue.get_or_insert_with(|| begun().collect());
                let overdue = std::mem::take(overdue);
                let found = overdue
                    .iter()
                    .copied()
                    .find(|found| self.may_go(*found, slot) && self.has_expired(*found));
                self.overdue = Some(overdue);
                found.map(|found| self.victim(found))
            }
        }
    }

    fn may_go(&self, slot: u32, writing: Option<u32>) -> bool {
        Some(slot) != writing && !self.is_claimed(slot)
    }

    fn has_expired(&self, slot: u32) -> bool {
        self.entries.deadline(slot).is_some_and(|deadline| deadline <= self.now)
    }

    fn victim(&self, slot: u32) -> Victim<'c> {
        let cause = if self.has_expired(slot) { Cause::Expired } else { Cause::Evicted };
        let record = self.entries.record(slot);
        Victim {
            key: Cow::Owned(record.key_text().to_owned()),
            charge: charge(record.key.len(), record.value.len()),
            cause,
            slot: Some(slot),
        }
    }

    /// With everything older gone: the least recent change of this very batch.
    fn own_victim(&self, key: &str, chosen: &[Victim<'c>]) -> Option<Victim<'c>> {
        if self.scope != Scope::Independent {
            return None;
        }
        let is_chosen = |key: &str| chosen.iter().any(|victim| victim.key == key);
        let (oldest, changed) = self
            .changes
            .iter()
            .filter(|(own, changed)| changed.charge > 0 && **own != key && !is_chosen(own))
            .min_by_key(|(_, changed)| changed.order)?;
        Some(Victim {
            key: Cow::Borrowed(*oldest),
            charge: changed.charge,
            cause: Cause::Evicted,
            slot: None,
        })
    }
}

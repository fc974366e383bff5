//! Policies: of a namespace, and the server's own.

use std::num::NonZeroU64;

use super::{At, Problems};
use crate::model::{
    Bound, Durability, Eviction, Lifetime, Policy, VALUE_BYTES_HARD_MAX, WATCH_HISTORY_EVENTS_MAX,
};
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

/// What of a policy can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyField {
    MaxKeys,
    MaxBytes,
    MaxValueBytes,
    DefaultTtl,
    MaxTtl,
    EvictionPolicy,
    Durability,
    MaxOperationsPerSecond,
    WatchHistoryEvents,
}

impl PolicyField {
    pub(super) const ALL: [PolicyField; 9] = [
        PolicyField::MaxKeys,
        PolicyField::MaxBytes,
        PolicyField::MaxValueBytes,
        PolicyField::DefaultTtl,
        PolicyField::MaxTtl,
        PolicyField::EvictionPolicy,
        PolicyField::Durability,
        PolicyField::MaxOperationsPerSecond,
        PolicyField::WatchHistoryEvents,
    ];

    /// The field's name in `NamespacePolicy`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            PolicyField::MaxKeys => "max_keys",
            PolicyField::MaxBytes => "max_bytes",
            PolicyField::MaxValueBytes => "max_value_bytes",
            PolicyField::DefaultTtl => "default_ttl",
            PolicyField::MaxTtl => "max_ttl",
            PolicyField::EvictionPolicy => "eviction_policy",
            PolicyField::Durability => "durability",
            PolicyField::MaxOperationsPerSecond => "max_operations_per_second",
            PolicyField::WatchHistoryEvents => "watch_history_events",
        }
    }

    pub(super) fn named(name: &str) -> Option<PolicyField> {
        PolicyField::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Makes `to` say about this field what `from` says, nothing included.
    pub(super) fn copy(self, from: &Policy, to: &mut Policy) {
        match self {
            PolicyField::MaxKeys => to.keys_max = from.keys_max,
            PolicyField::MaxBytes => to.bytes_max = from.bytes_max,
            PolicyField::MaxValueBytes => to.value_bytes_max = from.value_bytes_max,
            PolicyField::DefaultTtl => to.ttl_default = from.ttl_default,
            PolicyField::MaxTtl => to.ttl_max = from.ttl_max,
            PolicyField::EvictionPolicy => to.eviction = from.eviction,
            PolicyField::Durability => to.durability = from.durability,
            PolicyField::MaxOperationsPerSecond => {
                to.operations_per_second_max = from.operations_per_second_max;
            }
            PolicyField::WatchHistoryEvents => to.watch_history_events = from.watch_history_events,
        }
    }

    /// Whether `policy` says anything about this field.
    pub(super) fn is_set(self, policy: &Policy) -> bool {
        match self {
            PolicyField::MaxKeys => policy.keys_max.is_some(),
            PolicyField::MaxBytes => policy.bytes_max.is_some(),
            PolicyField::MaxValueBytes => policy.value_bytes_max.is_some(),
            PolicyField::DefaultTtl => policy.ttl_default.is_some(),
            PolicyField::MaxTtl => policy.ttl_max.is_some(),
            PolicyField::EvictionPolicy => policy.eviction.is_some(),
            PolicyField::Durability => policy.durability.is_some(),
            PolicyField::MaxOperationsPerSecond => policy.operations_per_second_max.is_some(),
            PolicyField::WatchHistoryEvents => policy.watch_history_events.is_some(),
        }
    }
}

impl Problems {
    /// A policy, each field of which may be absent. `reason` is that of the method.
    pub(super) fn policy(
        &mut self,
        wire: &wire::NamespacePolicy,
        at: At<'_>,
        reason: ErrorReason,
    ) -> Option<Policy> {
        let place = |field: PolicyField| At::Field(&at, field.name());
        let keys_max = self.bound(wire.max_keys, place(PolicyField::MaxKeys), reason);
        let bytes_max = self.bound(wire.max_bytes, place(PolicyField::MaxBytes), reason);
        let value_bytes_max = {
            let most = i64::try_from(VALUE_BYTES_HARD_MAX).unwrap_or(i64::MAX);
            let place = place(PolicyField::MaxValueBytes);
            self.number(wire.max_value_bytes, place, (1, most), reason)
        };
        let ttl_default = self.lifetime(wire.default_ttl, place(PolicyField::DefaultTtl), reason);
        let ttl_max = self.lifetime(wire.max_ttl, place(PolicyField::MaxTtl), reason);
        let eviction = match wire::EvictionPolicy::try_from(wire.eviction_policy) {
            Ok(wire::EvictionPolicy::Unspecified) => Some(None),
            Ok(wire::EvictionPolicy::Lru) => Some(Some(Eviction::Lru)),
            Ok(wire::EvictionPolicy::None) => Some(Some(Eviction::None)),
            Err(_) => self.add_field(place(PolicyField::EvictionPolicy), reason, UNKNOWN),
        };
        let durability = match wire::Durability::try_from(wire.durability) {
            Ok(wire::Durability::Unspecified) => Some(None),
            Ok(wire::Durability::Memory) => Some(Some(Durability::Memory)),
            Ok(wire::Durability::Async) => Some(Some(Durability::Async)),
            Ok(wire::Durability::Sync) => Some(Some(Durability::Sync)),
            Err(_) => self.add_field(place(PolicyField::Durability), reason, UNKNOWN),
        };
        let operations_per_second_max = {
            let place = place(PolicyField::MaxOperationsPerSecond);
            self.bound(wire.max_operations_per_second, place, reason)
        };
        let watch_history_events = {
            let place = place(PolicyField::WatchHistoryEvents);
            let bounds = (0, i64::from(WATCH_HISTORY_EVENTS_MAX));
            self.number(wire.watch_history_events, place, bounds, reason)
        };
        Some(Policy {
            keys_max: keys_max?,
            bytes_max: bytes_max?,
            value_bytes_max: value_bytes_max?,
            ttl_default: ttl_default?,
            ttl_max: ttl_max?,
            eviction: eviction?,
            durability: durability?,
            operations_per_second_max: operations_per_second_max?,
            watch_history_events: watch_history_events?,
        })
    }

    #[expect(clippy::option_option, reason = "a problem and an absent field are different things")]
    fn bound(
        &mut self,
        wire: Option<wire::Limit>,
        at: At<'_>,
        reason: ErrorReason,
    ) -> Option<Option<Bound>> {
        let Some(limit) = wire else { return Some(None) };
        let bound = match limit.bound {
            Some(wire::limit::Bound::Unlimited(true)) => Some(Bound::Unlimited),
            Some(wire::limit::Bound::Unlimited(false)) => {
                self.add_field(at.field("unlimited"), reason, "must be true")
            }
            Some(wire::limit::Bound::Maximum(most)) => {
                match u64::try_from(most).ok().and_then(NonZeroU64::new) {
                    Some(most) => Some(Bound::AtMost(most)),
                    None => self.add_field(at.field("maximum"), reason, "must be at least 1"),
                }
            }
            None => self.add_field(at, reason, "must be a maximum or unlimited"),
        };
        bound.map(Some)
    }

    #[expect(clippy::option_option, reason = "a problem and an absent field are different things")]
    fn lifetime(
        &mut self,
        wire: Option<wire::Lifetime>,
        at: At<'_>,
        reason: ErrorReason,
    ) -> Option<Option<Lifetime>> {
        let Some(lifetime) = wire else { return Some(None) };
        let lifetime = match lifetime.length {
            Some(wire::lifetime::Length::Unlimited(true)) => Some(Lifetime::Unlimited),
            Some(wire::lifetime::Length::Unlimited(false)) => {
                self.add_field(at.field("unlimited"), reason, "must be true")
            }
            Some(wire::lifetime::Length::Ttl(ttl)) => {
                self.ttl(&ttl, at.field("ttl"), reason).map(Lifetime::Ttl)
            }
            None => self.add_field(at, reason, "must be a ttl or unlimited"),
        };
        lifetime.map(Some)
    }

    #[expect(clippy::option_option, reason = "a problem and an absent field are different things")]
    fn number(
        &mut self,
        wire: Option<i64>,
        at: At<'_>,
        (least, most): (i64, i64),
        reason: ErrorReason,
    ) -> Option<Option<u32>> {
        let Some(number) = wire else { return Some(None) };
        match u32::try_from(number) {
            Ok(parsed) if number >= least && number <= most => Some(Some(parsed)),
            Ok(_) | Err(_) => self.add_field(at, reason, &format!("must be {least} to {most}")),
        }
    }
}

const UNKNOWN: &str = "is not a value this server knows";

//! Slows down who shows wrong credentials too often.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Failures each second that an address has free: a restart of all of a tenant's clients with an old
/// token should be told at once.
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

/// How much later the answer to one more comes. A guess then costs a second of a stream's place, of which
/// an address has a bounded number.
const DELAY: Duration = Duration::from_secs(1);

/// Addresses remembered before those are forgotten that are quiet.
const ADDRESSES_MAX: usize = 10_000;

/// What an IPv6 network gives to one customer has 64 bits.
const IPV6_PREFIX_BITS: u32 = 64;

/// Failures by address.
#[derive(Debug)]
pub(super) struct Slowing(RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>);

impl Slowing {
    pub(super) fn new() -> Slowing {
        let quota = Quota::per_second(FAILURES_PER_SECOND);
        Slowing(RateLimiter::new(quota, HashMapStateStore::default(), DefaultClock::default()))
    }

    /// Counts a failure of `address`; how long its answer should wait.
    pub(super) fn failed(&self, address: Option<IpAddr>) -> Duration {
        if self.0.len() > ADDRESSES_MAX {
            self.0.retain_recent();
        }
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        match self.0.check_key(&address) {
            Ok(()) => Duration::ZERO,
            Err(_) => DELAY,
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let kept = u128::from(address) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from(kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_often_waits_and_the_others_do_not() {
        let slowing = Slowing::new();
        let (bad, good) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let waited = (0..100).filter(|_| slowing.failed(bad) == DELAY).count();
        assert!(waited >= 80, "{waited}");
        assert_eq!(slowing.failed(good), Duration::ZERO);
    }

    #[test]
    fn all_addresses_of_a_customer_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}

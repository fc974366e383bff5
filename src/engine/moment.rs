//! When an entry expires: the wish, the namespace's rules, and what stands, made into one moment.

use super::{Expiration, Refusal};
use crate::model::{Rules, UnixMillis};

/// What an [`Expiration`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The moment is past: the entry goes at once.
    Gone,
    /// It lives until then; `None`: for good.
    Until(Option<UnixMillis>),
}

/// Rules on `wish` at `now`; `standing` is the deadline of the live entry, if there is one.
///
/// A longest time to live shortens every wish but "never", which it refuses. Lengths that come
/// from the rules end with the year 9999; one that the caller gave is refused beyond it.
pub(super) fn resolve(
    wish: Expiration,
    rules: &Rules,
    standing: Option<Option<UnixMillis>>,
    now: UnixMillis,
) -> Result<Fate, Refusal> {
    let bound = rules.ttl_max.map(|ttl| now.checked_add(ttl).unwrap_or(UnixMillis::MAX));
    let capped = |wish: Option<UnixMillis>| match (wish, bound) {
        (Some(wish), Some(bound)) => Fate::Until(Some(wish.min(bound))),
        (wish, bound) => Fate::Until(wish.or(bound)),
    };
    let default =
        || capped(rules.ttl_default.map(|ttl| now.checked_add(ttl).unwrap_or(UnixMillis::MAX)));
    match wish {
        Expiration::Default => Ok(default()),
        Expiration::After(ttl) => match now.checked_add(ttl).or(bound) {
            Some(moment) => Ok(capped(Some(moment))),
            None => Err(Refusal::DeadlineTooFar),
        },
        Expiration::At(moment) if moment <= now => Ok(Fate::Gone),
        Expiration::At(moment) => Ok(capped(Some(moment))),
        Expiration::Never if rules.ttl_max.is_some() => Err(Refusal::ExpirationRequired),
        Expiration::Never => Ok(Fate::Until(None)),
        Expiration::Keep => Ok(standing.map_or_else(default, capped)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ttl;

    fn at(millis: u64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    #[test]
    fn a_wish_is_kept_within_the_rules() {
        let ttl = |millis| Ttl::from_millis(millis).unwrap();
        let rules = |ttl_default: Option<u64>, ttl_max: Option<u64>| Rules {
            ttl_default: ttl_default.map(ttl),
            ttl_max: ttl_max.map(ttl),
            ..Rules::default()
        };
        let check = |rules: &Rules, wish, standing: Option<Option<u64>>, expected| {
            let standing = standing.map(|deadline| deadline.map(at));
            assert_eq!(resolve(wish, rules, standing, at(1000)), expected, "{wish:?}");
        };
        let until = |millis: u64| Ok(Fate::Until(Some(at(millis))));
        let forever = Ok(Fate::Until(None));
        let free = rules(None, None);
        check(&free, Expiration::Default, None, forever);
        check(&free, Expiration::After(ttl(5)), None, until(1005));
        check(&free, Expiration::At(at(1001)), None, until(1001));
        check(&free, Expiration::At(at(1000)), None, Ok(Fate::Gone));
        check(&free, Expiration::Never, Some(Some(1005)), forever);
        check(&free, Expiration::Keep, Some(Some(1005)), until(1005));
        check(&free, Expiration::Keep, Some(None), forever);
        let too_far = Expiration::After(ttl(UnixMillis::MAX.as_millis()));
        check(&free, too_far, None, Err(Refusal::DeadlineTooFar));
        let bound = rules(Some(50), Some(20));
        check(&bound, Expiration::Default, None, until(1020));
        check(&bound, Expiration::After(ttl(5)), None, until(1005));
        check(&bound, Expiration::After(ttl(50)), None, until(1020));
        check(&bound, too_far, None, until(1020));
        check(&bound, Expiration::At(at(5000)), None, until(1020));
        check(&bound, Expiration::Never, None, Err(Refusal::ExpirationRequired));
        check(&bound, Expiration::Keep, Some(None), until(1020));
        check(&bound, Expiration::Keep, Some(Some(1010)), until(1010));
        check(&bound, Expiration::Keep, None, until(1020));
        check(&rules(None, Some(20)), Expiration::Default, None, until(1020));
        check(&rules(Some(5), None), Expiration::Keep, None, until(1005));
        check(&rules(Some(UnixMillis::MAX.as_millis()), None), Expiration::Default, None, {
            Ok(Fate::Until(Some(UnixMillis::MAX)))
        });
    }
}

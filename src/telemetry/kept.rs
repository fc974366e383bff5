//! Which namespaces have series of their own, and what the others come to.
//!
//! A counter must never go back, or whoever looks at it takes that for a restart. So a namespace that
//! has series keeps them as long as it exists, and what the others have counted stays in their sum when
//! they are gone.

use std::collections::BTreeMap;

use super::store::NamespaceSample;

/// The name that the sum of the others has.
const OTHER: &str = "_other";

/// What is remembered from one scrape to the next.
#[derive(Debug)]
pub(super) struct Kept {
    most: usize,
    /// Those with series of their own, and of the others what they had counted.
    own: BTreeMap<String, ()>,
    others: BTreeMap<String, NamespaceSample>,
    /// What the others have counted, those that are gone too.
    sum: Option<NamespaceSample>,
}

impl Kept {
    pub(super) const fn new(most: usize) -> Kept {
        Kept { most, own: BTreeMap::new(), others: BTreeMap::new(), sum: None }
    }

    /// Those with series of their own, in the order of their names, and one more that is the sum of the
    /// others, once there have been any.
    pub(super) fn bounded(&mut self, mut namespaces: Vec<NamespaceSample>) -> Vec<NamespaceSample> {
        namespaces.sort_by(|one, other| one.name.cmp(&other.name));
        let exists =
            |name: &str| namespaces.binary_search_by(|n| n.name.as_str().cmp(name)).is_ok();
        self.own.retain(|name, ()| exists(name));
        self.others.retain(|name, _| exists(name));
        for namespace in &namespaces {
            let is_new = !self.others.contains_key(&namespace.name);
            if is_new && self.own.len() < self.most {
                self.own.insert(namespace.name.clone(), ());
            }
        }
        let (mut shown, others): (Vec<_>, Vec<_>) =
            namespaces.into_iter().partition(|namespace| self.own.contains_key(&namespace.name));
        if !others.is_empty() || self.sum.is_some() {
            shown.push(self.summed(others));
        }
        shown
    }

    fn summed(&mut self, others: Vec<NamespaceSample>) -> NamespaceSample {
        let sum = self.sum.get_or_insert_with(|| NamespaceSample {
            name: OTHER.to_owned(),
            ..NamespaceSample::default()
        });
        (sum.keys, sum.bytes, sum.watches) = (0, 0, 0);
        for now in others {
            let before = self.others.remove(&now.name).unwrap_or_default();
            sum.keys += now.keys;
            sum.bytes += now.bytes;
            sum.watches += now.watches;
            let counters: [fn(&mut NamespaceSample) -> &mut u64; 8] = [
                |n| &mut n.hits,
                |n| &mut n.misses,
                |n| &mut n.sets,
                |n| &mut n.deletes,
                |n| &mut n.expirations,
                |n| &mut n.evictions,
                |n| &mut n.quota_rejections,
                |n| &mut n.rate_limit_rejections,
            ];
            let (mut was, mut is) = (before, now.clone());
            for counter in counters {
                // One that was made anew under the same name begins at nothing.
                let grown = match (*counter(&mut is), *counter(&mut was)) {
                    (is, was) if is >= was => is - was,
                    (is, _) => is,
                };
                *counter(sum) += grown;
            }
            self.others.insert(now.name.clone(), now);
        }
        sum.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, hits: u64) -> NamespaceSample {
        NamespaceSample { name: name.into(), keys: 1, hits, ..NamespaceSample::default() }
    }

    /// Names with their hits.
    fn shown(kept: &mut Kept, namespaces: &[(&str, u64)]) -> Vec<(String, u64)> {
        let samples = namespaces.iter().map(|(name, hits)| sample(name, *hits)).collect();
        kept.bounded(samples)
            .into_iter()
            .map(|namespace| (namespace.name, namespace.hits))
            .collect()
    }

    fn named(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(name, hits)| ((*name).to_owned(), *hits)).collect()
    }

    #[test]
    fn no_counter_goes_back_whoever_comes_and_goes() {
        let mut kept = Kept::new(2);
        let mut check = |given: &[(&str, u64)], expected: &[(&str, u64)]| {
            assert_eq!(shown(&mut kept, given), named(expected), "{given:?}");
        };
        check(&[("c", 5), ("b", 3)], &[("b", 3), ("c", 5)]);
        // One that comes first in the alphabet takes nobody's place.
        check(&[("a", 7), ("b", 3), ("c", 5)], &[("b", 3), ("c", 5), ("_other", 7)]);
        check(&[("a", 9), ("b", 4), ("c", 5), ("d", 1)], &[("b", 4), ("c", 5), ("_other", 10)]);
        // One of the others is gone, and what it has counted stays.
        check(&[("b", 4), ("c", 5), ("d", 2)], &[("b", 4), ("c", 5), ("_other", 11)]);
        // There is a free place, for one that comes anew.
        check(&[("c", 5), ("d", 2), ("e", 1)], &[("c", 5), ("e", 1), ("_other", 11)]);
        // Made anew under the same name.
        check(&[("c", 5), ("d", 1), ("e", 1)], &[("c", 5), ("e", 1), ("_other", 12)]);
        check(&[("c", 5)], &[("c", 5), ("_other", 12)]);
    }

    #[test]
    fn what_the_others_hold_is_what_there_is_now() {
        let mut kept = Kept::new(0);
        let held = |kept: &mut Kept, count: usize| {
            let samples = (0..count).map(|n| sample(&format!("n{n}"), 0)).collect();
            kept.bounded(samples).last().map(|other| other.keys)
        };
        assert_eq!(held(&mut kept, 3), Some(3));
        assert_eq!(held(&mut kept, 1), Some(1));
    }
}

//! The keys used most, in a bounded place: a Space-Saving sketch.
//!
//! Each key in it has counts of its own, and a rank: these together, and the rank of the key whose
//! place it took. A key that is not there takes the place of the one that ranks lowest. So the rank
//! is never below what is true, and the counts are never above it. Where W is the weight of
//! everything added, every key with more than W / [`PLACES`] is there, and its counts together miss
//! at most W / [`PLACES`]. (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and
//! Top-k Elements in Data Streams, 2005.) This holds for keys of 256 bytes on average; longer ones
//! share fewer places.

/// Most keys; more than can be asked for.
pub(super) const PLACES: usize = 128;

/// Most bytes of keys: 256 for each place, and more than a few of the longest.
pub(super) const TEXT_BYTES_MAX: usize = 32 << 10;

/// How an entry is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::embedded) enum Access {
    /// It is looked up, found or not.
    Read,
    /// It is changed, or taken away on request.
    Write,
}

/// A key and how often it was used since it is there.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) key: Box<str>,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// Keys with their counts. What is searched lies apart from what is found.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    hashes: Vec<u64>,
    ranks: Vec<u64>,
    counted: Vec<Counted>,
    text_bytes: usize,
}

impl Sketch {
    /// Counts `weight` uses of `key`, which hashes to `hash`.
    pub(super) fn add(&mut self, hash: u64, key: &str, access: Access, weight: u64) {
        let place = self.find(hash, key).unwrap_or_else(|| self.insert(hash, key));
        self.ranks[place] += weight;
        let counted = &mut self.counted[place];
        match access {
            Access::Read => counted.reads += weight,
            Access::Write => counted.writes += weight,
        }
    }

    /// The keys, in no order.
    pub(super) fn counted(&self) -> &[Counted] {
        &self.counted
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.ranks.clear();
        self.counted.clear();
        self.text_bytes = 0;
    }

    fn find(&self, hash: u64, key: &str) -> Option<usize> {
        let same = |place: &usize| self.hashes[*place] == hash && *self.counted[*place].key == *key;
        (0..self.hashes.len()).find(same)
    }

    /// Gives `key` a place with the rank of the one that had it, and no counts.
    fn insert(&mut self, hash: u64, key: &str) -> usize {
        let mut rank = 0;
        while self.counted.len() == PLACES || self.text_bytes + key.len() > TEXT_BYTES_MAX {
            rank = self.remove_lowest().max(rank);
        }
        self.text_bytes += key.len();
        self.hashes.push(hash);
        self.ranks.push(rank);
        self.counted.push(Counted { key: key.into(), reads: 0, writes: 0 });
        self.counted.len() - 1
    }

    /// Takes a place away and returns its rank. There is one: a single key always fits.
    fn remove_lowest(&mut self) -> u64 {
        let lowest = self.ranks.iter().enumerate().min_by_key(|(_, rank)| **rank);
        let place = lowest.map(|(place, _)| place).expect("a key fits into an empty sketch");
        self.hashes.swap_remove(place);
        self.text_bytes -= self.counted.swap_remove(place).key.len();
        self.ranks.swap_remove(place)
    }

    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> usize {
        assert_eq!(self.text_bytes, self.counted.iter().map(|one| one.key.len()).sum::<usize>());
        self.text_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::KEY_BYTES_MAX;

    /// A stream in which few keys have most of the uses: the fourth power of a uniform choice.
    fn traffic() -> impl Strategy<Value = Vec<(u64, Access, u64)>> {
        let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
        let key = (0_u64..10_000).prop_map(|x| x.pow(4) / 3_000_000_000_000);
        proptest::collection::vec((key, access, 1_u64..4), 0..6000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn what_is_used_most_is_there_and_its_counts_are_within_the_bound(traffic in traffic()) {
            let (mut sketch, mut exact) = (Sketch::default(), BTreeMap::new());
            let mut total = 0;
            for (key, access, weight) in traffic {
                // Hashes that collide now and then.
                sketch.add(key % 1000, &key.to_string(), access, weight);
                let (reads, writes) = exact.entry(key.to_string()).or_insert((0, 0));
                *if access == Access::Read { reads } else { writes } += weight;
                total += weight;
            }
            prop_assert!(sketch.counted().len() <= PLACES);
            let bound = total / PLACES as u64;
            let told: BTreeMap<&str, _> = sketch.counted().iter().map(|one| (&*one.key, one)).collect();
            for (key, (reads, writes)) in &exact {
                let Some(one) = told.get(key.as_str()) else {
                    prop_assert!(reads + writes <= bound, "{key} is missing");
                    continue;
                };
                prop_assert!(one.reads <= *reads && one.writes <= *writes);
                prop_assert!(one.reads + one.writes + bound >= reads + writes, "{key}");
            }
        }
    }

    #[test]
    fn long_keys_share_fewer_places() {
        let mut sketch = Sketch::default();
        for number in 0..1000_u64 {
            sketch.add(number, &format!("{number:0KEY_BYTES_MAX$}"), Access::Read, 1);
            assert!(sketch.text_bytes() <= TEXT_BYTES_MAX);
        }
        assert_eq!(sketch.counted().len(), TEXT_BYTES_MAX / KEY_BYTES_MAX);
        for number in 0..1000_u64 {
            sketch.add(number, &number.to_string(), Access::Read, 1);
        }
        assert!(sketch.counted().len() == PLACES && sketch.text_bytes() < TEXT_BYTES_MAX);
    }
}

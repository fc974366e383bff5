//! What is told of the keys used most, against what is true.

use super::sketch::{PLACES, TEXT_BYTES_MAX};
use super::*;
use crate::model::KEY_BYTES_MAX;

const START: u64 = 1_700_000_000_000;

/// A namespace's heat with a chance that repeats.
struct Bench {
    heat: Heat,
    gauges: Gauges,
    now: u64,
    random: u64,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let gauges = Gauges::default();
        let now = UnixMillis::from_millis(START);
        let hasher = RandomState::with_seeds(seed, 1, 2, 3);
        let mut gauge = Gauge::new(hasher, now, gauges.take().unwrap());
        let skip = gauge.distance();
        let heat = Heat { skip, gauge: Some(Box::new(gauge)), ..Heat::default() };
        Bench { heat, gauges, now: START, random: seed | 1 }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now)
    }

    fn note(&mut self, access: Access, keys: &[&str]) {
        let now = self.now();
        self.heat.note(access, keys.len(), keys.iter().copied(), now, &self.gauges);
    }

    fn told(&mut self, most: usize) -> HotKeys {
        let now = self.now();
        self.heat.hottest(most, now)
    }

    fn choice(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    /// A number of 1 to 10,000 by Zipf's law, about.
    #[expect(clippy::cast_possible_truncation, reason = "it is at most 10,000")]
    fn zipf(&mut self) -> u64 {
        let uniform = self.choice() as f64 / (1_u64 << 53) as f64;
        10_000_f64.powf(uniform) as u64
    }
}

#[test]
fn a_little_traffic_is_told_exactly() {
    let mut bench = Bench::new(1);
    for second in 0..10 {
        bench.now = START + 1000 * second;
        bench.note(Access::Read, &["a", "b", "a"]);
        bench.note(Access::Write, &["c"]);
    }
    bench.now += 1000;
    let HotKeys { keys, window } = bench.told(2);
    assert_eq!(window, Duration::from_secs(10));
    let key = |key: &str, reads, writes| HotKey {
        key: key.to_owned(),
        reads_per_second: reads,
        writes_per_second: writes,
    };
    assert_eq!(keys, [key("a", 2.0, 0.0), key("b", 1.0, 0.0)]);
    assert_eq!(bench.told(9).keys[2], key("c", 0.0, 1.0));
}

/// 20,000 operations a second for 20 s: what is told of the ten keys used most is off by at most one
/// part in [`PLACES`] of everything, and five standard deviations of what the sample does.
#[test]
fn of_much_traffic_the_keys_used_most_are_found_and_told_within_a_bound() {
    for seed in 1..20 {
        let mut bench = Bench::new(seed);
        let mut exact: BTreeMap<u64, u64> = BTreeMap::new();
        let (seconds, rate) = (20, 20_000_u64);
        for number in 0..seconds * rate {
            bench.now = START + number * 1000 / rate;
            let key = bench.zipf();
            *exact.entry(key).or_default() += 1;
            bench.note(Access::Read, &[&key.to_string()]);
        }
        bench.now = START + seconds * 1000;
        let told = bench.told(100);
        let mut exact: Vec<_> = exact.into_iter().collect();
        exact.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total = (seconds * rate) as f64;
        for (place, (key, count)) in exact.iter().take(10).enumerate() {
            let found = told.keys.iter().position(|one| one.key == key.to_string());
            let found = found.unwrap_or_else(|| panic!("{key} is missing, seed {seed}"));
            assert!(found.abs_diff(place) <= 3, "{key} is at {found}, not {place}, seed {seed}");
            let estimate = told.keys[found].reads_per_second * seconds as f64;
            let deviation = (*count as f64 * f64::from(INTERVAL)).sqrt();
            let bound = total / PLACES as f64 + 5.0 * deviation;
            let error = (estimate - *count as f64).abs();
            assert!(error <= bound, "{key}: {estimate}, not {count}, seed {seed}");
        }
        assert_eq!(told.keys[0].key, "1", "seed {seed}");
    }
}

#[test]
fn a_pattern_that_repeats_is_seen_at_every_place_of_it() {
    let mut bench = Bench::new(7);
    let keys: Vec<String> = (0..INTERVAL).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for number in 0..10_000 {
        bench.now = START + number;
        // As one batch, and one by one.
        bench.note(Access::Read, &keys);
        keys.iter().for_each(|key| bench.note(Access::Read, &[key]));
    }
    let told = bench.told(100);
    assert_eq!(told.keys.len(), keys.len());
    for one in told.keys {
        let share = one.reads_per_second / 2000.0;
        assert!((0.5..1.5).contains(&share), "{} is told {share} times as often", one.key);
    }
}

#[test]
fn what_is_long_ago_is_forgotten() {
    let mut bench = Bench::new(3);
    bench.note(Access::Read, &["old"]);
    bench.now += WINDOW_MILLIS;
    bench.note(Access::Write, &["new"]);
    let told = bench.told(9);
    assert_eq!((told.keys.len(), told.window), (2, Duration::from_millis(WINDOW_MILLIS)));
    bench.now += WINDOW_MILLIS;
    let told = bench.told(9);
    assert_eq!(told.keys.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["new"]);
    bench.now += 2 * WINDOW_MILLIS;
    assert!(bench.told(9).keys.is_empty());
}

#[test]
fn a_namespace_at_rest_has_no_gauge() {
    let mut bench = Bench { heat: Heat::default(), ..Bench::new(4) };
    assert_eq!(bench.told(9), HotKeys::default());
    assert!(bench.heat.gauge.is_none() && bench.gauges.0.load(Ordering::Relaxed) == 0);
    bench.note(Access::Read, &["k"]);
    assert!(bench.heat.gauge.is_some() && bench.gauges.0.load(Ordering::Relaxed) == 1);
    bench.heat.rest(UnixMillis::from_millis(START + WINDOW_MILLIS));
    assert!(bench.heat.gauge.is_some());
    bench.heat.rest(UnixMillis::from_millis(START + SECOND_MILLIS + 2 * WINDOW_MILLIS));
    assert!(bench.heat.gauge.is_none() && bench.gauges.0.load(Ordering::Relaxed) == 0);
}

#[test]
fn gauges_are_bounded_in_number_and_in_size() {
    let mut bench = Bench { heat: Heat::default(), ..Bench::new(5) };
    let mut places: Vec<_> = (0..GAUGES_MAX).map(|_| bench.gauges.take().unwrap()).collect();
    assert!(bench.gauges.take().is_none());
    for number in 0..1000 {
        bench.now = START + number;
        bench.note(Access::Read, &["k"]);
    }
    assert!(bench.heat.gauge.is_none());
    places.pop();
    bench.now += SECOND_MILLIS;
    // The longest keys there are, as many as are counted in two windows.
    for number in 0..100_000_u64 {
        bench.now += 1;
        let key = format!("{number:0KEY_BYTES_MAX$}");
        bench.note(Access::Write, &[&key]);
    }
    let gauge = bench.heat.gauge.as_ref().unwrap();
    let windows = gauge.last.iter().chain([&gauge.current]);
    let sizes: Vec<_> = windows.map(|window| window.sketch.text_bytes()).collect();
    assert_eq!(sizes, [TEXT_BYTES_MAX; 2]);
}

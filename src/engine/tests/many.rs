//! What only shows with many entries: searches in slices, several chunks, several blocks.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::engine::{ImageCursor, Reading, Scan};
use crate::model::{Cause, Change, Mutation, Rules, Ttl, Version};

/// A sequence of numbers that look random; the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn set_for(text: &str, value: &[u8], expiration: Expiration) -> Command {
    Command::Set {
        key: key(text),
        value: Bytes::copy_from_slice(value),
        expiration,
        condition: None,
        return_previous: false,
    }
}

/// Thousands of entries at a limit, read and written at random; each eviction is compared with a
/// list in the order of use. `ready` says after how many writes the engine may look around.
fn check_order(ready: u64, wear_out: bool) {
    let keys_max = 9_000;
    let mut engine = Engine::new(Rules { keys_max: Some(keys_max), ..Rules::default() });
    let mut used: HashMap<String, u64> = HashMap::new();
    let mut order: BTreeMap<u64, String> = BTreeMap::new();
    let mut numbers = Numbers(88_172_645_463_325_252);
    for step in 1..40_000_u64 {
        if wear_out && step == 20_000 {
            engine.entries.recency.wear_out();
        }
        let name = format!("k{}", numbers.below(12_000));
        let mut note = |name: String| {
            if let Some(before) = used.insert(name.clone(), step) {
                order.remove(&before);
            }
            order.insert(step, name);
        };
        if numbers.below(3) == 0 {
            if value(&mut engine, &name).is_some() {
                note(name);
            }
            continue;
        }
        note(name.clone());
        if step % ready == 0 {
            engine.ready();
        }
        let commands = [set(&name, b"")];
        let decision = engine.decide(&commands, false, NOW, u64::MAX);
        for mutation in &decision.mutations {
            engine.apply(mutation);
            if let Change::Remove { key, cause: Cause::Evicted } = &mutation.change {
                let (_, oldest) = order.pop_first().unwrap();
                assert_eq!(oldest, *key, "step {step}");
                used.remove(&oldest);
            }
        }
    }
    assert_eq!(engine.usage().keys, keys_max);
}

#[test]
fn eviction_is_exact_among_thousands() {
    check_order(1, false);
    check_order(500, false);
}

#[test]
fn the_order_of_use_outlives_its_numbers() {
    check_order(7, true);
}

#[test]
fn memory_is_compacted_and_what_moves_stays_readable() {
    let mut engine = Engine::new(Rules::default());
    let mut numbers = Numbers(7);
    let mut lengths: HashMap<String, usize> = HashMap::new();
    for _ in 0..60_000 {
        let name = format!("k{}", numbers.below(3_000));
        if numbers.below(4) == 0 {
            let delete =
                [Command::Delete { key: key(&name), condition: None, return_previous: false }];
            run(&mut engine, &delete, false);
            lengths.remove(&name);
            continue;
        }
        let is_large = numbers.below(500) == 0;
        let length = usize::try_from(numbers.below(if is_large { 50_000 } else { 900 })).unwrap();
        run(&mut engine, &[set(&name, &vec![u8::try_from(name.len()).unwrap(); length])], false);
        lengths.insert(name, length);
    }
    let arena = &engine.entries.arena;
    let (filled, live) = (arena.filled(), arena.live());
    assert!(live * 5 > filled * 4, "{live} bytes of {filled} are alive");
    while engine.defragment(10_000) {}
    let arena = &engine.entries.arena;
    assert!(arena.filled() - arena.live() <= arena.filled() / 8);
    let charged: u64 = lengths.iter().map(|(k, len)| super::model::charge(k, &vec![0; *len])).sum();
    assert_eq!((engine.usage().bytes, engine.usage().keys), (charged, lengths.len() as u64));
    for (name, length) in &lengths {
        let value = value(&mut engine, name).unwrap();
        assert!(
            value.len() == *length && value.iter().all(|byte| usize::from(*byte) == name.len())
        );
    }
    for name in lengths.keys() {
        let delete = [Command::Delete { key: key(name), condition: None, return_previous: false }];
        run(&mut engine, &delete, false);
    }
    assert_eq!(engine.entries.arena.filled(), 0, "nothing is kept for nothing");
}

#[test]
fn the_order_of_keys_is_kept_while_it_is_built_and_after() {
    let mut engine = Engine::new(Rules::default());
    let mut numbers = Numbers(11);
    let mut known: BTreeMap<String, ()> = BTreeMap::new();
    for step in 0..30_000 {
        let name = format!("{:04}", numbers.below(6_000));
        if numbers.below(5) < 2 || step > 25_000 {
            let delete =
                [Command::Delete { key: key(&name), condition: None, return_previous: false }];
            run(&mut engine, &delete, false);
            known.remove(&name);
        } else {
            run(&mut engine, &[set(&name, b"v")], false);
            known.insert(name, ());
        }
        if step > 5_000 {
            engine.index_step(1);
        }
    }
    assert!(engine.index_ready());
    let mut seen = Vec::new();
    let mut scan = Scan {
        prefix: String::new(),
        start_after: None,
        entries_max: 700,
        bytes_max: 1 << 20,
        view: View::Key,
        reading: Reading::Use,
    };
    loop {
        let (found, more) = engine.scan(&scan, NOW);
        seen.extend(found.into_iter().map(|(key, _)| key.into_string()));
        scan.start_after = seen.last().cloned();
        if !more {
            break;
        }
    }
    assert!(seen.iter().eq(known.keys()));
    for prefix in ["0", "1", "12", "599", "6"] {
        let expected = known.keys().filter(|key| key.starts_with(prefix)).count() as u64;
        assert_eq!(engine.count(prefix, NOW), expected, "{prefix}");
    }
}

#[test]
fn everything_expires_in_its_time_and_in_slices() {
    let mut engine = Engine::new(Rules::default());
    let mut numbers = Numbers(5);
    let mut deadlines: HashMap<String, u64> = HashMap::new();
    for step in 0..30_000_u64 {
        let name = format!("k{}", numbers.below(4_000));
        if numbers.below(3) == 0 {
            let delete =
                [Command::Delete { key: key(&name), condition: None, return_previous: false }];
            run(&mut engine, &delete, false);
            deadlines.remove(&name);
            continue;
        }
        let millis = 1 + numbers.below(1 << (4 + step % 24));
        let expiration = Expiration::After(Ttl::from_millis(millis).unwrap());
        run(&mut engine, &[set_for(&name, b"", expiration)], false);
        deadlines.insert(name, NOW.as_millis() + millis);
        let bound = 4 * deadlines.len() + 4 * 1024;
        assert!(engine.entries.expiry.refs() <= bound, "stale references stay few");
    }
    let mut calls = 0;
    while let Some(next) = engine.next_deadline() {
        let first = deadlines.values().min().copied().unwrap_or(u64::MAX);
        assert!(next.as_millis() <= first);
        let now = UnixMillis::from_millis(next.as_millis().max(NOW.as_millis()));
        let facts = engine.expire(now, 10);
        assert!(facts.len() <= 10);
        for fact in &facts {
            let Change::Remove { key, cause: Cause::Expired } = &fact.change else { panic!() };
            assert!(deadlines.remove(&**key).unwrap() <= now.as_millis());
            engine.apply(fact);
        }
        calls += 1;
        assert!(calls < 200_000, "it comes to an end");
    }
    assert_eq!((engine.usage().keys, deadlines.len()), (0, 0));
}

#[test]
fn a_snapshot_shows_what_exists_throughout_exactly_once() {
    let mut engine = Engine::new(Rules::default());
    for n in 0..500 {
        run(&mut engine, &[set(&format!("stays{n}"), b"1"), set(&format!("goes{n}"), b"1")], false);
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut cursor = Some(ImageCursor::default());
    let mut n = 0;
    while let Some(from) = cursor {
        cursor = engine.image(from, 200, NOW, &mut |mutation: &Mutation<'_>| {
            let Change::Set { key, .. } = &mutation.change else { panic!() };
            *seen.entry(key.to_string()).or_default() += 1;
        });
        let gone = Command::Delete {
            key: key(&format!("goes{n}")),
            condition: None,
            return_previous: false,
        };
        let long = vec![b'x'; 300];
        run(
            &mut engine,
            &[gone, set(&format!("new{n}"), b""), set(&format!("stays{n}"), &long)],
            false,
        );
        engine.defragment(1000);
        n = (n + 1) % 500;
    }
    assert!((0..500).all(|n| seen.get(&format!("stays{n}")) == Some(&1)));
    assert!(engine.version() > Version(1000));
}

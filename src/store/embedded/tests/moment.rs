//! A copy shows one moment over all namespaces, whatever is written beside it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::snapshots::{Image, image};
use super::{Home, block_on};
use crate::model::{Bound, Durability, Policy};
use crate::store::conformance::snapshots::export;
use crate::store::conformance::{
    World, add, delete, make, many_in, one_in, set, set_for, space, ttl,
};
use crate::store::embedded::Embedded;
use crate::store::{Batch, Expiration, Store};

/// Copies taken.
const FILES: usize = 60;
/// Threads that count.
const COUNTERS: usize = 2;
/// Entries that make a walk take longer than many writes, in each of two namespaces.
const FILLERS: usize = 20_000;

fn counter(n: usize) -> String {
    format!("counter{n}")
}

/// A number in an image; none yet is zero.
fn number(image: &Image, space: &str, key: &str) -> i64 {
    image.get(space).and_then(|space| space.get(key)).map_or(0, |text| text.parse().unwrap())
}

async fn fill(store: &Embedded) {
    let spaces =
        [("a", Durability::Memory), ("b", Durability::Async), ("pairs", Durability::Memory)];
    for (name, durability) in spaces {
        make(store, name, Policy { durability: Some(durability), ..Policy::default() }).await;
    }
    let few = std::num::NonZeroU64::new(50).map(Bound::AtMost);
    let durability = Some(Durability::Memory);
    make(store, "evicting", Policy { keys_max: few, durability, ..Policy::default() }).await;
    make(store, "cleared", Policy { durability, ..Policy::default() }).await;
    let filler = |n| set(&format!("filler{n}"), &"x".repeat(50));
    for start in (0..FILLERS).step_by(1000) {
        for name in ["a", "b"] {
            many_in(store, name, (start..start + 1000).map(filler).collect()).await;
        }
    }
}

/// Writes until told to stop; `step` is one round of writes by a thread of its own.
fn write_until<'s>(
    scope: &'s thread::Scope<'s, '_>,
    stop: &'s AtomicBool,
    store: &Embedded,
    step: impl AsyncFn(&Embedded, u32) + Send + 's,
) {
    let store = store.clone();
    scope.spawn(move || {
        block_on(async {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                step(&store, round).await;
                round += 1;
            }
        });
    });
}

/// Pairs that are written together, and what overwrites, expires and is evicted.
async fn write_pairs(store: &Embedded, round: u32) {
    let value = round.to_string();
    let long = "y".repeat(1 + round as usize % 90);
    let pair = vec![set("left", &value), set("pad", &long), set("right", &value)];
    let batch = Batch { commands: pair, atomic: true };
    store.write(&space("pairs"), batch).await.unwrap();
    one_in(store, "evicting", set(&format!("k{round}"), &value)).await;
    let soon = set_for("soon", &value, Expiration::After(ttl(1 + u64::from(round) % 3)));
    many_in(store, "pairs", vec![soon, delete("left"), set("left", &value)]).await;
}

/// First the mark, then what is cleared and dropped again: a copy that has some of a round has its
/// mark.
async fn clear_and_drop(store: &Embedded, round: u32) {
    let value = round.to_string();
    one_in(store, "a", set("round", &value)).await;
    many_in(store, "cleared", vec![set("x", &value), set("y", "1")]).await;
    store.clear_namespace(&space("cleared")).await.unwrap();
    let name = format!("dropped{}", round % 3);
    one_in(store, &name, set("k", &value)).await;
    store.delete_namespace(&space(&name), true).await.unwrap();
}

/// Takes copies, one after the other, beside all of this.
fn copies_beside_writes(home: &Home) -> Vec<Vec<u8>> {
    let (store, stop) = (home.store(), AtomicBool::new(false));
    thread::scope(|scope| {
        for n in 0..COUNTERS {
            let name = counter(n);
            write_until(scope, &stop, store, async move |store, _| {
                one_in(store, "a", add(&name, 1)).await;
                one_in(store, "b", add(&name, 1)).await;
            });
        }
        write_until(scope, &stop, store, async |store, round| write_pairs(store, round).await);
        write_until(scope, &stop, store, async |store, round| clear_and_drop(store, round).await);
        let files = block_on(async {
            let mut files = Vec::new();
            for _ in 0..FILES {
                files.push(export(store, &[]).await.unwrap().0);
                home.advance(1);
            }
            files
        });
        stop.store(true, Ordering::Relaxed);
        files
    })
}

/// Fails unless everything in `image` can have been there at one moment.
fn check(image: &Image) {
    for n in 0..COUNTERS {
        let (a, b) = (number(image, "a", &counter(n)), number(image, "b", &counter(n)));
        assert!(a - 1 <= b && b <= a, "{a} in a and {b} in b are of no one moment");
    }
    let pairs = &image["pairs"];
    assert_eq!(pairs.get("left"), pairs.get("right"), "half a batch");
    assert!(image["evicting"].len() <= 50);
    let cleared = &image["cleared"];
    assert_eq!(cleared.contains_key("x"), cleared.contains_key("y"), "half a batch");
    let round = number(image, "a", "round");
    assert!(number(image, "cleared", "x") <= round, "an effect without its cause");
    for n in 0..3 {
        let dropped = format!("dropped{n}");
        assert!(number(image, &dropped, "k") <= round, "an effect without its cause");
    }
    for name in ["a", "b"] {
        let fillers = image[name].keys().filter(|key| key.starts_with("filler"));
        assert_eq!(fillers.count(), FILLERS, "{name}");
    }
}

/// Counters go up in A and, after the answer, in B.
#[test]
fn a_copy_under_full_load_shows_one_moment_over_all_namespaces() {
    let home = Home::new();
    block_on(fill(home.store()));
    let (mut moments, mut before) = (BTreeSet::new(), 0);
    for file in copies_beside_writes(&home) {
        let image = image(&file);
        check(&image);
        let count = number(&image, "a", &counter(0));
        assert!(before <= count, "time goes forward");
        before = count;
        moments.insert(count);
    }
    println!("{FILES} copies at {} different moments, {before} writes", moments.len());
    assert!(moments.len() > FILES / 2, "the copies were taken beside writes");
    home.await_tidiness();
}

//! What snapshots promise of this store: one moment over all namespaces, and nothing left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use super::{Home, block_on, settings, waits};
use crate::model::{Bound, Durability, NamespaceId, Policy};
use crate::store::conformance::snapshots::{contents, export, options, restore};
use crate::store::conformance::{World, make, many_in, one_in, set, space};
use crate::store::{
    Batch, Error, Export, NamespaceSpec, Piece, Restore, RestoreMode, RestoreOptions, Settings,
    SnapshotError, Store,
};
use crate::wal::archive::{Item, Reader};

/// What an archive holds: of each namespace its entries by key.
pub(super) type Image = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn image(file: &[u8]) -> Image {
    let (mut reader, mut image, mut names) = (Reader::new(), Image::new(), BTreeMap::new());
    reader
        .feed(file, &mut |item| match item {
            Item::Definition(definition) => {
                let name = definition.name.as_str().to_owned();
                image.insert(name.clone(), BTreeMap::new());
                names.insert(definition.id, name);
            }
            Item::Entry { namespace, entry, .. } => {
                let space: &mut BTreeMap<_, _> = image.get_mut(&names[&namespace]).unwrap();
                let value = String::from_utf8(entry.value.to_vec()).unwrap();
                let before = space.insert(entry.key.to_owned(), value);
                assert_eq!(before, None, "{} is there twice", entry.key);
            }
        })
        .unwrap();
    reader.finish().unwrap();
    assert!(names.keys().copied().eq((1..).map(NamespaceId).take(names.len())));
    image
}

impl Home {
    /// Whether nothing of any snapshot is left: no cut, no thread, no file.
    fn is_tidy(&self) -> bool {
        let shared = self.store.0.shared.get().unwrap();
        let cuts = |namespace: &Arc<crate::store::embedded::namespace::Namespace>| {
            namespace.enter_for_cut().state.engine.cuts()
        };
        let files = std::fs::read_dir(self.dir.path().join("log")).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        shared.registry.all().iter().map(cuts).sum::<usize>() == 0
            && shared.snapshots.running() == 0
            && !names.any(|name| name.ends_with(".spool"))
    }

    /// Returns once that is so: threads end by themselves, and soon.
    pub(super) fn await_tidiness(&self) {
        while !self.is_tidy() {
            thread::yield_now();
        }
    }
}

#[test]
fn nothing_leaves_that_a_power_failure_could_undo() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one_in(store, "default", set("old", "1")).await;
        home.stop_syncing();
        let name = space("default");
        let mut write =
            pin!(store.write(&name, Batch { commands: vec![set("new", "2")], atomic: false }));
        assert!(waits(&mut write).await);
        let mut copy = pin!(export(store, &[]));
        assert!(waits(&mut copy).await);
        home.sync();
        let (file, _) = copy.await.unwrap();
        assert_eq!(image(&file)["default"].len(), 2);
        assert!(write.await.is_ok());
    });
}

/// Twenty megabytes in the default namespace.
async fn fill(store: &crate::store::embedded::Embedded) {
    let value = "x".repeat(100_000);
    for n in 0..200 {
        one_in(store, "default", set(&format!("k{n}"), &value)).await;
    }
}

#[test]
fn who_reads_slowly_or_not_at_all_holds_up_neither_the_walk_nor_the_store() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        fill(store).await;
        let mut slow = store.export_snapshot(&[]).await.unwrap();
        let shared = home.store.0.shared.get().unwrap();
        let namespace = shared.registry.find(&space("default")).unwrap();
        // Far more than what is held in memory: the walk ends because the disk takes the rest.
        while namespace.enter().unwrap().state.engine.cuts() > 0 {
            thread::yield_now();
        }
        store.clear_namespace(&space("default")).await.unwrap();
        let mut file = Vec::new();
        while let Piece::Bytes(bytes) = slow.next().await.unwrap() {
            file.extend_from_slice(&bytes);
        }
        assert_eq!(image(&file)["default"].len(), 200);
        home.await_tidiness();
    });
}

#[test]
fn an_export_that_is_given_up_leaves_nothing_behind() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        fill(store).await;
        for pieces in [0, 1, 10, 60] {
            let mut export = store.export_snapshot(&[]).await.unwrap();
            for _ in 0..pieces {
                assert!(matches!(export.next().await, Ok(Piece::Bytes(_))));
            }
            drop(export);
            home.await_tidiness();
        }
        // Nor one whose caller went away before it had begun.
        let all = [];
        let mut begun = Box::pin(store.export_snapshot(&all));
        let _ = waits(&mut begun.as_mut()).await;
        drop(begun);
        home.await_tidiness();
    });
}

#[test]
fn a_store_that_closes_ends_what_is_under_way() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        fill(store).await;
        let (file, _) = export(store, &[]).await.unwrap();
        let mut out = store.export_snapshot(&[]).await.unwrap();
        let mut back = store.restore_snapshot(options(RestoreMode::Replace)).await.unwrap();
        back.push(Bytes::copy_from_slice(&file[..1000])).await.unwrap();
        store.close().unwrap();
        let ended = loop {
            match out.next().await {
                Ok(Piece::Bytes(_)) => {}
                ended => break ended,
            }
        };
        assert_eq!(ended, Err(Error::Stopped));
        assert_eq!(back.push(Bytes::from_static(b"x")).await, Err(Error::Stopped));
        assert_eq!(back.finish().await, Err(Error::Stopped));
        assert!(home.is_tidy());
        let home = home.restarted();
        assert_eq!(contents(home.store(), "default").await.len(), 200, "nothing was replaced");
    });
}

#[test]
fn an_upload_that_is_given_up_changes_nothing() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        one_in(store, "n", set("k", "1")).await;
        let (file, _) = export(store, &["n"]).await.unwrap();
        one_in(store, "n", set("k", "2")).await;
        let before = contents(store, "n").await;
        for bytes in [0, 1, 100, file.len()] {
            let mut back = store.restore_snapshot(options(RestoreMode::Replace)).await.unwrap();
            back.push(Bytes::copy_from_slice(&file[..bytes])).await.unwrap();
            drop(back);
            home.await_tidiness();
            assert_eq!(contents(store, "n").await, before);
        }
    });
}

#[test]
fn a_restore_is_there_after_a_kill_and_one_cut_short_can_be_repeated() {
    block_on(async {
        let home = Home::new();
        let store = home.store();
        make(store, "m", Policy { durability: Some(Durability::Memory), ..Policy::default() })
            .await;
        for n in 0..30 {
            let sets = (0..1000).map(|k| set(&format!("{n}-{k}"), &"v".repeat(100)));
            many_in(store, "n", sets.collect()).await;
        }
        one_in(store, "m", set("in memory", "1")).await;
        let (file, _) = export(store, &["n", "m"]).await.unwrap();
        let target = Home::new();
        one_in(target.store(), "n", set("own", "1")).await;
        cut_short(&target, &file).await;
        let found = keys(&target, "n").await;
        assert!(found > 0 && found < 30_000, "{found}");
        for target in [target.killed(), target] {
            assert_eq!(keys(&target, "n").await, found, "what was there stays there");
            let replace = options(RestoreMode::Replace);
            let again = restore(target.store(), replace, &file).await.unwrap();
            assert_eq!(again.restored, 30_001);
            let (copy, _) = export(target.store(), &["n", "m"]).await.unwrap();
            assert!(image(&copy) == image(&file));
            let killed = target.killed();
            assert_eq!(keys(&killed, "n").await, 30_000, "what was answered is there");
            assert_eq!(keys(&killed, "m").await, 0, "what is not logged is not");
        }
    });
}

/// Gives up a restore of `file` in the middle of namespace "n".
async fn cut_short(home: &Home, file: &[u8]) {
    let mut back = home.store().restore_snapshot(options(RestoreMode::Replace)).await.unwrap();
    for piece in file.chunks(1 << 20) {
        back.push(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let mut finishing = Box::pin(back.finish());
    assert!(waits(&mut finishing.as_mut()).await, "it is far from its end");
    let shared = home.store.0.shared.get().unwrap();
    let namespace = shared.registry.find(&space("n")).unwrap();
    loop {
        // Between two of its turns: it hands over to whoever waits.
        let turn = namespace.enter().unwrap();
        if turn.usage().keys > 1 {
            drop(finishing);
            break;
        }
        turn.leave_fairly();
    }
    home.await_tidiness();
}

/// Entries of a namespace; none where it is not there.
async fn keys(home: &Home, name: &str) -> u64 {
    home.store().count(&space(name), "").await.unwrap_or(0)
}

#[test]
fn more_namespaces_than_there_may_be_are_refused_before_one_is_made() {
    block_on(async {
        let home = Home::new();
        for n in 0..99 {
            one_in(home.store(), &format!("n{n}"), set("k", "1")).await;
        }
        let (file, _) = export(home.store(), &[]).await.unwrap();
        let other = Home::new();
        one_in(other.store(), "one-more", set("k", "1")).await;
        let check = RestoreOptions { validate_only: true, ..options(RestoreMode::Overwrite) };
        for options in [options(RestoreMode::Overwrite), check] {
            let error = restore(other.store(), options, &file).await.unwrap_err();
            assert_eq!(error, Error::TooManyNamespaces { limit: 100 });
        }
        assert_eq!(other.store().namespaces("", None, 100).await.unwrap().len(), 2);
    });
}

#[test]
fn a_store_without_memory_for_it_refuses_before_anything_changes() {
    block_on(async {
        let home = Home::new();
        let value = "x".repeat(1000);
        for n in 0..200 {
            one_in(home.store(), "n", set(&format!("k{n}"), &value)).await;
        }
        let keep = |spec: &mut NamespaceSpec| {
            spec.policy.eviction = Some(crate::model::Eviction::None);
        };
        home.store().update_namespace(&space("n"), None, false, keep).await.unwrap();
        let (file, _) = export(home.store(), &["n"]).await.unwrap();
        let small = Home::with(Settings { total_bytes_max: 100_000, ..settings() });
        one_in(small.store(), "own", set("k", &value)).await;
        let error = restore(small.store(), options(RestoreMode::Replace), &file).await.unwrap_err();
        let full = crate::store::Refusal::MemoryExhausted;
        assert_eq!(
            error,
            Error::Snapshot(SnapshotError::Refused { namespace: "n".to_owned(), refusal: full })
        );
        assert_eq!(small.store().namespaces("", None, 9).await.unwrap().len(), 2);
        // One that evicts takes as much as there is room for.
        let evict = |spec: &mut NamespaceSpec| spec.policy.eviction = None;
        home.store().update_namespace(&space("n"), None, false, evict).await.unwrap();
        let (file, _) = export(home.store(), &["n"]).await.unwrap();
        restore(small.store(), options(RestoreMode::Replace), &file).await.unwrap();
        let shared = small.store.0.shared.get().unwrap();
        while shared.shrink() {}
        assert!(shared.budget.used() <= 100_000 && keys(&small, "n").await > 50);
    });
}

#[test]
fn versions_go_on_behind_those_of_before_also_after_a_kill() {
    block_on(async {
        let home = Home::new();
        let sets = (0..500).map(|k| set(&format!("k{k}"), "1")).collect();
        many_in(home.store(), "n", sets).await;
        let (file, _) = export(home.store(), &["n"]).await.unwrap();
        let version =
            async |home: &Home| home.store().namespace(&space("n")).await.unwrap().usage.version;
        let before = version(&home).await;
        restore(home.store(), options(RestoreMode::Replace), &file).await.unwrap();
        let after = version(&home).await;
        assert_eq!(after.0, before.0 + 1 + 500, "one for the clear, one for each entry");
        assert_eq!(version(&home.killed()).await, after);
        let all = contents(home.store(), "n").await;
        let versions: BTreeSet<u64> = all.iter().map(|(_, entry)| entry.version.0).collect();
        assert_eq!(versions.len(), 500);
        assert!(versions.first().is_some_and(|first| *first > before.0 + 1));
    });
}

#[test]
fn a_large_entry_takes_the_place_of_many_small_ones() {
    block_on(async {
        let home = Home::new();
        one_in(home.store(), "n", set("large", &"x".repeat(200_000))).await;
        let (file, _) = export(home.store(), &["n"]).await.unwrap();
        let target = Home::new();
        let bytes_max = Some(Bound::AtMost(NonZeroU64::new(300_000).unwrap()));
        make(target.store(), "n", Policy { bytes_max, ..Policy::default() }).await;
        for n in 0..5 {
            let sets = (0..1_000).map(|k| set(&format!("{n}-{k}"), "v")).collect();
            many_in(target.store(), "n", sets).await;
        }
        let before = keys(&target, "n").await;
        restore(target.store(), options(RestoreMode::Overwrite), &file).await.unwrap();
        let after = keys(&target, "n").await;
        assert!(before > 2_000 && after > 500 && after < before - 1_000, "{before} {after}");
        let usage = target.store().namespace(&space("n")).await.unwrap().usage;
        assert!(usage.bytes <= 300_000, "what is answered is within the limits");
    });
}

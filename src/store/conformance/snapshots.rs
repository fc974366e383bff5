//! Copies out and back.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{World, delete, key, make, many_in, one_in, set, set_for, space, ttl, value_in};
use crate::model::{
    Bound, Durability, Eviction, Lifetime, NamespaceName, Policy, UnixMillis, Version,
};
use crate::store::{
    Command, Entry, Error, Expiration, Export, NamespaceInfo, NamespaceSpec, Piece, Quota, Refusal,
    Restore, RestoreMode, RestoreOptions, Restored, Settings, SnapshotError, SnapshotSummary,
    Store, View,
};

/// Takes a copy out, whole.
pub(crate) async fn export(
    store: &impl Store,
    names: &[&str],
) -> Result<(Vec<u8>, SnapshotSummary), Error> {
    let names: Vec<NamespaceName> = names.iter().map(|name| space(name)).collect();
    let mut export = store.export_snapshot(&names).await?;
    let mut file = Vec::new();
    loop {
        match export.next().await? {
            Piece::Bytes(bytes) => {
                assert!(!bytes.is_empty() && bytes.len() <= crate::store::PIECE_BYTES_MAX);
                file.extend_from_slice(&bytes);
            }
            Piece::End(summary) => {
                assert_eq!(summary.bytes, file.len() as u64);
                return Ok((file, summary));
            }
        }
    }
}

/// Puts a copy back, in small pieces.
pub(crate) async fn restore(
    store: &impl Store,
    options: RestoreOptions,
    file: &[u8],
) -> Result<Restored, Error> {
    let mut restore = store.restore_snapshot(options).await?;
    for piece in file.chunks(1_000) {
        restore.push(Bytes::copy_from_slice(piece)).await?;
    }
    restore.finish().await
}

pub(crate) fn options(mode: RestoreMode) -> RestoreOptions {
    RestoreOptions {
        mode,
        namespaces: BTreeSet::new(),
        renames: std::collections::BTreeMap::new(),
        validate_only: false,
    }
}

fn renamed(mode: RestoreMode, renames: &[(&str, &str)]) -> RestoreOptions {
    let renames = renames.iter().map(|(from, to)| (space(from), space(to))).collect();
    RestoreOptions { renames, ..options(mode) }
}

/// Everything that can be seen of a namespace without leaving a trace.
pub(crate) async fn contents(store: &impl Store, name: &str) -> Vec<(String, Entry)> {
    let scan = crate::store::Scan {
        prefix: String::new(),
        start_after: None,
        entries_max: 100_000,
        bytes_max: usize::MAX,
        view: View::Full,
        reading: crate::store::Reading::Look,
    };
    let page = store.scan(&space(name), scan).await.unwrap();
    assert!(!page.more);
    page.entries.into_iter().map(|(key, entry)| (key.into_string(), entry)).collect()
}

async fn info(store: &impl Store, name: &str) -> NamespaceInfo {
    store.namespace(&space(name)).await.unwrap()
}

fn at_most(count: u64) -> Option<Bound> {
    std::num::NonZeroU64::new(count).map(Bound::AtMost)
}

/// What a copy must keep: all but the version.
fn kept(contents: Vec<(String, Entry)>) -> Vec<(String, Bytes, Option<UnixMillis>, UnixMillis)> {
    let kept = |(key, entry): (String, Entry)| (key, entry.value, entry.deadline, entry.written);
    contents.into_iter().map(kept).collect()
}

pub(crate) async fn a_copy_comes_back_as_it_was(world: &impl World) {
    let store = world.store();
    let policy = Policy {
        keys_max: at_most(1000),
        bytes_max: Some(Bound::Unlimited),
        eviction: Some(Eviction::None),
        ttl_default: Some(Lifetime::Ttl(ttl(60_000))),
        durability: Some(Durability::Async),
        watch_history_events: Some(5),
        ..Policy::default()
    };
    let labels = [("team".to_owned(), "web".to_owned())].into();
    let spec = NamespaceSpec { description: "of all kinds".to_owned(), labels, policy };
    store.create_namespace(&space("a"), spec.clone()).await.unwrap();
    make(store, "m", Policy { durability: Some(Durability::Memory), ..Policy::default() }).await;
    make(store, "empty", Policy::default()).await;
    let binary = Command::Set {
        key: key("ключ \0\n\u{10ffff}"),
        value: Bytes::from((0..=255).collect::<Vec<u8>>()),
        expiration: Expiration::Never,
        condition: None,
        return_previous: false,
    };
    many_in(store, "a", vec![binary, set("empty value", ""), set("by default", "1")]).await;
    many_in(store, "a", vec![set_for("soon", "2", Expiration::After(ttl(5_000)))]).await;
    many_in(store, "a", vec![set(&"k".repeat(4096), &"v".repeat(1 << 20)), set("gone", "")]).await;
    world.advance(1_000);
    let touch = |name: &str, expiration| Command::Touch {
        key: key(name),
        expiration,
        condition: None,
        view: View::Key,
    };
    many_in(store, "a", vec![touch("soon", Expiration::After(ttl(9_000))), delete("gone")]).await;
    many_in(store, "m", vec![set("in memory", "3"), super::add("counter", 7)]).await;
    let (file, summary) = export(store, &[]).await.unwrap();
    assert_eq!((summary.namespaces, summary.entries), (4, 7), "default is one of them");
    world.advance(500);
    let mode = RestoreMode::Overwrite;
    let names = [("a", "a2"), ("m", "m2"), ("empty", "empty2"), ("default", "d2")];
    let restored = restore(store, renamed(mode, &names), &file).await.unwrap();
    assert_eq!(restored, Restored { summary, restored: 7, skipped: 0, expired: 0 });
    for (from, to) in names {
        let (before, after) = (contents(store, from).await, contents(store, to).await);
        assert_eq!(kept(after), kept(before), "{from}");
        let (before, after) = (info(store, from).await, info(store, to).await);
        let spec = |info: &NamespaceInfo| {
            let definition = info.definition.clone();
            (definition.description, definition.labels, definition.policy)
        };
        assert_eq!(spec(&after), spec(&before), "{from}");
        assert!(!after.definition.auto_created, "{to} was made by a restore");
        assert_eq!(after.usage.bytes, before.usage.bytes, "{from}");
    }
    let one = export(store, &["a", "m", "a"]).await.unwrap().1;
    assert_eq!((one.namespaces, one.entries), (2, 7), "asked for twice, there once");
}

pub(crate) async fn a_restore_treats_what_is_there_as_it_was_told(world: &impl World) {
    let store = world.store();
    for name in ["replace", "overwrite", "skip"] {
        many_in(store, name, vec![set("both", "old"), set("only in file", "old")]).await;
    }
    let (file, summary) = export(store, &["replace", "overwrite", "skip"]).await.unwrap();
    let mut before = Vec::new();
    for name in ["replace", "overwrite", "skip"] {
        let change = vec![set("both", "new"), delete("only in file"), set("only there", "new")];
        many_in(store, name, change).await;
        before.push(info(store, name).await.usage.version);
    }
    let cases = [
        ("replace", RestoreMode::Replace, 2, 0, [Some("old"), Some("old"), None]),
        ("overwrite", RestoreMode::Overwrite, 2, 0, [Some("old"), Some("old"), Some("new")]),
        ("skip", RestoreMode::SkipExisting, 1, 1, [Some("new"), Some("old"), Some("new")]),
    ];
    for ((name, mode, restored, skipped, expected), before) in cases.into_iter().zip(before) {
        let namespaces = BTreeSet::from([space(name)]);
        let only = RestoreOptions { namespaces, ..options(mode) };
        let check = RestoreOptions { validate_only: true, ..only.clone() };
        let counts = Restored { summary, restored, skipped, expired: 0 };
        let dry = restore(store, check, &file).await.unwrap();
        assert_eq!(dry, counts, "{name}, dry");
        assert_eq!(
            info(store, name).await.usage.version,
            before,
            "{name}: a check changes nothing"
        );
        assert_eq!(value_in(store, name, "both").await.as_deref(), Some("new"));
        assert_eq!(restore(store, only, &file).await.unwrap(), counts, "{name}");
        let mut found = Vec::new();
        for key in ["both", "only in file", "only there"] {
            found.push(value_in(store, name, key).await);
        }
        assert_eq!(found, expected.map(|value| value.map(str::to_owned)), "{name}");
        for (key, entry) in contents(store, name).await {
            let is_old = entry.value == "old";
            assert!(!is_old || entry.version > before, "{name}: {key} has a new version");
        }
    }
}

pub(crate) async fn what_has_expired_meanwhile_is_left_out(world: &impl World) {
    let store = world.store();
    let short = set_for("short", "1", Expiration::After(ttl(1_000)));
    let long = set_for("long", "1", Expiration::After(ttl(9_000)));
    many_in(store, "n", vec![short, long, set("for good", "1")]).await;
    let (file, summary) = export(store, &["n"]).await.unwrap();
    let deadline = contents(store, "n")
        .await
        .iter()
        .find_map(|(key, e)| if key == "long" { e.deadline } else { None });
    world.advance(1_000);
    let again = renamed(RestoreMode::Replace, &[("n", "again")]);
    let restored = restore(store, again, &file).await.unwrap();
    assert_eq!(restored, Restored { summary, restored: 2, skipped: 0, expired: 1 });
    let names: Vec<_> = contents(store, "again").await;
    assert_eq!(names.len(), 2);
    assert_eq!(names[1].1.deadline, deadline, "a deadline is a moment and stays one");
    world.advance(8_000);
    assert_eq!(value_in(store, "again", "long").await, None);
    // An expired entry that still lies there is no live one.
    many_in(store, "again", vec![set_for("back", "x", Expiration::After(ttl(10)))]).await;
    many_in(store, "m", vec![set("back", "1")]).await;
    let (file, _) = export(store, &["m"]).await.unwrap();
    world.advance(10);
    let skip = renamed(RestoreMode::SkipExisting, &[("m", "again")]);
    assert_eq!(restore(store, skip, &file).await.unwrap().restored, 1);
}

pub(crate) async fn names_that_do_not_fit_the_file_change_nothing(world: &impl World) {
    let store = world.store();
    for name in ["a", "b", "c"] {
        one_in(store, name, set("k", "1")).await;
    }
    let (file, _) = export(store, &["a", "b", "c"]).await.unwrap();
    let before = store.namespaces("", None, 100).await.unwrap();
    let mode = RestoreMode::Replace;
    let missing =
        RestoreOptions { namespaces: [space("a"), space("x"), space("y")].into(), ..options(mode) };
    let error = restore(store, missing, &file).await.unwrap_err();
    assert_eq!(
        error,
        Error::Snapshot(SnapshotError::NotInside(vec!["x".to_owned(), "y".to_owned()]))
    );
    let error = restore(store, renamed(mode, &[("z", "a2")]), &file).await.unwrap_err();
    assert_eq!(error, Error::Snapshot(SnapshotError::NotInside(vec!["z".to_owned()])));
    let collision = renamed(mode, &[("a", "b"), ("c", "b")]);
    let error = restore(store, collision, &file).await.unwrap_err();
    let sources = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(
        error,
        Error::Snapshot(SnapshotError::RenamesCollide(vec![("b".to_owned(), sources)]))
    );
    assert_eq!(store.namespaces("", None, 100).await.unwrap(), before);
    let swap = renamed(mode, &[("a", "b"), ("b", "a")]);
    restore(store, swap, &file).await.unwrap();
    let error = export(store, &["a", "nowhere"]).await.unwrap_err();
    assert_eq!(error, Error::NamespaceNotFound("nowhere".to_owned()));
}

pub(crate) async fn a_namespace_that_would_refuse_refuses_before_anything_changes(
    world: &impl World,
) {
    let store = world.store();
    let sets = (0..20).map(|n| set(&format!("k{n:02}"), &"v".repeat(100))).collect();
    many_in(store, "n", sets).await;
    one_in(store, "other", set("k", "1")).await;
    let (file, _) = export(store, &["n", "other"]).await.unwrap();
    let small = |policy: Policy| Policy { eviction: Some(Eviction::None), ..policy };
    let quota = |quota, limit| Refusal::QuotaExceeded { quota, limit };
    let too_large = Refusal::ValueTooLarge { limit_bytes: 99, size_bytes: 100 };
    let cases = [
        (
            "keys",
            small(Policy { keys_max: at_most(20), ..Policy::default() }),
            quota(Quota::Keys, 20),
        ),
        (
            "bytes",
            small(Policy { bytes_max: at_most(3_000), ..Policy::default() }),
            quota(Quota::Bytes, 3_000),
        ),
        ("value", Policy { value_bytes_max: Some(99), ..Policy::default() }, too_large),
        (
            "one-entry",
            Policy { bytes_max: at_most(100), ..Policy::default() },
            quota(Quota::Bytes, 100),
        ),
    ];
    for (name, policy, refusal) in cases {
        make(store, name, policy).await;
        if name != "one-entry" {
            one_in(store, name, set("own", "1")).await;
        }
        let before = store.namespaces("", None, 100).await.unwrap();
        for mode in [RestoreMode::Overwrite, RestoreMode::SkipExisting] {
            let error = restore(store, renamed(mode, &[("n", name)]), &file).await.unwrap_err();
            assert_eq!(
                error,
                Error::Snapshot(SnapshotError::Refused { namespace: name.to_owned(), refusal })
            );
            assert_eq!(store.namespaces("", None, 100).await.unwrap(), before, "{name}");
        }
    }
    // Without its own entry there is room for all.
    let replace = renamed(RestoreMode::Replace, &[("n", "keys")]);
    assert_eq!(restore(store, replace, &file).await.unwrap().restored, 21);
    // What is there already needs no room.
    let again = renamed(RestoreMode::Overwrite, &[("n", "keys")]);
    assert_eq!(restore(store, again, &file).await.unwrap().restored, 21);
    let skip = renamed(RestoreMode::SkipExisting, &[("n", "keys"), ("other", "other")]);
    assert_eq!(restore(store, skip, &file).await.unwrap().skipped, 21);
}

pub(crate) async fn a_namespace_that_evicts_keeps_what_was_written_last(world: &impl World) {
    let store = world.store();
    let sets = (0..30).map(|n| set(&format!("k{n:02}"), "1")).collect();
    many_in(store, "n", sets).await;
    // Written again, and so the last: whatever place it has in memory.
    many_in(store, "n", vec![set("k00", "2"), delete("k29"), set("k30", "1")]).await;
    let (file, _) = export(store, &["n"]).await.unwrap();
    make(store, "small", Policy { keys_max: at_most(5), ..Policy::default() }).await;
    let small = renamed(RestoreMode::Overwrite, &[("n", "small")]);
    assert_eq!(restore(store, small, &file).await.unwrap().restored, 30);
    let left: Vec<String> = contents(store, "small").await.into_iter().map(|(k, _)| k).collect();
    assert_eq!(left, ["k00", "k26", "k27", "k28", "k30"]);
    one_in(store, "small", set("one more", "1")).await;
    let left: Vec<String> = contents(store, "small").await.into_iter().map(|(k, _)| k).collect();
    assert_eq!(
        left,
        ["k00", "k27", "k28", "k30", "one more"],
        "the order of use is that of writes"
    );
}

pub(crate) async fn a_longest_time_to_live_holds_for_what_is_restored(world: &impl World) {
    let store = world.store();
    many_in(
        store,
        "n",
        vec![set("for good", "1"), set_for("soon", "1", Expiration::After(ttl(9)))],
    )
    .await;
    let (file, summary) = export(store, &["n"]).await.unwrap();
    let policy = Policy { ttl_max: Some(Lifetime::Ttl(ttl(50))), ..Policy::default() };
    make(store, "short", policy).await;
    restore(store, renamed(RestoreMode::Overwrite, &[("n", "short")]), &file).await.unwrap();
    let found = contents(store, "short").await;
    let left = |at: usize| found[at].1.deadline.unwrap().millis_since(summary.moment);
    assert_eq!((left(0), left(1)), (50, 9));
}

pub(crate) async fn a_damaged_file_changes_nothing(world: &impl World) {
    let store = world.store();
    let sets = (0..50).map(|n| set(&format!("k{n}"), &"v".repeat(200))).collect();
    many_in(store, "n", sets).await;
    let (file, _) = export(store, &["n"]).await.unwrap();
    one_in(store, "n", set("k0", "new")).await;
    let before = (store.namespaces("", None, 100).await.unwrap(), contents(store, "n").await);
    for at in (0..file.len()).step_by(97).chain([file.len() - 1]) {
        let mut flipped = file.clone();
        flipped[at] ^= 1;
        for damaged in [&flipped[..], &file[..at]] {
            let error = restore(store, options(RestoreMode::Replace), damaged).await.unwrap_err();
            assert!(
                matches!(error, Error::Snapshot(SnapshotError::Damaged { .. })),
                "{error:?} at {at}"
            );
        }
    }
    let longer = [&file[..], b"x"].concat();
    let error = restore(store, options(RestoreMode::Replace), &longer).await.unwrap_err();
    let expected = "expected the end of the file".to_owned();
    assert_eq!(
        error,
        Error::Snapshot(SnapshotError::Damaged { offset: file.len() as u64, expected })
    );
    let after = (store.namespaces("", None, 100).await.unwrap(), contents(store, "n").await);
    assert_eq!(after, before);
}

pub(crate) async fn a_read_only_store_gives_copies_and_takes_none(world: &impl World) {
    let store = world.store();
    one_in(store, "n", set("k", "1")).await;
    store.apply_settings(Settings { read_only: true, ..store.settings() });
    let (file, _) = export(store, &["n"]).await.unwrap();
    let error = restore(store, options(RestoreMode::Replace), &file).await.unwrap_err();
    assert_eq!(error, Error::ReadOnly);
    let check = RestoreOptions { validate_only: true, ..options(RestoreMode::Replace) };
    assert_eq!(restore(store, check, &file).await.unwrap().restored, 1);
    assert!(info(store, "n").await.usage.version == Version(1));
}

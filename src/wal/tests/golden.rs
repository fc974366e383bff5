//! Logs of released formats, frozen under `tests/golden`: each must be readable for ever.
//!
//! A new format adds a directory, written by [`write`] and never changed again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::kit::{one_of_each, set};
use crate::model::{Fact, NamespaceId, UnixMillis, Version};
use crate::wal::format::FORMAT;
use crate::wal::{Config, Log, open, verify};

fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn config(dir: &Path) -> Config {
    let config = Config { segment_bytes: 512, ..Config::new(dir) };
    Config { free_bytes_min: 0, free_bytes_resume: u64::MAX / 2, ..config }
}

fn start(dir: &Path) -> (Log, Vec<String>) {
    let mut facts = Vec::new();
    let mut recovery = open(&config(dir)).unwrap();
    let mut apply =
        |fact: Fact<'_>, at: UnixMillis| facts.push(format!("{} {fact:?}", at.as_millis()));
    recovery.replay(&mut apply, &mut |_| ()).unwrap();
    (recovery.finish().unwrap().0, facts)
}

/// Writes the log that is frozen: a snapshot, a closed segment and a last one.
fn write(dir: &Path) {
    let at = |index: usize| UnixMillis::from_millis(1_700_000_000_000 + index as u64);
    let (log, _) = start(dir);
    log.append(&set(1, "compacted", b"away"), at(0));
    let mut compaction = log.compaction(at(1)).unwrap();
    one_of_each().iter().for_each(|fact| compaction.write(fact).unwrap());
    compaction.finish(at(2)).unwrap();
    for (index, fact) in one_of_each().iter().enumerate() {
        log.append(fact, at(index));
    }
    log.sync().unwrap();
    log.append(&set(2, "last", b"segment"), at(99));
    log.close(at(100)).unwrap();
}

/// What the frozen log of `format` holds.
fn expected(format: u32) -> Vec<String> {
    let known = |fact: &Fact<'_>| format >= 2 || !matches!(fact, Fact::Reached { .. });
    let facts: Vec<_> = one_of_each().into_iter().filter(known).collect();
    let mut expected: Vec<String> =
        facts.iter().map(|fact| format!("1700000000001 {fact:?}")).collect();
    for (index, fact) in facts.iter().enumerate() {
        expected.push(format!("{} {fact:?}", 1_700_000_000_000 + index));
    }
    expected.push(format!("1700000000099 {:?}", set(2, "last", b"segment")));
    expected
}

fn sizes(dir: &Path) -> BTreeMap<String, u64> {
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
    };
    fs::read_dir(dir).unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// A copy of the frozen log of `format`.
fn thawed(format: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("wal-v{format}");
    for file in sizes(&frozen(&name)).into_keys() {
        fs::copy(frozen(&name).join(&file), dir.path().join(&file)).unwrap();
    }
    dir
}

#[test]
fn the_log_of_every_format_reads_as_it_was_written_and_goes_on() {
    for format in 1..=FORMAT {
        let (dir, expected) = (thawed(format), expected(format));
        let verified = verify(dir.path()).unwrap();
        let records = expected.len() as u64 / 2 + 1;
        assert_eq!((verified.segments, verified.records), (2, records), "{format}");
        assert!(verified.closed_cleanly);
        assert_eq!(verified.wall.as_millis(), 1_700_000_000_100);
        let (log, facts) = start(dir.path());
        assert_eq!(facts, expected);
        assert_eq!(log.stats().last_compaction, Some(UnixMillis::from_millis(1_700_000_000_002)));
        log.append(&set(3, "and", b"goes on"), UnixMillis::ZERO);
        log.sync().unwrap();
        drop(log);
        assert_eq!(start(dir.path()).1.len(), expected.len() + 1);
    }
}

#[test]
fn a_log_of_an_earlier_format_goes_on_in_a_file_of_this_one() {
    let dir = thawed(1);
    let before = sizes(dir.path());
    let (log, _) = start(dir.path());
    log.append(&Fact::Reached { namespace: NamespaceId(1), version: Version(1) }, UnixMillis::ZERO);
    log.close(UnixMillis::ZERO).unwrap();
    drop(log);
    let mut formats = BTreeMap::new();
    for name in sizes(dir.path()).into_keys().filter(|name| name.ends_with(".segment")) {
        let bytes = fs::read(dir.path().join(&name)).unwrap();
        formats.insert(name.clone(), bytes[8]);
        assert!(before.contains_key(&name) == (bytes[8] == 1), "{name}");
    }
    let mut kinds: Vec<_> = formats.into_values().collect();
    kinds.dedup();
    assert_eq!(kinds, [1, 2], "what was there stays as it is");
}

#[test]
fn what_is_written_now_has_the_layout_of_the_newest_format() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    assert_eq!(sizes(dir.path()), sizes(&frozen(&format!("wal-v{FORMAT}"))));
    assert_eq!(start(dir.path()).1, expected(FORMAT));
}

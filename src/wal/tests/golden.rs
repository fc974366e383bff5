//! Logs of released formats, frozen under `tests/golden`: each must be readable for ever.
//!
//! A new format adds a directory, written by [`write`] and never changed again, and a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::kit::{one_of_each, set};
use crate::model::{Fact, UnixMillis};
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

fn expected() -> Vec<String> {
    let mut expected: Vec<String> =
        one_of_each().iter().map(|fact| format!("1700000000001 {fact:?}")).collect();
    for (index, fact) in one_of_each().iter().enumerate() {
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

#[test]
fn the_log_of_format_1_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for name in sizes(&frozen("wal-v1")).into_keys() {
        fs::copy(frozen("wal-v1").join(&name), dir.path().join(&name)).unwrap();
    }
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.segments, verified.records, verified.closed_cleanly), (2, 10, true));
    assert_eq!(verified.wall.as_millis(), 1_700_000_000_100);
    let (log, facts) = start(dir.path());
    assert_eq!(facts, expected());
    assert_eq!(log.stats().last_compaction, Some(UnixMillis::from_millis(1_700_000_000_002)));
    log.append(&set(3, "and", b"goes on"), UnixMillis::ZERO);
    log.sync().unwrap();
    drop(log);
    assert_eq!(start(dir.path()).1.len(), expected().len() + 1);
}

#[test]
fn what_is_written_now_has_the_layout_of_format_1() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    assert_eq!(sizes(dir.path()), sizes(&frozen("wal-v1")));
    assert_eq!(start(dir.path()).1, expected());
}

//! The log on real files.

use super::kit::{one_of_each, set};
use crate::model::UnixMillis;
use crate::wal::{Config, Kind, Log, open};

/// Opens the log and tells every fact as text.
fn start(config: &Config) -> (Log, Vec<String>) {
    let mut recovery = open(config).unwrap();
    let mut facts = Vec::new();
    recovery
        .replay(&mut |fact, at| facts.push(format!("{} {fact:?}", at.as_millis())), &mut |_| ())
        .unwrap();
    (recovery.finish().unwrap().0, facts)
}

fn at(millis: u64) -> UnixMillis {
    UnixMillis::from_millis(millis)
}

#[test]
fn facts_come_back_in_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("new/data"));
    let (log, facts) = start(&config);
    assert!(facts.is_empty());
    let mut expected = Vec::new();
    for round in 0..3 {
        for fact in one_of_each() {
            log.append(&fact, at(round));
            expected.push(format!("{round} {fact:?}"));
        }
        assert_eq!(log.sync().unwrap(), log.appended());
    }
    log.close(at(5)).unwrap();
    drop(log);
    let (log, facts) = start(&config);
    assert_eq!(facts, expected);
    assert_eq!(log.stats().records_since_compaction, expected.len() as u64);
}

#[test]
fn a_log_that_is_open_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (log, _) = start(&config);
    assert_eq!(open(&config).unwrap_err().kind(), Kind::Locked);
    drop(log);
    drop(start(&config));
}

#[test]
fn what_was_written_survives_the_end_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (log, _) = start(&config);
    log.append(&set(1, "written", b""), at(1));
    log.write_out().unwrap();
    log.append(&set(2, "only appended", b""), at(1));
    drop(log);
    let (_, facts) = start(&config);
    assert_eq!(facts, [format!("1 {:?}", set(1, "written", b""))]);
}

#[test]
fn a_compaction_replaces_what_came_before_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 300, ..Config::new(dir.path()) };
    let (log, _) = start(&config);
    for version in 1..20 {
        log.append(&set(version, "k", b"old"), at(1));
        log.sync().unwrap();
    }
    let segments = log.stats().segments;
    assert!(segments > 3, "{segments}");
    let mut compaction = log.compaction(at(2)).unwrap();
    assert_eq!(log.compaction(at(2)).unwrap_err().kind(), Kind::Busy);
    log.append(&set(20, "k", b"new"), at(3));
    compaction.write(&set(19, "k", b"old")).unwrap();
    compaction.finish(at(4)).unwrap();
    assert_eq!((log.stats().segments, log.stats().records_since_compaction), (1, 1));
    assert_eq!(log.stats().last_compaction, Some(at(4)));
    log.close(at(5)).unwrap();
    drop(log);
    let (log, facts) = start(&config);
    let expected =
        [format!("2 {:?}", set(19, "k", b"old")), format!("3 {:?}", set(20, "k", b"new"))];
    assert_eq!(facts, expected);
    assert_eq!(log.stats().last_compaction, Some(at(4)));
    drop(log.compaction(at(6)).unwrap());
    drop(log.compaction(at(6)).unwrap());
    drop(log);
    assert_eq!(start(&config).1, expected);
}

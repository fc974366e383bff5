//! A full disk, and one that has room again.

use std::sync::Arc;

use super::kit::set;
use super::story::nowhere;
use crate::model::UnixMillis;
use crate::wal::disk::sim::SimDisk;
use crate::wal::recovery::open_on;
use crate::wal::{Config, Kind, Log, Report};

const SEGMENT_BYTES: u64 = 8_000;
const BALLAST: &str = "BALLAST";

fn start(disk: &SimDisk) -> (Log, usize) {
    let (log, report) = begin(disk);
    (log, usize::try_from(report.records).unwrap())
}

fn begin(disk: &SimDisk) -> (Log, Report) {
    let config = Config {
        dir: nowhere(),
        segment_bytes: SEGMENT_BYTES,
        free_bytes_min: 10_000,
        free_bytes_resume: 20_000,
    };
    let mut recovery = open_on(&config, Arc::new(disk.clone())).unwrap();
    recovery.replay(&mut |_, _| (), &mut |_| ()).unwrap();
    recovery.finish().unwrap()
}

fn append(log: &Log, facts: u64) {
    for version in 1..=facts {
        log.append(&set(version, "key", &[1; 100]), UnixMillis::from_millis(version));
    }
}

fn poll(disk: &SimDisk, log: &Log, free_bytes: u64) -> bool {
    disk.set_free_bytes(free_bytes);
    log.maintain(UnixMillis::from_millis(1));
    log.is_full()
}

#[test]
fn the_log_is_full_below_one_mark_and_no_longer_above_a_higher_one() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk);
    assert!(!poll(&disk, &log, 10_000));
    assert!(poll(&disk, &log, 9_999));
    assert!(poll(&disk, &log, 19_999));
    assert!(!poll(&disk, &log, 20_000));
}

#[test]
fn the_ballast_goes_when_the_disk_is_full_and_comes_back_when_there_is_room() {
    let disk = SimDisk::new(1);
    disk.set_free_bytes(20_000 + SEGMENT_BYTES / 8 - 1);
    let (log, _) = start(&disk);
    let has_ballast = || disk.files().contains_key(BALLAST);
    assert!(!has_ballast());
    poll(&disk, &log, 20_000 + SEGMENT_BYTES / 8);
    assert!(has_ballast());
    poll(&disk, &log, 9_000);
    assert!(!has_ballast());
    poll(&disk, &log, 1_000_000);
    assert!(has_ballast());
    drop(log);
    // One that an earlier run left is known again.
    let (log, _) = start(&disk);
    poll(&disk, &log, 9_000);
    assert!(!has_ballast());
}

#[test]
fn what_a_full_disk_refused_is_written_when_there_is_room_again() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk);
    append(&log, 10);
    log.sync().unwrap();
    disk.set_room(Some(0));
    append(&log, 90);
    let durable = log.durable();
    for _ in 0..3 {
        assert_eq!(log.write_out().unwrap_err().kind(), Kind::Full);
        assert_eq!(log.sync().unwrap_err().kind(), Kind::Full);
        assert_eq!(log.compaction(UnixMillis::ZERO).unwrap_err().kind(), Kind::Full);
    }
    assert!(log.is_full());
    assert_eq!((log.failure(), log.durable(), log.written()), (None, durable, durable));
    disk.set_room(None);
    assert!(!poll(&disk, &log, 1_000_000));
    assert_eq!(log.sync().unwrap(), log.appended());
    drop(log);
    disk.power_cycle();
    assert_eq!(start(&disk).1, 100);
}

#[test]
fn a_log_on_a_full_disk_starts_and_takes_what_fits_into_reserved_space() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk);
    append(&log, 10);
    log.close(UnixMillis::ZERO).unwrap();
    drop(log);
    disk.set_room(Some(0));
    disk.set_free_bytes(0);
    let (log, facts) = start(&disk);
    assert!(log.is_full() && facts == 10);
    append(&log, 10);
    assert_eq!(log.sync().unwrap(), log.appended());
    drop(log);
    assert_eq!(start(&disk).1, 20);
}

#[test]
fn a_torn_tail_is_kept_on_a_full_disk_too_in_the_place_of_the_ballast() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk);
    append(&log, 1);
    log.sync().unwrap();
    drop(log);
    let name = "00000001.segment";
    let mut torn = disk.files()[name].clone();
    torn[300..1_100].fill(7);
    disk.put(name, torn.clone());
    disk.set_room(Some(0));
    disk.set_free_bytes(0);
    let (log, facts) = start(&disk);
    assert!(log.is_full() && facts == 1);
    let files = disk.files();
    assert!(!files.contains_key(BALLAST));
    let kept = files.iter().find(|(name, _)| name.contains("cut-at")).unwrap().1;
    assert!(torn[..1_100].ends_with(kept) && kept.len() >= 800);
    assert_eq!(files.keys().filter(|name| name.contains("cut-at")).count(), 1);
}

#[test]
fn a_write_cut_short_by_a_full_disk_leaves_no_part_of_a_record() {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk);
    append(&log, 10);
    log.sync().unwrap();
    append(&log, 90);
    disk.set_room(Some(50));
    assert_eq!(log.write_out().unwrap_err().kind(), Kind::Full);
    drop(log);
    let (_, report) = begin(&disk);
    assert_eq!((report.records, report.torn_bytes), (10, 0));
}

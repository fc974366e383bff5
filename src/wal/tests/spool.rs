//! Spools: room beside the log that is never seen and never in its way.

use std::sync::Arc;

use super::kit::set;
use super::story::nowhere;
use crate::model::UnixMillis;
use crate::wal::disk::sim::SimDisk;
use crate::wal::recovery::open_on;
use crate::wal::{Config, Kind, Log};

fn start(disk: &SimDisk, config: &Config) -> Log {
    let mut recovery = open_on(config, Arc::new(disk.clone())).unwrap();
    recovery.replay(&mut |_, _| (), &mut |_| ()).unwrap();
    recovery.finish().unwrap().0
}

fn config() -> Config {
    let config = Config { segment_bytes: 4_096, ..Config::new(nowhere()) };
    Config { free_bytes_min: 1_000, free_bytes_resume: 2_000, ..config }
}

#[test]
fn what_was_put_into_a_spool_comes_out_and_no_name_is_left() {
    let disk = SimDisk::new(1);
    disk.set_free_bytes(1 << 30);
    let log = start(&disk, &config());
    let names: Vec<String> = disk.files().into_keys().collect();
    let (mut one, mut two) = (log.spool().unwrap(), log.spool().unwrap());
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), names);
    one.append(b"first").unwrap();
    two.append(b"other").unwrap();
    one.append(b" and second").unwrap();
    let mut bytes = [0; 20];
    assert_eq!(one.read(&mut bytes, 6).unwrap(), 10);
    assert_eq!(&bytes[..10], b"and second");
    assert_eq!((one.bytes(), two.bytes()), (16, 5));
    one.clear().unwrap();
    assert_eq!((one.bytes(), one.read(&mut bytes, 0).unwrap()), (0, 0));
    one.append(b"anew").unwrap();
    assert_eq!(one.read(&mut bytes, 0).unwrap(), 4);
}

#[test]
fn a_spool_leaves_the_log_the_room_that_it_needs() {
    let disk = SimDisk::new(2);
    let log = start(&disk, &config());
    // What makes the log resume, a segment, and what a spool takes at once.
    let least = 2_000 + 4_096 + (4 << 20);
    disk.set_free_bytes(least - 1);
    let mut spool = log.spool().unwrap();
    assert_eq!(spool.append(b"x").unwrap_err().kind(), Kind::Full);
    log.maintain(UnixMillis::from_millis(5_000));
    assert!(!log.is_full(), "the log is none the worse for it");
    log.append(&set(1, "k", b"v"), UnixMillis::from_millis(1));
    log.sync().unwrap();
    disk.set_free_bytes(least);
    assert!(log.spool().unwrap().append(b"x").is_ok());
    assert!(log.has_room_for(least - 1_000).unwrap());
    assert!(!log.has_room_for(least - 999).unwrap());
}

#[test]
fn a_spool_that_a_crash_left_behind_goes_at_the_next_start() {
    let disk = SimDisk::new(3);
    drop(start(&disk, &config()));
    disk.put("00000012.spool", vec![1; 100]);
    for foreign in ["12.spool", "x.spool", "00000012.spool.old", "0000001a.spool"] {
        disk.put(foreign, vec![2]);
    }
    disk.kill();
    drop(start(&disk, &config()));
    let files = disk.files();
    assert!(!files.contains_key("00000012.spool"));
    assert!(files.contains_key("12.spool") && files.contains_key("00000012.spool.old"));
    assert!(files.contains_key("x.spool") && files.contains_key("0000001a.spool"));
}

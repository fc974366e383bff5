//! The operator's tools.

use std::sync::Arc;

use super::kit::set;
use super::story::nowhere;
use crate::model::{Fact, UnixMillis};
use crate::wal::disk::sim::SimDisk;
use crate::wal::inspect::{dump_on, verify_on};
use crate::wal::recovery::open_on;
use crate::wal::repair::repair_on;
use crate::wal::{Case, Config, Error, Kind, Log, Repaired, Verified};

fn config() -> Config {
    let config = Config { segment_bytes: 1_000, ..Config::new(nowhere()) };
    Config { free_bytes_min: 0, free_bytes_resume: u64::MAX / 2, ..config }
}

fn start(disk: &SimDisk) -> Result<(Log, usize), Error> {
    let mut recovery = open_on(&config(), Arc::new(disk.clone()))?;
    let mut facts = 0;
    recovery.replay(&mut |_: Fact<'_>, _| facts += 1, &mut |_| ())?;
    Ok((recovery.finish()?.0, facts))
}

/// A log of several segments with `facts` facts, closed.
fn build(facts: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let (log, _) = start(&disk).unwrap();
    for version in 1..=facts {
        log.append(&set(version, "key", &[3; 100]), UnixMillis::from_millis(version));
        log.sync().unwrap();
    }
    log.close(UnixMillis::from_millis(facts)).unwrap();
    disk
}

fn verify(disk: &SimDisk) -> Result<Verified, Error> {
    verify_on(&nowhere(), Arc::new(disk.clone()))
}

fn repair(disk: &SimDisk, place: (u32, u64), accept_loss: bool) -> Result<Repaired, Error> {
    repair_on(&nowhere(), Arc::new(disk.clone()), place, accept_loss)
}

/// The damage, and the place in the command it recommends.
fn refusal(error: Error) -> (Case, Option<(u32, u64)>) {
    let Error::Damaged(damage) = error else { panic!("{error}") };
    let words: Vec<&str> = damage.next.split(' ').collect();
    let place = words.iter().position(|word| *word == "--truncate").map(|at| {
        let (segment, offset) = words[at + 1].split_once(':').unwrap();
        (segment.parse().unwrap(), offset.parse().unwrap())
    });
    (damage.case, place)
}

#[test]
fn verify_and_dump_tell_what_is_there_and_change_nothing() {
    let disk = build(20);
    let before = disk.files();
    let verified = verify(&disk).unwrap();
    assert_eq!((verified.records, verified.last_sequence, verified.torn_bytes), (20, 20, 0));
    assert_eq!(verified.fence_offset, verified.last_offset);
    assert!(verified.closed_cleanly && verified.segments > 2, "{verified:?}");
    let mut seen = Vec::new();
    let mut visit = |item: crate::wal::Item<'_>| seen.push((item.sequence, item.wall.as_millis()));
    dump_on(&nowhere(), Arc::new(disk.clone()), &mut visit).unwrap();
    assert_eq!(seen, (1..=20).map(|n| (n, n)).collect::<Vec<_>>());
    assert_eq!(disk.files(), before);

    let (log, _) = start(&disk).unwrap();
    assert_eq!(verify(&disk).unwrap_err().kind(), Kind::Locked);
    assert_eq!(repair(&disk, (1, 64), true).unwrap_err().kind(), Kind::Locked);
    drop(log);
}

#[test]
fn the_command_a_refusal_names_brings_the_log_back_up_to_the_damage() {
    let disk = build(20);
    let name = "00000002.segment";
    let mut damaged = disk.files()[name].clone();
    damaged[500] ^= 1;
    disk.put(name, damaged.clone());
    let (case, place) = refusal(start(&disk).unwrap_err());
    assert_eq!(case, Case::ClosedDamaged);
    let place = place.unwrap();
    assert_eq!(place.0, 2);
    let before = disk.files();
    assert_eq!(repair(&disk, place, false).unwrap_err().kind(), Kind::Io);
    assert_eq!(repair(&disk, (place.0, place.1 + 8), true).unwrap_err().kind(), Kind::Io);
    assert_eq!(repair(&disk, (77, 64), true).unwrap_err().kind(), Kind::Io);
    assert_eq!(disk.files(), before, "a repair that was refused changed something");

    let repaired = repair(&disk, place, true).unwrap();
    let kept = repaired.saved_as.file_name().unwrap().to_str().unwrap();
    assert_eq!(disk.files()[kept], damaged);
    assert!((500..3_500).contains(&repaired.cut_bytes), "{repaired:?}");
    let (log, facts) = start(&disk).unwrap();
    assert!((7..12).contains(&facts), "{facts}");
    log.append(&set(100, "key", b"after"), UnixMillis::from_millis(1));
    log.close(UnixMillis::from_millis(1)).unwrap();
    drop(log);
    assert_eq!(verify(&disk).unwrap().records, facts as u64 + 1);
}

#[test]
fn a_segment_without_a_sound_header_can_be_given_up() {
    for missing in [false, true] {
        let disk = build(20);
        let last = verify(&disk).unwrap().last_segment;
        let name = format!("{last:08}.segment");
        if missing {
            disk.take(&name);
        } else {
            let mut damaged = disk.files()[&name].clone();
            damaged[3] ^= 1;
            disk.put(&name, damaged);
        }
        let (case, place) = refusal(start(&disk).unwrap_err());
        assert_eq!(case, if missing { Case::FileMissing } else { Case::HeaderDamaged });
        assert_eq!(place, Some((last, 0)));
        repair(&disk, (last, 0), true).unwrap();
        let (_, facts) = start(&disk).unwrap();
        assert!((10..20).contains(&facts), "{facts}");
    }
}

#[test]
fn a_lost_fence_is_written_anew_without_loss() {
    for lost in [None, Some(vec![0; 5000])] {
        let disk = build(20);
        disk.take("FENCE");
        if let Some(content) = lost {
            disk.put("FENCE", content);
        }
        let (case, place) = refusal(start(&disk).unwrap_err());
        assert!(matches!(case, Case::FenceMissing | Case::FenceDamaged), "{case:?}");
        repair(&disk, place.unwrap(), true).unwrap();
        assert_eq!(start(&disk).unwrap().1, 20);
    }
}

#[test]
fn a_torn_tail_is_cut_without_accepting_loss_and_nothing_more() {
    let disk = build(20);
    let verified = verify(&disk).unwrap();
    let name = format!("{:08}.segment", verified.last_segment);
    let mut torn = disk.files()[&name].clone();
    let end = usize::try_from(verified.last_offset).unwrap();
    torn.truncate(end);
    torn.extend_from_slice(b"half a record");
    disk.put(&name, torn);
    assert_eq!(verify(&disk).unwrap().torn_bytes, 13);
    let place = (verified.last_segment, verified.last_offset);
    assert_eq!(repair(&disk, (place.0, 64), false).unwrap_err().kind(), Kind::Io);
    assert_eq!(repair(&disk, place, false).unwrap().cut_bytes, 13);
    let (log, facts) = start(&disk).unwrap();
    assert_eq!((facts, log.stats().torn_bytes_cut), (20, 0));
}

#[test]
fn a_repair_cut_short_anywhere_can_be_run_again() {
    let mut calls = 0;
    loop {
        calls += 1;
        let disk = build(20);
        let place = (2, 64);
        disk.cut_after(calls);
        let finished = repair(&disk, place, true).is_ok();
        disk.power_cycle();
        if finished {
            break;
        }
        repair(&disk, place, true).unwrap();
        assert!(start(&disk).unwrap().1 < 10);
    }
    assert!(calls > 20, "{calls}");
}

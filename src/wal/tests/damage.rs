//! Damage to what was durable: every byte, every length, every sector, every file. Each is either
//! harmless or refused; none is accepted with other facts than were logged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::kit::set;
use super::story::nowhere;
use crate::model::UnixMillis;
use crate::wal::disk::sim::SimDisk;
use crate::wal::recovery::open_on;
use crate::wal::{Config, Kind, Log};

/// Most cases are needed to be sure; the figure of the test programme.
const CASES_MIN: u64 = 300_000;

type Files = BTreeMap<String, Vec<u8>>;

/// Takes a damaged content, and what the damage is.
type Check<'c> = dyn FnMut(Vec<u8>, &dyn Fn() -> String) + 'c;

/// How a log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    /// Everything synced and fenced, then killed.
    Killed,
}

fn config() -> Config {
    let config = Config { segment_bytes: 4_096, ..Config::new(nowhere()) };
    Config { free_bytes_min: 0, free_bytes_resume: u64::MAX / 2, ..config }
}

fn start(disk: &SimDisk) -> Result<(Log, Vec<String>), Kind> {
    let mut facts = Vec::new();
    let mut recovery = open_on(&config(), Arc::new(disk.clone())).map_err(|error| error.kind())?;
    let mut apply = |fact: crate::model::Fact<'_>, at: UnixMillis| {
        facts.push(format!("{} {fact:?}", at.as_millis()));
    };
    recovery.replay(&mut apply, &mut |_| ()).map_err(|error| error.kind())?;
    Ok((recovery.finish().map_err(|error| error.kind())?.0, facts))
}

/// What a start would give back; nothing on the disk changes.
fn read(disk: &SimDisk) -> Result<Vec<u32>, Kind> {
    let mut facts = Vec::new();
    let mut recovery = open_on(&config(), Arc::new(disk.clone())).map_err(|error| error.kind())?;
    let mut apply = |fact: crate::model::Fact<'_>, _: UnixMillis| {
        let crate::model::Fact::Changed { mutations, .. } = &fact else { panic!("{fact:?}") };
        let crate::model::Change::Set { key, value, .. } = &mutations[0].change else {
            panic!("{fact:?}")
        };
        // Cheaper than the whole text, and as telling.
        facts.push(crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), value));
    };
    recovery.replay(&mut apply, &mut |_| ()).map_err(|error| error.kind())?;
    Ok(facts)
}

/// A log with a snapshot, `closed` closed segments and a last one, and earlier states of its files.
fn build(seed: u64, closed: u64, left: Left) -> (SimDisk, Vec<Files>) {
    let disk = SimDisk::new(seed);
    let (log, _) = start(&disk).unwrap();
    let mut earlier = Vec::new();
    let mut version = 0;
    let mut append = |bytes: usize| {
        version += 1;
        let value = vec![u8::try_from(version % 251).unwrap(); bytes];
        log.append(&set(version, "a key", &value), UnixMillis::from_millis(version * 700));
        log.sync().unwrap();
    };
    if closed > 0 {
        (0..5).for_each(|_| append(50));
        let mut compaction = log.compaction(UnixMillis::from_millis(9)).unwrap();
        for version in 1..30 {
            compaction.write(&set(version, "an entry", &[7; 40])).unwrap();
        }
        compaction.finish(UnixMillis::from_millis(9)).unwrap();
    }
    while log.stats().segments <= closed {
        append(300);
        earlier.push(disk.files());
    }
    for _ in 0..12 {
        append(90);
        earlier.push(disk.files());
    }
    match left {
        Left::Closed => log.close(UnixMillis::from_millis(1_000_000)).unwrap(),
        Left::Killed => log.maintain(UnixMillis::from_millis(1_000_000)),
    }
    drop(log);
    (disk, earlier)
}

fn logs() -> Vec<(SimDisk, Vec<Files>)> {
    vec![build(1, 3, Left::Closed), build(2, 1, Left::Killed), build(3, 0, Left::Closed)]
}

/// Calls `check` with every content that damage makes of `content`, and what that damage is.
fn damages(content: &[u8], check: &mut Check<'_>) {
    for at in 0..content.len() {
        let byte = content[at];
        let bits = (0..8).map(|bit| byte ^ 1 << bit);
        for other in bits.chain([0, 0xff, !byte, byte.wrapping_add(1)]).filter(|b| *b != byte) {
            let mut damaged = content.to_vec();
            damaged[at] = other;
            check(damaged, &|| format!("{other:#x} for {byte:#x} at {at}"));
        }
        check(content[..at].to_vec(), &|| format!("cut to {at}"));
    }
    for start in (0..content.len()).step_by(64) {
        for bytes in [64, 512, 4096] {
            let end = (start + bytes).min(content.len());
            for fill in [0, 0xff] {
                let mut damaged = content.to_vec();
                damaged[start..end].fill(fill);
                check(damaged, &|| format!("{fill:#x} from {start} to {end}"));
            }
            let mut damaged = content.to_vec();
            damaged.copy_within(..end - start, start);
            check(damaged, &|| format!("the first {} bytes again at {start}", end - start));
            let mut damaged = content.to_vec();
            damaged.drain(start..end);
            check(damaged, &|| format!("without bytes {start} to {end}"));
        }
    }
}

#[test]
fn damage_to_any_byte_length_or_sector_is_refused_or_harmless() {
    let mut cases = 0;
    for (disk, _) in logs() {
        let expected = read(&disk).unwrap();
        let files = disk.files();
        let run = |part: usize| {
            let copy = SimDisk::new(0);
            files.iter().for_each(|(name, content)| copy.put(name, content.clone()));
            let (mut cases, mut refused) = (0_u64, 0_u64);
            for (name, content) in &files {
                let mut turn = part;
                damages(content, &mut |damaged, what| {
                    turn ^= 1;
                    if turn == 0 {
                        return;
                    }
                    copy.put(name, damaged);
                    refused +=
                        u64::from(check(&copy, &expected, &|| format!("{name}: {}", what())));
                    cases += 1;
                });
                copy.put(name, content.clone());
            }
            (cases, refused)
        };
        let sums = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(1));
            [run(0), other.join().expect("a case failed; it is named above")]
        });
        let refused: u64 = sums.iter().map(|(_, refused)| refused).sum();
        cases += sums.iter().map(|(cases, _)| cases).sum::<u64>();
        println!("{} facts, {cases} cases so far, {refused} refused of these", expected.len());
    }
    assert!(cases >= CASES_MIN, "{cases}");
}

/// Whether `disk` is refused; panics if it is accepted with other facts than `expected`.
fn check(disk: &SimDisk, expected: &[u32], what: &dyn Fn() -> String) -> bool {
    match catch_unwind(AssertUnwindSafe(|| read(disk))) {
        Ok(Ok(facts)) => {
            assert_eq!(facts, expected, "accepted with other facts: {}", what());
            false
        }
        Ok(Err(kind)) => {
            assert!(matches!(kind, Kind::Damaged | Kind::NewerFormat), "{kind:?}: {}", what());
            true
        }
        Err(_) => panic!("{}", what()),
    }
}

/// The same, and that the disk is as it was.
fn check_kept(disk: &SimDisk, expected: &[u32], what: &dyn Fn() -> String) -> bool {
    let before = disk.files();
    let is_refused = check(disk, expected, what);
    assert_eq!(disk.files(), before, "something was changed: {}", what());
    is_refused
}

#[test]
fn a_missing_file_is_refused() {
    for (disk, _) in logs() {
        let expected = read(&disk).unwrap();
        for (name, content) in disk.files().into_iter().filter(|(name, _)| name != "LOCK") {
            disk.take(&name);
            let is_refused = check_kept(&disk, &expected, &|| format!("without {name}"));
            assert!(is_refused, "without {name}");
            disk.put(&name, content);
        }
    }
}

#[test]
fn files_swapped_or_from_another_store_are_refused() {
    let logs = logs();
    for (index, (disk, _)) in logs.iter().enumerate() {
        let expected = read(disk).unwrap();
        let mut files = disk.files();
        files.remove("LOCK");
        let (strange, _) = &logs[(index + 1) % logs.len()];
        for (name, content) in &files {
            let others =
                files.iter().filter(|(other, _)| *other != name).map(|(_, content)| content);
            for other in others.chain(strange.files().get(name)) {
                disk.put(name, other.clone());
                assert!(
                    check_kept(disk, &expected, &|| format!("another {name}")),
                    "another {name}"
                );
            }
            disk.put(name, content.clone());
        }
    }
}

#[test]
fn an_earlier_copy_of_a_file_is_refused_or_harmless() {
    let mut refused = 0;
    for (disk, earlier) in logs() {
        let expected = read(&disk).unwrap();
        for state in earlier {
            for (name, content) in disk.files() {
                if let Some(old) = state.get(&name) {
                    disk.put(&name, old.clone());
                    refused +=
                        u64::from(check_kept(&disk, &expected, &|| format!("an old {name}")));
                    disk.put(&name, content);
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_duplicate_under_another_name_changes_nothing() {
    for (disk, _) in logs() {
        let expected = read(&disk).unwrap();
        for (name, content) in disk.files() {
            let copies = [format!("{name}.old"), format!("copy of {name}"), format!("x{name}")];
            for copy in &copies {
                disk.put(copy, content.clone());
            }
            assert_eq!(read(&disk).unwrap(), expected);
            drop(start(&disk).unwrap());
            for copy in &copies {
                assert_eq!(disk.files().get(copy), Some(&content), "an unknown file was touched");
            }
        }
    }
}

#[test]
fn a_segment_beyond_the_last_one_is_refused_if_it_holds_records() {
    for (disk, _) in logs() {
        let files = disk.files();
        let (name, content) = files.iter().rfind(|(name, _)| name.ends_with(".segment")).unwrap();
        let beyond = "00000099.segment";
        disk.put(beyond, content.clone());
        assert_eq!(read(&disk).unwrap_err(), Kind::Damaged, "{name} as {beyond}");
        disk.put(beyond, content[..64].to_vec());
        drop(start(&disk).unwrap());
        assert!(!disk.files().contains_key(beyond), "left over from a rotation cut short");
    }
}

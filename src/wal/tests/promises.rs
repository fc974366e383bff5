//! The log on real files.

use super::kit::{one_of_each, set};
use crate::model::{Fact, UnixMillis};
use crate::wal::record::{self, Position};
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

#[test]
fn a_snapshot_never_shows_what_a_power_cut_could_still_take() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = start(&Config::new(dir.path()));
    let mut compaction = log.compaction(at(1)).unwrap();
    let end = log.append(&set(1, "k", b"in the image, not on disk"), at(2));
    compaction.write(&set(1, "k", b"in the image, not on disk")).unwrap();
    assert!(log.durable() < end);
    compaction.finish(at(3)).unwrap();
    assert!(log.durable() >= end);
}

#[test]
fn a_large_record_and_a_batch_of_many_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1 << 20, ..Config::new(dir.path()) };
    let (log, _) = start(&config);
    let value = vec![5; 3 << 20];
    let mut expected = Vec::new();
    for version in 1..=5 {
        let fact = set(version, "large", &value[..value.len() / usize::try_from(version).unwrap()]);
        log.append(&fact, at(version));
        expected.push(format!("{version} {fact:?}"));
    }
    let Fact::Changed { namespace, mutations } = set(9, "many", b"x") else { unreachable!() };
    let many = Fact::Changed { namespace, mutations: vec![mutations[0].clone(); 50_000].into() };
    log.append(&many, at(9));
    expected.push(format!("9 {many:?}"));
    log.sync().unwrap();
    drop(log);
    let (_, facts) = start(&config);
    assert!(facts == expected, "other facts than were logged");
}

#[test]
#[should_panic(expected = "a record of")]
fn a_record_above_the_maximum_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = start(&Config::new(dir.path()));
    let (left, right) = (vec![0; 16 << 20], vec![0; 17 << 20]);
    log.append(&Fact::Settings([left, right].concat().into()), at(1));
}

#[test]
fn bytes_of_a_client_cannot_pass_as_a_record() {
    // The client stores what would be a record, and proof of a fence far beyond, under every salt a
    // log without salts might use; then the power goes while that value is being written.
    let mut forged = Vec::new();
    for salt in [0, u32::MAX, 1] {
        let start = record::begin(&mut forged);
        forged.extend_from_slice(b"payload!");
        record::end(&mut forged, start);
        let mut position = Position { salt, chain: 0, sequence: 3, offset: 64 };
        record::seal(&mut forged[start..], &mut position, 1 << 40);
    }
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (log, _) = start(&config);
    log.append(&set(1, "k", b""), at(1));
    log.sync().unwrap();
    // Settings begin 7 bytes into a payload: one more puts the forgery where records begin.
    log.append(&Fact::Settings([vec![0], forged].concat().into()), at(1));
    log.sync().unwrap();
    drop(log);
    let path = dir.path().join("00000001.segment");
    let mut torn = std::fs::read(&path).unwrap();
    let first = 64 + 56;
    torn[first + 24] ^= 1;
    std::fs::write(&path, torn).unwrap();
    let (log, facts) = start(&config);
    assert_eq!(facts.len(), 1);
    assert!(log.stats().torn_bytes_cut > 0);
}

#[test]
fn a_refusal_names_file_place_and_command_and_leaves_everything_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (log, _) = start(&config);
    log.append(&set(1, "k", b""), at(1));
    log.append(&set(2, "k", b""), at(1));
    log.close(at(2)).unwrap();
    drop(log);
    let path = dir.path().join("00000001.segment");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[70] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let error = open(&config).unwrap().replay(&mut |_, _| (), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    let text = error.to_string();
    let command = format!("pykv wal repair --data-dir {} --truncate 1:64", dir.path().display());
    for part in ["00000001.segment", "offset 64", "sequence 1", "1 records beyond", &command] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
}

#[test]
fn a_log_of_a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    drop(start(&config));
    for (name, checksum_at) in [("MANIFEST", None), ("00000001.segment", Some(60))] {
        let path = dir.path().join(name);
        let original = std::fs::read(&path).unwrap();
        let mut later = original.clone();
        later[8] += 1;
        let checksum_at = checksum_at.unwrap_or(later.len() - 4);
        let checksum = crc32c::crc32c(&later[..checksum_at]);
        later[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(&path, later).unwrap();
        let result = open(&config).and_then(|mut log| log.replay(&mut |_, _| (), &mut |_| ()));
        assert_eq!(result.unwrap_err().kind(), Kind::NewerFormat, "{name}");
        std::fs::write(&path, original).unwrap();
    }
}

#[test]
fn a_first_start_cut_short_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    drop(start(&config));
    for leftovers in [&["MANIFEST"][..], &["MANIFEST", "FENCE"], &["MANIFEST", "00000001.segment"]]
    {
        for name in leftovers.iter().chain(&["BALLAST"]) {
            drop(std::fs::remove_file(dir.path().join(name)));
        }
        drop(start(&config));
    }
}

#[test]
fn a_later_record_proves_that_an_earlier_one_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1_000, ..Config::new(dir.path()) };
    let (log, _) = start(&config);
    for version in 1..=4 {
        log.append(&set(version, "k", b"value"), at(1));
        log.sync().unwrap();
    }
    // Killed within the second after which the fence would have followed.
    drop(log);
    let path = dir.path().join("00000001.segment");
    let whole = std::fs::read(&path).unwrap();
    let record_bytes = 64;
    for offset in 64..64 + 3 * record_bytes {
        let mut damaged = whole.clone();
        damaged[offset] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let result = open(&config).and_then(|mut log| log.replay(&mut |_, _| (), &mut |_| ()));
        assert_eq!(result.unwrap_err().kind(), Kind::Damaged, "at {offset}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(start(&config).1.len(), 4);
}

#[test]
fn a_torn_tail_is_kept_before_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let (log, _) = start(&config);
    log.append(&set(1, "k", b""), at(1));
    log.close(at(1)).unwrap();
    drop(log);
    let path = dir.path().join("00000001.segment");
    let mut torn = std::fs::read(&path).unwrap();
    let end = 64 + 56;
    for tail in [&b"torn once"[..], b"and again", b"and again"] {
        torn[end..end + tail.len()].copy_from_slice(tail);
        std::fs::write(&path, &torn).unwrap();
        let mut recovery = open(&config).unwrap();
        recovery.replay(&mut |_, _| (), &mut |_| ()).unwrap();
        let (log, report) = recovery.finish().unwrap();
        assert_eq!(std::fs::read(report.saved_as.unwrap()).unwrap(), tail);
        assert_eq!((report.records, report.torn_bytes), (1, tail.len() as u64));
        assert_eq!(log.stats().torn_bytes_cut, tail.len() as u64);
    }
    let mut recovery = open(&config).unwrap();
    recovery.replay(&mut |_, _| (), &mut |_| ()).unwrap();
    assert_eq!(recovery.finish().unwrap().1.torn_bytes, 0, "cut once, and gone");
    let is_kept = |entry: &std::io::Result<std::fs::DirEntry>| {
        entry.as_ref().unwrap().file_name().to_string_lossy().contains(".cut-at-")
    };
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().filter(is_kept).count(), 3);
}

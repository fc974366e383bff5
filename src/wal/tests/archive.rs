//! Archives: what goes in comes out, and nothing else is taken for one.

use std::path::{Path, PathBuf};

use super::kit::definitions;
use crate::model::{
    Definition, KEY_BYTES_MAX, NamespaceId, NamespaceName, UnixMillis, VALUE_BYTES_HARD_MAX,
    Version,
};
use crate::wal::archive::{
    Entry, Error, FORMAT, Item, RECORD_BYTES_MAX, Reader, Summary, Writer, Wrong,
};
use crate::wal::record::{self, Position, seal};

const MOMENT: UnixMillis = UnixMillis::from_millis(1_700_000_000_123);
const SALT: u32 = 0x5eed_5a17;

/// What an archive said, as text that can be compared.
type Said = Vec<String>;

fn read(bytes: &[u8], chunk: usize) -> Result<(Said, Summary), Error> {
    let mut reader = Reader::new();
    let mut said = Said::new();
    for piece in bytes.chunks(chunk) {
        reader.feed(piece, &mut |item| {
            said.push(match item {
                Item::Definition(definition) => format!("{definition:?}"),
                Item::Entry { namespace, entry, encoded } => {
                    assert_eq!(Entry::decode(encoded), Some((entry, &b""[..])));
                    format!("{namespace:?} {entry:?}")
                }
            });
        })?;
    }
    Ok((said, reader.finish()?))
}

fn spaces() -> [Definition; 2] {
    let (bare, mut full) = definitions(NamespaceId(7));
    full.policy.value_bytes_max = u32::try_from(VALUE_BYTES_HARD_MAX).ok();
    [bare, full]
}

/// Entries of every form, each with the place of its namespace among [`spaces`].
fn entries() -> Vec<(usize, Entry<'static>)> {
    let entry = |key, value: &'static [u8], version, deadline| Entry {
        key,
        value,
        version: Version(version),
        written: UnixMillis::from_millis(1_700_000_000_000),
        deadline,
    };
    let never = Entry { written: UnixMillis::ZERO, ..entry("last", b"", Version::MAX.0, None) };
    vec![
        (0, entry("k", b"v", 1, None)),
        (0, entry("ключ \0\n", &[0, 0xff, 0xfe, b'\n'], 300, Some(UnixMillis::MAX))),
        (1, entry("empty", b"", 2, Some(UnixMillis::from_millis(1)))),
        (0, entry("again", &[7; 300], 3, None)),
        (1, never),
    ]
}

/// Writes an archive of these, a record or two at a time.
fn written(spaces: &[Definition], entries: &[(usize, Entry<'_>)]) -> (Vec<u8>, Summary) {
    let mut writer = Writer::new(MOMENT, SALT);
    let ids: Vec<NamespaceId> = spaces.iter().map(|space| writer.define(space)).collect();
    let mut bytes = writer.take();
    for (space, entry) in entries {
        writer.add(ids[*space], entry);
    }
    assert!(entries.is_empty() || writer.gathered() > 0);
    bytes.extend(writer.take());
    let (rest, summary) = writer.finish();
    bytes.extend(rest);
    (bytes, summary)
}

fn small() -> (Vec<u8>, Summary) {
    written(&spaces(), &entries())
}

fn expected() -> Said {
    let numbered = (1..).zip(spaces());
    let define = |(number, space)| format!("{:?}", Definition { id: NamespaceId(number), ..space });
    let mut said: Said = numbered.map(define).collect();
    for (space, entry) in entries() {
        let id = NamespaceId(u32::try_from(space).unwrap() + 1);
        said.push(format!("{id:?} {entry:?}"));
    }
    said
}

#[test]
fn an_archive_is_read_as_it_was_written_however_it_comes() {
    let (bytes, summary) = small();
    let sizes = (summary.namespaces, summary.entries, summary.bytes);
    assert_eq!(sizes, (2, 5, bytes.len() as u64));
    assert_eq!((summary.format, summary.moment), (FORMAT, MOMENT));
    for chunk in [1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 1000, usize::MAX] {
        assert_eq!(read(&bytes, chunk), Ok((expected(), summary)), "by {chunk}");
    }
    let (empty, summary) = written(&[], &[]);
    assert_eq!(read(&empty, 5), Ok((Vec::new(), summary)));
}

#[test]
fn the_largest_entries_fit_and_records_stay_bounded() {
    let key = "k".repeat(KEY_BYTES_MAX);
    let value = vec![1; VALUE_BYTES_HARD_MAX];
    let large = Entry { key: &key, value: &value, ..entries()[0].1 };
    let almost_full = Entry { value: &value[..60_000], ..large };
    let all = [(0, almost_full), (0, large), (0, large), (1, large)];
    let (bytes, summary) = written(&spaces(), &all);
    let (said, read_summary) = read(&bytes, 100_000).unwrap();
    assert_eq!((said.len(), read_summary), (6, summary));
}

#[test]
fn no_damage_to_any_byte_is_accepted() {
    let (bytes, _) = small();
    let mut cases = 0;
    let mut check = |damaged: &[u8], what: &dyn Fn() -> String| {
        cases += 1;
        let chunk = [1, 13, 64, usize::MAX][cases % 4];
        match read(damaged, chunk) {
            Ok(_) => panic!("accepted: {}", what()),
            Err(Error::Damaged { offset, .. }) => {
                assert!(offset <= damaged.len() as u64, "{offset}: {}", what());
            }
            // No single change of a byte leaves the checksum of the header right.
            Err(Error::Newer { .. }) => panic!("taken for a later format: {}", what()),
        }
    };
    for at in 0..bytes.len() {
        for other in 0..=u8::MAX {
            if other != bytes[at] {
                let mut damaged = bytes.clone();
                damaged[at] = other;
                check(&damaged, &|| format!("{other:#x} at {at}"));
            }
        }
        check(&bytes[..at], &|| format!("cut to {at}"));
        for length in [1, 8, 32, 64] {
            let mut damaged = bytes.clone();
            damaged.drain(at..(at + length).min(bytes.len()));
            check(&damaged, &|| format!("without {length} from {at}"));
            let mut damaged = bytes.clone();
            damaged.splice(at..at, vec![0; length]);
            check(&damaged, &|| format!("{length} more at {at}"));
            if at + length < bytes.len() && bytes[..length] != bytes[at..at + length] {
                let mut damaged = bytes.clone();
                damaged.copy_within(..length, at);
                check(&damaged, &|| format!("the first {length} again at {at}"));
            }
        }
    }
    for garbage in [&b"\0"[..], b"x", &[0; 64], &bytes[64..], &bytes] {
        check(&[&bytes, garbage].concat(), &|| format!("{} more behind", garbage.len()));
    }
    println!("{cases} cases");
    assert!(cases > 100_000, "{cases}");
}

#[test]
fn records_of_another_archive_do_not_fit() {
    let (one, _) = small();
    let mut others = entries();
    others[0].1.value = b"w";
    let (two, _) = written(&spaces(), &others);
    assert_eq!(one.len(), two.len());
    for at in 64..one.len() - 1 {
        let mixed = [&one[..at], &two[at..]].concat();
        if mixed != one && mixed != two {
            assert!(read(&mixed, 1000).is_err(), "mixed at {at}");
        }
    }
}

#[test]
fn what_is_not_an_archive_is_said_to_be_what_it_is() {
    let check = |bytes: &[u8], expected: Wrong| {
        for chunk in [1, 1000] {
            let error = read(bytes, chunk).unwrap_err();
            assert_eq!(error, Error::Damaged { offset: 0, wrong: expected }, "{error}");
        }
    };
    check(&[0; 200], Wrong::Magic);
    check(b"{\"json\": true}", Wrong::Magic);
    let log = std::fs::read(frozen().with_file_name("wal-v1").join("00000002.snapshot")).unwrap();
    let error = read(&log, 1000).unwrap_err();
    assert_eq!(error, Error::Damaged { offset: 0, wrong: Wrong::LogFile });
    let empty = Error::Damaged { offset: 0, wrong: Wrong::CutShort };
    assert_eq!(read(b"", 1).unwrap_err(), empty);
    assert_eq!(
        empty.to_string(),
        "the snapshot is damaged at offset 0: expected more: the file is cut short"
    );
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let (mut bytes, _) = small();
    bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let newer = Error::Newer { found: FORMAT + 1, supported: FORMAT };
    assert_eq!(read(&bytes, 10).unwrap_err(), newer);
}

/// An archive of these payloads with every checksum right, as nobody but an attacker makes one.
fn forged(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(MOMENT, SALT);
    let head = writer.take();
    let chain = u32::from_le_bytes(head[60..64].try_into().unwrap());
    let mut position = Position { salt: SALT, chain, sequence: 1, offset: 64 };
    let mut records = Vec::new();
    for payload in payloads {
        let start = record::begin(&mut records);
        records.extend_from_slice(payload);
        record::end(&mut records, start);
    }
    seal(&mut records, &mut position, 0);
    [head, records].concat()
}

/// The payload of the first record that `bytes` has behind its header.
fn first_payload(bytes: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[68..72].try_into().unwrap()) as usize;
    bytes[96..96 + length].to_vec()
}

fn definition_payload(definition: Definition) -> Vec<u8> {
    first_payload(&written(&[definition], &[]).0)
}

fn entry_payload(entry: Entry<'_>) -> Vec<u8> {
    let mut payload = vec![2, 1];
    entry.encode(&mut payload);
    payload
}

fn footer_payload(namespaces: u64, records: u64, entries: u64) -> Vec<u8> {
    let mut payload = vec![3];
    [namespaces, records, entries].iter().for_each(|n| payload.extend(n.to_le_bytes()));
    payload
}

/// `payload` after a change.
fn changed(mut payload: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut payload);
    payload
}

fn check_nonsense(what: &str, mut payloads: Vec<Vec<u8>>) {
    payloads.push(footer_payload(1, 2, 1));
    for chunk in [100, usize::MAX] {
        let error = read(&forged(&payloads), chunk).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
    }
}

#[test]
fn sound_checksums_do_not_make_an_entry_acceptable() {
    let defined = definition_payload(spaces()[1].clone());
    let good = entries()[0].1;
    let footer = footer_payload(1, 2, 1);
    let whole = [defined.clone(), entry_payload(good), footer];
    assert!(read(&forged(&whole), 1000).is_ok(), "the forgery itself is right");

    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let huge = vec![0; VALUE_BYTES_HARD_MAX + 1];
    let check = |what: &str, payload| check_nonsense(what, vec![defined.clone(), payload]);
    check("an empty key", entry_payload(Entry { key: "", ..good }));
    check("a key too long", entry_payload(Entry { key: &long, ..good }));
    check("a value too large", entry_payload(Entry { value: &huge, ..good }));
    let good = || entry_payload(good);
    check(
        "a key that is no text",
        changed(good(), |payload| {
            let at = payload.len() - 2;
            payload[at] = 0xff;
        }),
    );
    check("unknown flags", changed(good(), |payload| payload[2] |= 2));
    check("an entry cut short", changed(good(), |payload| payload.truncate(payload.len() - 1)));
    check("no entry at all", vec![2, 1]);
    check("namespace 0", changed(good(), |payload| payload[1] = 0));
    check("namespace 2", changed(good(), |payload| payload[1] = 2));
}

#[test]
fn sound_checksums_do_not_make_an_order_or_a_definition_acceptable() {
    let space = spaces()[1].clone();
    let defined = definition_payload(space.clone());
    let entry = entry_payload(entries()[0].1);
    let footer = footer_payload;
    let check = check_nonsense;
    check("a namespace that was not defined", vec![entry.clone()]);
    check("a definition behind an entry", vec![defined.clone(), entry.clone(), defined.clone()]);
    check("a name twice", vec![defined.clone(), changed(defined.clone(), |p| p[1] = 2)]);
    check("a number twice", vec![defined.clone(), defined.clone()]);
    check("more behind a definition", vec![changed(defined.clone(), |p| p.push(0))]);
    check("a footer that counts wrong", vec![defined.clone(), entry.clone(), footer(1, 2, 2)]);
    check("a footer that is longer", vec![changed(footer(0, 0, 0), |p| p.push(0))]);
    check("something behind the footer", vec![footer(0, 0, 0), footer(0, 1, 0)]);
    check("an unknown kind", vec![vec![9]]);
    check("an empty payload", vec![vec![]]);
    check("a record longer than any", vec![vec![0; RECORD_BYTES_MAX + 1]]);
    let with = |change: fn(&mut Definition)| {
        let mut space = space.clone();
        change(&mut space);
        vec![definition_payload(space)]
    };
    check("a long description", with(|space| space.description = "x".repeat(1025)));
    check(
        "too many labels",
        with(|space| {
            space.labels = (0..33).map(|n| (n.to_string(), String::new())).collect();
        }),
    );
    check(
        "a label without a key",
        with(|space| {
            space.labels.insert(String::new(), String::new());
        }),
    );
    check(
        "a limit above the hard one",
        with(|space| {
            space.policy.value_bytes_max = u32::try_from(VALUE_BYTES_HARD_MAX + 1).ok();
        }),
    );
    let name = NamespaceName::parse("other").unwrap();
    let two = [space.clone(), Definition { name, ..space.clone() }];
    assert!(read(&written(&two, &[]).0, 9).is_ok());
}

fn frozen() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-v1.pykv")
}

/// The frozen file was written by [`small`] and is never changed again. A new format adds a file.
#[test]
fn the_archive_of_format_1_reads_as_it_was_written_and_is_written_so_still() {
    let frozen = std::fs::read(frozen()).unwrap();
    let (bytes, summary) = small();
    assert_eq!(read(&frozen, 100), Ok((expected(), summary)));
    assert_eq!(bytes, frozen, "the same content has other bytes now");
}

//! The state an original log comes to, and what of the log could not be used.
//!
//! It is replayed as the original's own recovery would, except where that is known to be wrong; there
//! it comes to what its users were told:
//!
//! | what the original gets wrong | here |
//! |---|---|
//! | an expired write lets the value before it come back | a write replaces, whether it has expired or not |
//! | clearing a namespace with a colon in its name deletes keys that do not exist, so that all of them come back | a deletion of what does not exist is tried with the part of the name taken out that is there twice |
//! | a record behind one that was cut short is lost | it counts (`line`) |
//! | one odd line stops it | it is reported, and the rest is replayed |
//!
//! What is not wrong, only odd, stays: one flat space of keys, so that `a:b` without a namespace and
//! `b` in namespace `a` are one place, and a deletion under the one spelling takes the other; and
//! what evictions would have removed is there, since they were never logged.

use std::collections::HashMap;
use std::io::{self, BufRead};

use super::line::{self, Event, Expiry, Place, Problem, Record};
use crate::model::UnixMillis;

/// Longest line that is looked at: a value of 3 MiB with every byte escaped, and a key.
const LINE_BYTES_MAX: usize = 20 << 20;

/// Tells a line that cannot be used: its number, from 1, and why.
pub(super) type Complain<'c> = dyn FnMut(u64, &Problem) + 'c;

/// An entry that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The line that wrote it.
    pub(super) line: u64,
    pub(super) place: Place,
    pub(super) value: String,
    pub(super) expiry: Expiry,
}

/// What the lines so far come to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) lines: u64,
    pub(super) unusable: u64,
    entries: HashMap<String, Kept, ahash::RandomState>,
}

impl Replay {
    /// Reads `log` to its end; `read` is told how many bytes were read.
    pub(super) fn run(
        &mut self,
        log: &mut dyn BufRead,
        complain: &mut Complain<'_>,
        read: &mut dyn FnMut(usize),
    ) -> io::Result<()> {
        let mut line = Vec::new();
        while let Some(end) = next_line(log, &mut line, read)? {
            self.lines += 1;
            match end {
                End::TooLong => self.refuse(complain, &Problem::TooLong),
                End::Line => self.take(&line, false, complain),
                End::Log => self.take(&line, true, complain),
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8], is_last: bool, complain: &mut Complain<'_>) {
        let reading = line::read(line, is_last);
        if let Some(problem) = &reading.problem {
            self.refuse(complain, problem);
        }
        match reading.record {
            None => {}
            Some(Record { place, event: Event::Deleted }) => self.delete(&place),
            Some(Record { place, event: Event::Lost(problem) }) => {
                self.entries.remove(&place.internal());
                self.refuse(complain, &problem);
            }
            Some(Record { place, event: Event::Set { value, expiry } }) => {
                let (internal, line) = (place.internal(), self.lines);
                self.entries.insert(internal, Kept { line, place, value, expiry });
            }
        }
    }

    fn refuse(&mut self, complain: &mut Complain<'_>, problem: &Problem) {
        self.unusable += 1;
        complain(self.lines, problem);
    }

    fn delete(&mut self, place: &Place) {
        if self.entries.remove(&place.internal()).is_some() {
            return;
        }
        // What a clear of `a:b` logs for its key `c`: namespace `a:b`, key `b:c`.
        let Some(namespace) = &place.namespace else { return };
        if let Some((first, rest)) = namespace.split_once(':')
            && place.key.strip_prefix(rest).is_some_and(|key| key.starts_with(':'))
        {
            self.entries.remove(&format!("{first}:{}", place.key));
        }
    }

    /// What is left, in the order in which it was written.
    pub(super) fn into_entries(self) -> Vec<Kept> {
        let mut entries: Vec<Kept> = self.entries.into_values().collect();
        entries.sort_unstable_by_key(|kept| kept.line);
        entries
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How a line ended.
enum End {
    /// With an end of line.
    Line,
    /// With the log.
    Log,
    /// Not before it was too long; the rest of it was passed over.
    TooLong,
}

/// Reads a line into `line`, without its end; none at the end of the log.
fn next_line(
    log: &mut dyn BufRead,
    line: &mut Vec<u8>,
    read: &mut dyn FnMut(usize),
) -> io::Result<Option<End>> {
    line.clear();
    let mut is_too_long = false;
    loop {
        let available = match log.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(match (is_too_long, line.is_empty()) {
                (true, _) => Some(End::TooLong),
                (false, true) => None,
                (false, false) => Some(End::Log),
            });
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        is_too_long |= line.len() + piece.len() > LINE_BYTES_MAX;
        if !is_too_long {
            line.extend_from_slice(piece);
        }
        let used = end.map_or(available.len(), |end| end + 1);
        log.consume(used);
        read(used);
        if end.is_some() {
            return Ok(Some(if is_too_long { End::TooLong } else { End::Line }));
        }
    }
}

/// Whether `kept` can still be read at `now`.
pub(super) fn is_live(kept: &Kept, now: UnixMillis) -> bool {
    match kept.expiry {
        Expiry::Never => true,
        Expiry::At(deadline) => deadline > now,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn set(key: &str, value: &str, ttl: &str, namespace: &str) -> String {
        let namespace = if namespace.is_empty() { "null".into() } else { format!("{namespace:?}") };
        format!(
            "{{\"timestamp\": 100.0, \"action\": \"SET\", \"key\": {key:?}, \"value\": {value:?}, \
             \"ttl\": {ttl}, \"namespace\": {namespace}}}\n"
        )
    }

    fn del(key: &str, namespace: &str) -> String {
        let namespace = if namespace.is_empty() { "null".into() } else { format!("{namespace:?}") };
        format!(
            "{{\"timestamp\": 101.0, \"action\": \"DEL\", \"key\": {key:?}, \"value\": null, \
             \"ttl\": null, \"namespace\": {namespace}}}\n"
        )
    }

    type Left = Vec<(u64, Option<String>, String, String)>;

    /// What is left of a log, and the lines that could not be used.
    fn replayed(log: &[u8]) -> (Left, Vec<(u64, Problem)>) {
        let (mut replay, mut problems, mut bytes) = (Replay::default(), Vec::new(), 0);
        replay
            .run(
                &mut BufReader::with_capacity(7, log),
                &mut |line, problem| problems.push((line, problem.clone())),
                &mut |read| bytes += read,
            )
            .unwrap();
        assert_eq!(bytes, log.len());
        assert_eq!(replay.unusable, problems.len() as u64);
        let left = |kept: Kept| (kept.line, kept.place.namespace, kept.place.key, kept.value);
        (replay.into_entries().into_iter().map(left).collect(), problems)
    }

    fn values(lines: &[String]) -> Vec<String> {
        let (left, problems) = replayed(lines.concat().as_bytes());
        assert_eq!(problems, []);
        left.into_iter().map(|(_, _, _, value)| value).collect()
    }

    #[test]
    fn the_last_word_on_a_key_holds() {
        let lines =
            [set("a", "1", "null", ""), set("b", "2", "null", ""), set("a", "3", "null", "")];
        assert_eq!(values(&lines), ["2", "3"], "in the order of writes");
        let lines = [set("a", "1", "null", ""), del("a", ""), del("never", "")];
        assert_eq!(values(&lines), [""; 0]);
        let lines = [set("a", "1", "null", ""), del("a", ""), set("a", "2", "null", "")];
        assert_eq!(values(&lines), ["2"]);
    }

    #[test]
    fn an_expired_write_does_not_bring_back_what_it_replaced() {
        let lines = [set("k", "old", "null", ""), set("k", "new", "1", "")].concat();
        let mut replay = Replay::default();
        replay.run(&mut lines.as_bytes(), &mut |_, _| (), &mut |_| ()).unwrap();
        let entries = replay.into_entries();
        assert_eq!((entries.len(), entries[0].value.as_str()), (1, "new"));
        let at = UnixMillis::from_millis;
        assert!(is_live(&entries[0], at(100_999)) && !is_live(&entries[0], at(101_000)));
    }

    #[test]
    fn spellings_of_one_place_are_one_place() {
        let lines = [set("b:c", "1", "null", "a"), del("c", "a:b")];
        assert_eq!(values(&lines), [""; 0]);
        let lines = [set("a:b", "1", "null", ""), del("b", "a")];
        assert_eq!(values(&lines), [""; 0]);
        let lines = [set("a:b", "1", "null", ""), set("b", "2", "null", "a")].concat();
        let (left, _) = replayed(lines.as_bytes());
        assert_eq!(left, [(2, Some("a".to_owned()), "b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_cleared_namespace_with_a_colon_stays_cleared() {
        let lines = [
            set("k", "1", "null", "app:prod"),
            set("x:y", "2", "null", "app:prod"),
            set("k", "3", "null", "app:test"),
            set("k", "4", "null", "app"),
            del("prod:k", "app:prod"),
            del("prod:x:y", "app:prod"),
        ];
        assert_eq!(values(&lines), ["3", "4"]);
        // Where that very key exists, it is what was meant.
        let lines = [
            set("prod:k", "1", "null", "app:prod"),
            set("k", "2", "null", "app:prod"),
            del("prod:k", "app:prod"),
        ];
        assert_eq!(values(&lines), ["2"]);
    }

    #[test]
    fn lines_that_cannot_be_used_are_counted_and_passed_over() {
        let mut log = Vec::new();
        for piece in [
            set("a", "1", "null", "").as_bytes(),
            b"\n",
            b"garbage\n",
            b"\xff\xfe\n",
            b"[]\r\n",
            set("b", "2", "null", "").trim_end().as_bytes(),
            b"\r\n",
            set("c", "3", "null", "").trim_end().as_bytes(),
            b"\n",
            b"{\"timestamp\": 1, \"act",
        ] {
            log.extend_from_slice(piece);
        }
        let (left, problems) = replayed(&log);
        let values: Vec<_> =
            left.iter().map(|(line, _, _, value)| (*line, value.as_str())).collect();
        assert_eq!(values, [(1, "1"), (6, "2"), (7, "3")]);
        let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 8]);
        assert_eq!(problems[2].1, Problem::NotText);
        assert_eq!(problems[3].1, Problem::NotAnObject);
        assert_eq!(problems[4].1, Problem::CutShort);
    }

    #[test]
    fn what_cannot_be_kept_does_not_leave_an_older_value_in_its_place() {
        let lines = [
            set("k", "old", "null", "my"),
            set("k", &"v".repeat((3 << 20) + 1), "null", "my"),
            set("app:k", "old", "null", ""),
            set("", "x", "null", ""),
        ];
        let (left, problems) = replayed(lines.concat().as_bytes());
        assert_eq!(left.len(), 1);
        let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_line_of_any_length_takes_bounded_memory() {
        let long = io::repeat(b'x').take(3 * LINE_BYTES_MAX as u64);
        let after = set("a", "1", "null", "");
        let log = long.chain(&b"\n"[..]).chain(after.as_bytes());
        let (mut replay, mut problems) = (Replay::default(), Vec::new());
        let mut complain = |line, problem: &Problem| problems.push((line, problem.clone()));
        replay.run(&mut BufReader::new(log), &mut complain, &mut |_| ()).unwrap();
        assert_eq!(problems, [(1, Problem::TooLong)]);
        assert_eq!((replay.lines, replay.len()), (2, 1));
    }

    #[test]
    fn an_empty_log_is_nothing() {
        assert_eq!(replayed(b""), (Vec::new(), Vec::new()));
    }
}

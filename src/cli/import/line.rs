//! One line of an original log: what it says, or why it cannot be used.
//!
//! ```text
//! {"timestamp": seconds, "action": "SET" or "DEL", "key": text, "value": text or null,
//!  "ttl": seconds or null, "namespace": text or null}
//! ```
//!
//! The original put namespace and key together with a colon and kept one flat map of that. So two
//! spellings can mean one place, and what is done to the one is done to the other.

use std::fmt;

use serde_json::{Map, Value};

use crate::model::{Key, KeyError, NameError, NamespaceName, UnixMillis, VALUE_BYTES_HARD_MAX};

/// How every record begins that the original has written.
const BEGINNING: &[u8] = br#"{"timestamp""#;

/// Records in one line that are tried: the server was killed that often in a row, each time in the
/// middle of a write.
const GLUED_MAX: usize = 8;

/// Longest text of an unknown word that is repeated to whoever reads the report.
const WORD_CHARS_MAX: usize = 32;

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) place: Place,
    pub(super) event: Event,
}

/// Where: as the original found it, and as its user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// None was named: what the original calls no namespace.
    pub(super) namespace: Option<String>,
    pub(super) key: String,
}

impl Place {
    /// The key in the original's flat map.
    pub(super) fn internal(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}:{}", self.key),
            None => self.key.clone(),
        }
    }
}

/// What.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// An entry was written.
    Set { value: String, expiry: Expiry },
    /// An entry was written, and what it replaced is gone; but here it cannot be kept.
    Lost(Problem),
    /// An entry was deleted.
    Deleted,
}

/// When an entry stops being readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    At(UnixMillis),
}

/// Why a line, or an entry, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// More bytes than any line can have that could be used.
    TooLong,
    NotText,
    /// It ends before its end: the server was killed while it wrote.
    CutShort,
    /// It begins with a record cut short; the one behind that was used.
    BeginsCutShort,
    NotJson(String),
    NotAnObject,
    Missing(&'static str),
    /// The field is not of this type.
    Type(&'static str, &'static str),
    Action(String),
    Namespace(NameError),
    Key(KeyError),
    ValueTooLarge(usize),
    /// The same key in the same namespace of the server was written later, on this line.
    WrittenAgain(u64),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::TooLong => f.write_str("it is longer than any line that could be used"),
            Problem::NotText => f.write_str("it is not UTF-8"),
            Problem::CutShort => f.write_str("it is cut short"),
            Problem::BeginsCutShort => {
                f.write_str("it begins with a record cut short; the one behind it was used")
            }
            Problem::NotJson(why) => write!(f, "it is not JSON: {why}"),
            Problem::NotAnObject => f.write_str("it is not a JSON object"),
            Problem::Missing(field) => write!(f, "it has no {field}"),
            Problem::Type(field, expected) => write!(f, "its {field} is not {expected}"),
            Problem::Action(action) => write!(f, "its action is {action:?}, not SET or DEL"),
            Problem::Namespace(error) => write!(f, "its namespace {error}"),
            Problem::Key(error) => write!(f, "its key {error}"),
            Problem::WrittenAgain(line) => {
                write!(f, "line {line} has written what is the same entry here")
            }
            Problem::ValueTooLarge(bytes) => write!(
                f,
                "its value has {bytes} bytes, the most a value may have is {VALUE_BYTES_HARD_MAX}"
            ),
        }
    }
}

/// What a line says: its records, and what is wrong with it. Usually it has one of the two; a line
/// that begins with a record cut short may have both.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) record: Option<Record>,
    pub(super) problem: Option<Problem>,
}

/// Reads a line without its end. `is_last`: nothing follows it, not even an end of line.
pub(super) fn read(line: &[u8], is_last: bool) -> Reading {
    let problem = match parse(line) {
        Ok(record) => return Reading { record: Some(record), problem: None },
        Err(problem) => problem,
    };
    // What the original wrote behind a record cut short stands in the same line: it counts, as its
    // user was told that it does. In a text the quotes would have backslashes, so this is none.
    let starts = 1..line.len().saturating_sub(BEGINNING.len());
    let behind = starts.filter(|start| line[*start..].starts_with(BEGINNING));
    for start in behind.take(GLUED_MAX) {
        if let Ok(record) = parse(&line[start..]) {
            let problem = Some(Problem::BeginsCutShort);
            return Reading { record: Some(record), problem };
        }
    }
    let is_cut = is_last && matches!(problem, Problem::NotJson(_) | Problem::NotText);
    let problem = if is_cut { Problem::CutShort } else { problem };
    Reading { record: None, problem: Some(problem) }
}

fn parse(line: &[u8]) -> Result<Record, Problem> {
    let text = std::str::from_utf8(line).map_err(|_| Problem::NotText)?;
    let value: Value =
        serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string()))?;
    let Value::Object(mut fields) = value else { return Err(Problem::NotAnObject) };
    let is_set = match fields.get("action") {
        Some(Value::String(action)) if action == "SET" => true,
        Some(Value::String(action)) if action == "DEL" => false,
        Some(Value::String(action)) => {
            return Err(Problem::Action(action.chars().take(WORD_CHARS_MAX).collect()));
        }
        Some(_) => return Err(Problem::Type("action", "text")),
        None => return Err(Problem::Missing("action")),
    };
    let key = text_of(&mut fields, "key")?.ok_or(Problem::Missing("key"))?;
    let namespace = text_of(&mut fields, "namespace")?.filter(|name| !name.is_empty());
    let place = Place { namespace, key };
    let event = if is_set { set(&mut fields, &place)? } else { Event::Deleted };
    Ok(Record { place, event })
}

fn set(fields: &mut Map<String, Value>, place: &Place) -> Result<Event, Problem> {
    let value = text_of(fields, "value")?.ok_or(Problem::Missing("value"))?;
    let expiry = expiry(fields)?;
    let lost = |problem| Ok(Event::Lost(problem));
    if let Some(Err(error)) = place.namespace.as_deref().map(NamespaceName::parse) {
        return lost(Problem::Namespace(error));
    }
    if let Err(error) = Key::parse(place.key.clone()) {
        return lost(Problem::Key(error));
    }
    if value.len() > VALUE_BYTES_HARD_MAX {
        return lost(Problem::ValueTooLarge(value.len()));
    }
    Ok(Event::Set { value, expiry })
}

/// A text; none where it is absent or null.
fn text_of(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Problem> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::Type(name, "text")),
    }
}

/// When the entry expires: `ttl` seconds after `timestamp`. Zero is "never", as in the original; less
/// is a moment before it was written. The timestamp is looked at only where there is a `ttl`.
fn expiry(fields: &Map<String, Value>) -> Result<Expiry, Problem> {
    let ttl = match fields.get("ttl") {
        None | Some(Value::Null) => return Ok(Expiry::Never),
        Some(Value::Number(number)) => number.as_f64(),
        Some(_) => None,
    };
    let ttl = ttl.ok_or(Problem::Type("ttl", "a number of seconds"))?;
    if ttl == 0.0 {
        return Ok(Expiry::Never);
    }
    let timestamp = match fields.get("timestamp") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(_) => None,
        None => return Err(Problem::Missing("timestamp")),
    };
    let timestamp = timestamp.ok_or(Problem::Type("timestamp", "a number of seconds"))?;
    let millis = ((timestamp + ttl) * 1000.0).round();
    let latest = UnixMillis::MAX.as_millis();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "moments are below 2^48 here, or cut to that"
    )]
    if millis > latest as f64 {
        // Beyond the year 9999 is never.
        Ok(Expiry::Never)
    } else {
        Ok(Expiry::At(UnixMillis::from_millis(millis.max(0.0) as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        let reading = read(line.as_bytes(), false);
        assert_eq!(reading.problem, None, "{line}");
        reading.record.unwrap()
    }

    fn problem(line: &[u8]) -> Problem {
        let reading = read(line, false);
        assert_eq!(reading.record, None, "{}", String::from_utf8_lossy(line));
        reading.problem.unwrap()
    }

    /// A line as the original writes it, with these fields in the place of the usual ones.
    fn line(change: &[(&str, &str)]) -> String {
        let usual = [
            ("timestamp", "1700000000.5"),
            ("action", "\"SET\""),
            ("key", "\"k\""),
            ("value", "\"v\""),
            ("ttl", "null"),
            ("namespace", "null"),
        ];
        let field = |(name, value): &(&str, &str)| {
            let value = change.iter().find(|(n, _)| n == name).map_or(*value, |(_, v)| v);
            (!value.is_empty()).then(|| format!("\"{name}\": {value}"))
        };
        format!("{{{}}}", usual.iter().filter_map(field).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn what_the_original_writes_is_understood() {
        let set = record(&line(&[]));
        assert_eq!(set.place, Place { namespace: None, key: "k".to_owned() });
        let expected = Event::Set { value: "v".to_owned(), expiry: Expiry::Never };
        assert_eq!(set.event, expected);
        let named = record(&line(&[("namespace", "\"a:b\""), ("key", "\"\\u00fc/x\"")]));
        assert_eq!(named.place.internal(), "a:b:ü/x");
        let empty = record(&line(&[("namespace", "\"\""), ("value", "\"\"")]));
        assert_eq!(empty.place.namespace, None);
        let deleted = record(&line(&[("action", "\"DEL\""), ("value", "null")]));
        assert_eq!(deleted.event, Event::Deleted);
    }

    #[test]
    fn a_ttl_becomes_a_moment() {
        let check = |ttl: &str, expected: Expiry| {
            let Event::Set { expiry, .. } = record(&line(&[("ttl", ttl)])).event else {
                panic!("{ttl}")
            };
            assert_eq!(expiry, expected, "{ttl}");
        };
        let at = |millis| Expiry::At(UnixMillis::from_millis(millis));
        check("60", at(1_700_000_060_500));
        check("-60", at(1_699_999_940_500));
        check("-99999999999", at(0));
        check("0", Expiry::Never);
        check("null", Expiry::Never);
        check("250000000000", at(251_700_000_000_500));
        check("1e300", Expiry::Never);
        check("99999999999999999999999", Expiry::Never);
    }

    #[test]
    fn a_timestamp_matters_only_where_something_expires() {
        for timestamp in ["", "null", "\"yesterday\"", "[]"] {
            record(&line(&[("timestamp", timestamp)]));
            let expiring = line(&[("timestamp", timestamp), ("ttl", "5")]);
            let problem = problem(expiring.as_bytes());
            assert!(
                matches!(problem, Problem::Missing("timestamp") | Problem::Type("timestamp", _)),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_line_that_cannot_be_used_says_why() {
        let check = |line: &str, expected: &str| {
            let said = problem(line.as_bytes()).to_string();
            assert!(said.starts_with(expected), "{line}: {said}");
        };
        check("", "it is not JSON");
        check("garbage", "it is not JSON");
        check("{\"action\": \"SET\"", "it is not JSON");
        check("{}{}", "it is not JSON");
        check("null", "it is not a JSON object");
        check("[1, 2]", "it is not a JSON object");
        check("\"text\"", "it is not a JSON object");
        check("12", "it is not a JSON object");
        check("{}", "it has no action");
        check(&line(&[("key", "")]), "it has no key");
        check(&line(&[("key", "7")]), "its key is not text");
        check(&line(&[("value", "")]), "it has no value");
        check(&line(&[("value", "null")]), "it has no value");
        check(&line(&[("value", "{}")]), "its value is not text");
        check(&line(&[("namespace", "7")]), "its namespace is not text");
        check(&line(&[("ttl", "\"60\"")]), "its ttl is not a number");
        check(&line(&[("ttl", "true")]), "its ttl is not a number");
        check(&line(&[("action", "\"CLEAR\"")]), "its action is \"CLEAR\"");
        check(&line(&[("action", "7")]), "its action is not text");
        check(&line(&[("value", "\"\\ud800\"")]), "it is not JSON");
        assert_eq!(problem(b"{\"action\": \"\xff\"}"), Problem::NotText);
        assert_eq!(problem(&[0; 100]).to_string().split(':').next(), Some("it is not JSON"));
        let deep = "[".repeat(100_000);
        check(&deep, "it is not JSON");
    }

    #[test]
    fn what_cannot_be_kept_here_still_replaced_what_was_there() {
        let check = |change: &[(&str, &str)], expected: &str| match record(&line(change)).event {
            Event::Lost(problem) => assert_eq!(problem.to_string(), expected),
            event @ (Event::Set { .. } | Event::Deleted) => panic!("{event:?}"),
        };
        let name = "must be of A-Z a-z 0-9 . _ : - and begin with a letter or digit";
        check(&[("namespace", "\"my app\"")], &format!("its namespace {name}"));
        check(&[("key", "\"\"")], "its key must not be empty");
        let long = format!("\"{}\"", "k".repeat(4097));
        check(&[("key", &long)], "its key must be at most 4096 bytes, this has 4097");
        let large = format!("\"{}\"", "v".repeat(VALUE_BYTES_HARD_MAX + 1));
        check(
            &[("value", &large)],
            "its value has 3145729 bytes, the most a value may have is 3145728",
        );
        // To delete it is no problem.
        assert_eq!(record(&line(&[("action", "\"DEL\""), ("key", "\"\"")])).event, Event::Deleted);
    }

    #[test]
    fn a_record_behind_one_cut_short_counts() {
        let whole = line(&[("key", "\"second\"")]);
        let first = line(&[("key", "\"first\"")]);
        for cut in 1..first.len() {
            let glued = format!("{}{whole}", &first[..cut]);
            let reading = read(glued.as_bytes(), true);
            assert_eq!(reading.problem, Some(Problem::BeginsCutShort), "{glued}");
            assert_eq!(reading.record.unwrap().place.key, "second", "{glued}");
        }
        let trap = line(&[("value", "\"{\\\"timestamp\\\": 1}\"")]);
        assert!(read(&trap.as_bytes()[..trap.len() - 2], false).record.is_none());
    }

    #[test]
    fn a_last_line_that_is_cut_short_is_called_that() {
        let whole = line(&[]);
        assert!(read(whole.as_bytes(), true).record.is_some(), "only its end is missing");
        for cut in 1..whole.len() {
            let reading = read(&whole.as_bytes()[..cut], true);
            assert_eq!(reading, Reading { record: None, problem: Some(Problem::CutShort) });
        }
        assert_eq!(read(b"{\"key\": \"\xc3", true).problem, Some(Problem::CutShort));
    }
}

//! What was written: by a file, by the environment, by flags. The only file that reads the environment.

use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::complaint::{Heap, Source};
use super::value::Raw;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What flags said, in order; of two on one setting the later one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(super) Vec<Flag>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) text: String,
}

impl Flags {
    /// Says that the flag `name` gives the setting `key` the value `text`.
    pub fn set(&mut self, name: &str, key: &str, text: &str) {
        self.0.push(Flag { name: name.into(), key: key.into(), text: text.into() });
    }
}

/// The environment of the process. Text that is not UTF-8 has its odd bytes replaced, so that a
/// complaint can name it.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, text)| {
        (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned())
    })
}

/// A setting as written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) source: Source,
    pub(super) key: String,
    pub(super) raw: Raw,
}

/// Everything in the file at `path`, in the order of keys; what cannot be read becomes a complaint.
pub(super) fn file(path: &Path, complaints: &mut Heap) -> Vec<Written> {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => parse(&name, &text, complaints),
        Err(text) => {
            complaints.add(&Source::File(name), text);
            Vec::new()
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// As [`file()`], for a text; faults of the syntax do not hide the settings around them.
pub(super) fn parse(name: &str, text: &str, complaints: &mut Heap) -> Vec<Written> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = line_of(text, &error.span().unwrap_or_default());
        let source = Source::Line { file: name.into(), line, key: None };
        complaints.add(&source, error.message());
    }
    let mut written = Vec::new();
    collect(name, text, "", table.get_ref(), &mut written);
    written
}

fn collect(name: &str, text: &str, parent: &str, table: &DeTable<'_>, written: &mut Vec<Written>) {
    for (key, value) in table {
        let dot = if parent.is_empty() { "" } else { "." };
        let path = format!("{parent}{dot}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            collect(name, text, &path, inner, written);
            continue;
        }
        let line = line_of(text, &key.span());
        let source = Source::Line { file: name.into(), line, key: Some(path.clone()) };
        written.push(Written { source, key: path, raw: raw(value.get_ref()) });
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Boolean(truth) => Raw::Boolean(*truth),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Text(number.as_str().to_owned()),
        },
        DeValue::Array(items) => match items.iter().map(|item| item.get_ref().as_str()).collect() {
            Some::<Vec<_>>(texts) if !texts.is_empty() => Raw::Text(texts.join(",")),
            Some(_) | None => Raw::Other(value.type_str()),
        },
        // Templates write whole numbers so.
        DeValue::Float(number) => match number.as_str().strip_suffix(".0").map(str::parse) {
            Some(Ok(whole)) => Raw::Integer(whole),
            Some(Err(_)) | None => Raw::Text(number.as_str().to_owned()),
        },
        DeValue::Datetime(_) | DeValue::Table(_) => Raw::Other(value.type_str()),
    }
}

/// The line that a range of a text begins on, the first being 1.
pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.bytes().filter(|byte| *byte == b'\n').count() + 1
}

//! One value: from what was written to what it means, and back to what would be written.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Durability, Eviction, Ttl};
use crate::telemetry::LogFormat;

/// A value as written. Variables and flags are always text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// Something no setting takes, by the name TOML has for it.
    Other(&'static str),
}

/// What stands for a limit that is not there.
const UNLIMITED: &str = "unlimited";

type Parsed<T> = Result<T, String>;

impl Raw {
    /// The value in words, for a complaint about it.
    fn shown(&self) -> String {
        match self {
            Raw::Text(text) => format!("{text:?}"),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(truth) => truth.to_string(),
            Raw::Other(kind) => format!("this {kind}"),
        }
    }

    fn refused<T>(&self, wanted: impl Display) -> Parsed<T> {
        Err(format!("must be {wanted}, not {}", self.shown()))
    }

    pub(super) fn text(&self) -> Parsed<&str> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::Integer(_) | Raw::Boolean(_) | Raw::Other(_) => self.refused("a text"),
        }
    }

    /// A number from 0 to 1, as a text.
    pub(super) fn ratio(&self) -> Parsed<f64> {
        let text = match self {
            Raw::Integer(number) => number.to_string(),
            Raw::Text(text) => text.clone(),
            Raw::Boolean(_) | Raw::Other(_) => String::new(),
        };
        let parsed = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        parsed.map_or_else(|| self.refused("a number from 0 to 1"), Ok)
    }

    /// A path, or none.
    pub(super) fn path(&self) -> Parsed<Option<PathBuf>> {
        let text = self.text()?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    pub(super) fn truth(&self) -> Parsed<bool> {
        match self {
            Raw::Boolean(truth) => Ok(*truth),
            Raw::Text(text) if text == "true" || text == "1" => Ok(true),
            Raw::Text(text) if text == "false" || text == "0" => Ok(false),
            Raw::Text(_) | Raw::Integer(_) | Raw::Other(_) => self.refused("true or false"),
        }
    }

    /// A whole number of `bounds`, both included.
    pub(super) fn count(&self, bounds: (u64, u64)) -> Parsed<u64> {
        let number = match self {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) => text.trim().replace('_', "").parse().ok(),
            Raw::Boolean(_) | Raw::Other(_) => None,
        };
        self.within(number, bounds, |number| number.to_string())
    }

    /// As [`Raw::count`], where the type of the setting is the upper bound or a smaller one.
    pub(super) fn number<T: TryFrom<u64>>(&self, bounds: (u64, u64)) -> Parsed<T> {
        let number = self.count(bounds)?;
        T::try_from(number).or_else(|_| self.refused("a smaller number"))
    }

    /// Bytes: a plain number, or a number with a unit.
    pub(super) fn bytes(&self, bounds: (u64, u64)) -> Parsed<u64> {
        let bytes = match self {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) => parse_bytes(text),
            Raw::Boolean(_) | Raw::Other(_) => None,
        };
        let Some(bytes) = bytes else { return self.refused(BYTES_WANTED) };
        self.within(Some(bytes), bounds, bytes_words)
    }

    /// A length of time with its unit.
    pub(super) fn length(&self, bounds: (Duration, Duration)) -> Parsed<Duration> {
        let length = match self {
            Raw::Text(text) => humantime::parse_duration(text.trim()).ok(),
            Raw::Integer(_) | Raw::Boolean(_) | Raw::Other(_) => None,
        };
        let Some(length) = length else { return self.refused(LENGTH_WANTED) };
        self.within(Some(length), bounds, length_words)
    }

    pub(super) fn address(&self) -> Parsed<SocketAddr> {
        let parsed = self.text()?.trim().parse();
        parsed.or_else(|_| self.refused("an IP address and a port such as \"127.0.0.1:8000\""))
    }

    /// Texts with commas between them, each of which `check` lets pass; or none.
    ///
    /// Errors: what `check` says of the first that it does not let pass.
    pub(super) fn texts(
        &self,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Parsed<Vec<String>> {
        let texts = self.text()?.split(',').map(str::trim).filter(|text| !text.is_empty());
        let checked = |text: &str| match check(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(wanted) => Raw::Text(text.to_owned()).refused(wanted),
        };
        texts.map(checked).collect()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Parsed<T> {
        let text =
            if let Raw::Text(text) = self { text.to_ascii_lowercase() } else { String::new() };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                self.refused(words.join(" or "))
            }
        }
    }

    /// What `parse` makes of it, or `None` if there is to be no limit.
    pub(super) fn or_unlimited<T>(
        &self,
        parse: impl FnOnce(&Raw) -> Parsed<T>,
    ) -> Parsed<Option<T>> {
        match self {
            Raw::Text(text) if text == UNLIMITED => Ok(None),
            Raw::Text(_) | Raw::Integer(_) | Raw::Boolean(_) | Raw::Other(_) => {
                let wanted = |text| format!("{text}; or \"{UNLIMITED}\"");
                parse(self).map(Some).map_err(wanted)
            }
        }
    }

    fn within<T: PartialOrd + Copy>(
        &self,
        value: Option<T>,
        (least, most): (T, T),
        words: impl Fn(T) -> String,
    ) -> Parsed<T> {
        match value {
            Some(value) if value >= least && value <= most => Ok(value),
            Some(_) | None => self.refused(format!("{} to {}", words(least), words(most))),
        }
    }
}

const BYTES_WANTED: &str = "a number of bytes or a text such as \"64 MiB\"";
const LENGTH_WANTED: &str = "a length of time with its unit such as \"30s\" or \"1h 30m\"";

/// Units of bytes. The first four are written, all are read.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes, with one of the units or without; `None` if it is neither.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim();
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.checked_mul(factor)
}

/// Bytes as a person would write them: in the largest binary unit that divides them.
pub(crate) fn bytes_words(bytes: u64) -> String {
    let unit =
        UNITS[..4].iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{} {name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// A length of time as [`humantime`] writes and reads it.
fn length_words(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}

pub(super) const DURABILITIES: [(&str, Durability); 3] =
    [("sync", Durability::Sync), ("async", Durability::Async), ("memory", Durability::Memory)];
pub(super) const EVICTIONS: [(&str, Eviction); 2] =
    [("lru", Eviction::Lru), ("none", Eviction::None)];
pub(super) const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// A time to live. Errors: it is zero, or would end after the year 9999.
pub(super) fn ttl(raw: &Raw) -> Parsed<Ttl> {
    let length = raw.length((Duration::ZERO, Duration::MAX))?;
    let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Ttl::from_millis(millis).map_err(|error| error.to_string())
}

/// A count above zero.
pub(super) fn above_zero(raw: &Raw) -> Parsed<NonZeroU64> {
    let count = raw.count((1, u64::MAX))?;
    NonZeroU64::new(count).ok_or_else(|| "must be at least 1".to_owned())
}

/// An origin as browsers send it, or "*".
pub(super) fn is_origin(text: &str) -> Result<(), &'static str> {
    let place = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_place =
        |place: &str| !place.is_empty() && !place.contains(['/', '?', '#', '@', '*', ' ']);
    match text == "*" || place.is_some_and(is_place) {
        true => Ok(()),
        false => Err("an origin such as \"https://app.example\", without a path, or \"*\""),
    }
}

/// A name of this server, or "*".
pub(super) fn is_host(text: &str) -> Result<(), &'static str> {
    match text == "*" || !text.contains(['/', ':', '*', '@', ' ']) {
        true => Ok(()),
        false => Err("a name such as \"kv.example\", without a port, or \"*\""),
    }
}

/// Values as TOML.
pub(super) mod shown {
    use std::fmt::Display;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use crate::model::Ttl;

    pub(in crate::config) fn text(text: impl Display) -> String {
        toml::Value::String(text.to_string()).to_string()
    }

    pub(in crate::config) fn path(path: &Option<PathBuf>) -> String {
        text(path.as_deref().unwrap_or(Path::new("")).display())
    }

    pub(in crate::config) fn bytes(bytes: u64) -> String {
        let words = super::bytes_words(bytes);
        if words.contains(' ') { text(words) } else { words }
    }

    pub(in crate::config) fn length(length: Duration) -> String {
        text(super::length_words(length))
    }

    pub(in crate::config) fn ttl(ttl: Ttl) -> String {
        length(Duration::from_millis(ttl.as_millis()))
    }

    pub(in crate::config) fn or_unlimited<T>(
        value: Option<T>,
        show: impl Fn(T) -> String,
    ) -> String {
        value.map_or_else(|| text(super::UNLIMITED), show)
    }

    pub(in crate::config) fn word<T: PartialEq>(words: &[(&str, T)], value: &T) -> String {
        let word = words.iter().find(|(_, meaning)| meaning == value);
        text(word.map_or("", |(word, _)| word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_and_without_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_bytes(text), expected, "{text:?}");
        };
        check("0", Some(0));
        check("1_000", Some(1000));
        check("64MiB", Some(64 << 20));
        check(" 64 mib ", Some(64 << 20));
        check("2 GB", Some(2_000_000_000));
        check("18446744073709551615", Some(u64::MAX));
        for bad in ["", "MiB", "-1", "1.5 GiB", "1 XB", "20000000 TiB", "18446744073709551616"] {
            check(bad, None);
        }
    }

    #[test]
    fn bytes_are_written_so_that_they_are_read_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 3 << 20, 64 << 30, u64::MAX, (1 << 40) + 1] {
            assert_eq!(parse_bytes(&bytes_words(bytes)), Some(bytes));
        }
        assert_eq!(bytes_words(64 << 20), "64 MiB");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_what_is_wanted() {
        let check = |outcome: Result<(), String>, expected: &str| {
            assert_eq!(outcome, Err(expected.to_owned()));
        };
        let text = Raw::Text("soon".into());
        check(
            text.length((Duration::ZERO, Duration::from_secs(9))).map(drop),
            "must be a length of time with its unit such as \"30s\" or \"1h 30m\", not \"soon\"",
        );
        check(
            Raw::Text("10s".into()).length((Duration::ZERO, Duration::from_secs(9))).map(drop),
            "must be 0s to 9s, not \"10s\"",
        );
        check(Raw::Integer(-1).count((1, 5)).map(drop), "must be 1 to 5, not -1");
        check(Raw::Integer(7).truth().map(drop), "must be true or false, not 7");
        check(text.word(&EVICTIONS).map(drop), "must be \"lru\" or \"none\", not \"soon\"");
        check(Raw::Other("array").text().map(drop), "must be a text, not this array");
        check(ttl(&Raw::Text("0s".into())).map(drop), "must be above zero");
        let listed = |text: &str, check: fn(&str) -> _| Raw::Text(text.into()).texts(check);
        check(
            listed("https://a,app.example", is_origin).map(drop),
            "must be an origin such as \"https://app.example\", without a path, or \"*\", not \
             \"app.example\"",
        );
        check(
            listed("a:80", is_host).map(drop),
            "must be a name such as \"kv.example\", without a port, or \"*\", not \"a:80\"",
        );
        assert_eq!(listed(" https://a , *", is_origin), Ok(vec!["https://a".into(), "*".into()]));
        assert_eq!(listed("", is_host), Ok(Vec::new()));
    }
}

//! The body of `POST /set`, read as pydantic reads it.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::refusals::{Refused, detailed};

/// What `POST /set` writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) value: Bytes,
    /// In seconds; none, or zero, means no expiry of its own.
    pub(super) ttl: i64,
    pub(super) namespace: Option<String>,
}

impl Write {
    /// Reads a body, which may be JSON or was said to be something else.
    ///
    /// Errors: everything wrong with it.
    pub(super) fn read(body: &[u8], is_json: bool) -> Result<Write, Refused> {
        let object = object(body, is_json).map_err(|(code, detail)| {
            let response = detailed(code, detail);
            Box::new(response)
        })?;
        let mut items = Vec::new();
        let write = Write::of(&object, &mut items);
        match items.is_empty() {
            true => Ok(write),
            false => Err(Box::new(detailed(StatusCode::UNPROCESSABLE_ENTITY, json!(items)))),
        }
    }

    fn of(object: &Map<String, Value>, items: &mut Vec<Value>) -> Write {
        let key = required(object, "key", items);
        let text = required(object, "value", items);
        let ttl = match object.get("ttl") {
            None | Some(Value::Null) => 0,
            Some(value) => whole_seconds(value).unwrap_or_else(|(kind, message)| {
                items.push(item(kind, "ttl", message, value));
                0
            }),
        };
        let namespace = optional(object, "namespace", items);
        let value = match optional(object, "encoding", items).as_deref() {
            None | Some("" | "utf-8") => Bytes::from(text),
            Some("base64") => BASE64_STANDARD.decode(&text).map(Bytes::from).unwrap_or_else(|_| {
                items.push(item("base64", "value", "Input should be base64", &json!(text)));
                Bytes::new()
            }),
            Some(other) => {
                let message = "Input should be 'utf-8' or 'base64'";
                items.push(item("literal_error", "encoding", message, &json!(other)));
                Bytes::new()
            }
        };
        Write { key, value, ttl, namespace }
    }
}

fn item(kind: &str, field: &str, message: &str, input: &Value) -> Value {
    json!({ "type": kind, "loc": ["body", field], "msg": message, "input": input })
}

/// Largest body, or member of one, that is looked at beyond being a text: a tree takes many times its
/// bytes. Nobody writes a number, or a mistake, of that length.
const TREE_BYTES_MAX: usize = 64 << 10;

/// The members of an object that mean something. Others are skipped without being kept.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(Members(Map::new()))
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Members, A::Error> {
        const KNOWN: [&str; 5] = ["key", "value", "ttl", "namespace", "encoding"];
        while let Some(name) = map.next_key::<String>()? {
            if !KNOWN.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<Box<RawValue>>()?;
            let is_text = raw.get().starts_with('"');
            let kept = if is_text || raw.get().len() <= TREE_BYTES_MAX { raw.get() } else { "[]" };
            let value = serde_json::from_str(kept).map_err(A::Error::custom)?;
            // Of two with one name the last counts.
            self.0.insert(name, value);
        }
        Ok(self)
    }
}

/// The object that a body is. Errors: the answer if it is none.
fn object(body: &[u8], is_json: bool) -> Result<Map<String, Value>, (StatusCode, Value)> {
    const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    let whole = |kind: &str, message: &str, input: Value| {
        let item = json!({ "type": kind, "loc": ["body"], "msg": message, "input": input });
        Err((INVALID, json!([item])))
    };
    if body.is_empty() {
        return whole("missing", "Field required", Value::Null);
    }
    let parsed = match is_json {
        false => Value::String(String::from_utf8_lossy(body).into_owned()),
        true => {
            let Ok(text) = std::str::from_utf8(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
            else {
                let detail = json!("There was an error parsing the body");
                return Err((StatusCode::BAD_REQUEST, detail));
            };
            parse(text).map_err(|error| {
                let (offset, words) = fault(text, &error);
                let message = "JSON decode error";
                let place = json!(["body", offset]);
                let item = json!({
                    "type": "json_invalid", "loc": place, "msg": message, "input": {},
                    "ctx": { "error": words },
                });
                (INVALID, json!([item]))
            })?
        }
    };
    match parsed {
        Value::Object(object) => Ok(object),
        Value::Null => whole("missing", "Field required", Value::Null),
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let message = "Input should be a valid dictionary or object to extract fields from";
            whole("model_attributes_type", message, other)
        }
    }
}

/// A small text as it is, of a large one what means something.
fn parse(text: &str) -> Result<Value, serde_json::Error> {
    if text.len() <= TREE_BYTES_MAX {
        return serde_json::from_str(text);
    }
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str::<Members>(text).map(|members| Value::Object(members.0)),
        false => serde_json::from_str::<IgnoredAny>(text).map(|_| Value::Array(Vec::new())),
    }
}

fn required(object: &Map<String, Value>, field: &str, items: &mut Vec<Value>) -> String {
    match object.get(field) {
        Some(Value::String(text)) => return text.clone(),
        Some(other) => {
            items.push(item("string_type", field, "Input should be a valid string", other));
        }
        None => items.push(item("missing", field, "Field required", &json!(object))),
    }
    String::new()
}

fn optional(object: &Map<String, Value>, field: &str, items: &mut Vec<Value>) -> Option<String> {
    match object.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            items.push(item("string_type", field, "Input should be a valid string", other));
            None
        }
    }
}

/// A time to live. Errors: the kind of the fault and what is said of it.
fn whole_seconds(value: &Value) -> Result<i64, (&'static str, &'static str)> {
    const SIZE: (&str, &str) =
        ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size");
    let seconds = match value {
        Value::Bool(truth) => i64::from(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(seconds), _, _) => seconds,
            (None, Some(_), _) => i64::MAX,
            (None, None, Some(seconds)) if seconds.fract() != 0.0 => {
                let message =
                    "Input should be a valid integer, got a number with a fractional part";
                return Err(("int_from_float", message));
            }
            // Of a whole number the digits before the point are all there is.
            (None, None, Some(seconds)) => format!("{seconds:.0}").parse().map_err(|_| SIZE)?,
            (None, None, None) => return Err(SIZE),
        },
        Value::String(digits) => {
            let bare = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            if bare.is_empty() || !bare.bytes().all(|digit| digit.is_ascii_digit()) {
                let message =
                    "Input should be a valid integer, unable to parse string as an integer";
                return Err(("int_parsing", message));
            }
            digits.parse().map_err(|_| SIZE)?
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(("int_type", "Input should be a valid integer"));
        }
    };
    match seconds {
        0.. => Ok(seconds),
        _ => Err(("greater_than_equal", "Input should be greater than or equal to 0")),
    }
}

/// Where Python's parser would have stopped, in characters, and what it would have said.
fn fault(text: &str, error: &serde_json::Error) -> (usize, &'static str) {
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let said = error.to_string();
    if error.is_eof() {
        let words = if said.contains("string") { "Unterminated string" } else { "Expecting value" };
        return (text.chars().count(), words);
    }
    let at = (line_start + error.column()).saturating_sub(1).min(text.len());
    let before = text.as_bytes().get(..at).unwrap_or_default();
    // A word that is none is told from its beginning.
    let word = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let offset = String::from_utf8_lossy(&before[..at - word]).chars().count();
    let words = match said.as_str() {
        said if said.starts_with("trailing characters") => "Extra data",
        said if said.starts_with("expected `:`") => "Expecting ':' delimiter",
        said if said.starts_with("expected `,`") => "Expecting ',' delimiter",
        said if said.starts_with("key must be") || said.starts_with("trailing comma") => {
            "Expecting property name enclosed in double quotes"
        }
        said if said.starts_with("control character") => "Invalid control character at",
        said if said.starts_with("invalid escape") => "Invalid \\escape",
        _ => "Expecting value",
    };
    (offset, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(json: &str) -> Result<i64, &'static str> {
        whole_seconds(&serde_json::from_str(json).unwrap()).map_err(|(kind, _)| kind)
    }

    #[test]
    fn a_time_to_live_is_a_whole_number_in_any_of_its_forms() {
        for (json, expected) in [
            ("60", Ok(60)),
            ("60.0", Ok(60)),
            ("\"60\"", Ok(60)),
            ("\"+60\"", Ok(60)),
            ("true", Ok(1)),
            ("false", Ok(0)),
            ("1000000000000000000", Ok(1_000_000_000_000_000_000)),
            ("18446744073709551615", Ok(i64::MAX)),
            ("1.5", Err("int_from_float")),
            ("1e300", Err("int_parsing_size")),
            ("\"99999999999999999999\"", Err("int_parsing_size")),
            ("\" 60 \"", Err("int_parsing")),
            ("\"\"", Err("int_parsing")),
            ("[1]", Err("int_type")),
            ("-5", Err("greater_than_equal")),
            ("\"-5\"", Err("greater_than_equal")),
        ] {
            assert_eq!(ttl(json), expected, "{json}");
        }
    }

    #[test]
    fn a_fault_of_the_text_is_told_where_python_told_it() {
        for (text, expected) in [
            ("{\"key\": \"a\", \"value\": ", (22, "Expecting value")),
            ("not json", (0, "Expecting value")),
            ("{\"key\":\"a\",\"value\":\"b\"} x", (24, "Extra data")),
            ("{\"кл\": x}", (7, "Expecting value")),
            ("{\n\"a\" 1}", (6, "Expecting ':' delimiter")),
            ("{\"a\": 1 \"b\"}", (8, "Expecting ',' delimiter")),
            ("{1: 2}", (1, "Expecting property name enclosed in double quotes")),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(fault(text, &error), expected, "{text}: {error}");
        }
    }

    #[test]
    fn a_large_body_is_read_as_a_small_one_is() {
        let value = "v".repeat(TREE_BYTES_MAX);
        let text = format!(
            "{{\"x\":[{}0],\"key\":\"a\",\"key\":\"k\",\"value\":\"{value}\",\"ttl\":7}}",
            "0,".repeat(TREE_BYTES_MAX)
        );
        let write = Write::read(text.as_bytes(), true).ok().unwrap();
        assert_eq!((write.key.as_str(), write.ttl, write.value.len()), ("k", 7, value.len()));
        for bad in [
            format!("{{\"key\":[{}0],\"value\":\"\"}}", "0,".repeat(TREE_BYTES_MAX)),
            format!("[{}0]", "0,".repeat(TREE_BYTES_MAX)),
            format!("{{\"key\":\"k\",\"value\":\"{value}\"}} x"),
        ] {
            assert!(Write::read(bad.as_bytes(), true).is_err());
        }
    }

    #[test]
    fn a_value_may_be_bytes() {
        let read = |json: &str| Write::read(json.as_bytes(), true).ok().map(|write| write.value);
        assert_eq!(read(r#"{"key":"k","value":"/w==","encoding":"base64"}"#).unwrap(), b"\xff"[..]);
        assert_eq!(read(r#"{"key":"k","value":"%","encoding":"base64"}"#), None);
        assert_eq!(read(r#"{"key":"k","value":"x","encoding":"hex"}"#), None);
        assert_eq!(read("\u{feff}{\"key\":\"k\",\"value\":\"x\"}").unwrap(), "x");
    }
}

//! Messages as JSON and back.

use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::{Deserializer, Map, Value};
use tonic::Status;

use crate::service::Fault;

/// 64-bit numbers as texts, names in lowerCamelCase, and fields without presence always there.
const OUT: SerializeOptions = SerializeOptions::new().skip_default_fields(false);
/// Largest body whose mistakes are all told: looking for them takes many times its bytes.
const EXPLAINED_BYTES_MAX: usize = 256 << 10;
/// Fields that do not exist are refused.
const IN: DeserializeOptions = DeserializeOptions::new();

/// Writes a message.
///
/// Errors: it holds a message of a type that is not known.
pub(super) fn write(
    message: &DynamicMessage,
    buffer: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    message.serialize_with_options(&mut serde_json::Serializer::new(buffer), &OUT)
}

/// What a call ends with whose answer cannot be written.
pub(super) fn unwritable(_: serde_json::Error) -> Status {
    Status::internal("an answer cannot be written")
}

/// Reads a message; of no bytes at all, the empty one.
///
/// Errors: everything wrong with it.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    bytes: &[u8],
) -> Result<DynamicMessage, Vec<Fault>> {
    if bytes.is_empty() {
        return Ok(DynamicMessage::new(descriptor.clone()));
    }
    let mut json = Deserializer::from_slice(bytes);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut json, &IN);
    match message.and_then(|message| json.end().map(|()| message)) {
        Ok(message) => Ok(message),
        Err(error) => Err(explain(descriptor, bytes, &error)),
    }
}

/// A message of which only one field is set.
///
/// Errors: what is wrong with its value.
pub(super) fn read_alone(
    descriptor: &MessageDescriptor,
    field: &str,
    value: Value,
) -> Result<DynamicMessage, String> {
    let alone = Value::Object(Map::from_iter([(field.to_owned(), value)]));
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), alone, &IN);
    message.map_err(|error| error.to_string())
}

/// Reading stops at the first mistake. Who has made one shall learn of all of them.
fn explain(descriptor: &MessageDescriptor, bytes: &[u8], error: &serde_json::Error) -> Vec<Fault> {
    let whole = |text: String| vec![Fault { field: String::new(), text }];
    if bytes.len() > EXPLAINED_BYTES_MAX {
        return whole(error.to_string());
    }
    let Ok(value) = serde_json::from_slice(bytes) else {
        return whole(format!("the body is not JSON: {error}"));
    };
    let mut faults = Vec::new();
    look(descriptor, &value, "", &mut faults);
    if faults.is_empty() { whole(error.to_string()) } else { faults }
}

/// Notes what is wrong with `value` as a message at `path`.
fn look(descriptor: &MessageDescriptor, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let known = faults.len();
    if let Value::Object(members) = value
        && !descriptor.full_name().starts_with("google.protobuf.")
    {
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let field = descriptor.get_field_by_json_name(name);
            match field.or_else(|| descriptor.get_field_by_name(name)) {
                Some(field) => look_at_field(descriptor, &field, name, member, &path, faults),
                None => faults.push(Fault { field: path, text: "there is no such field".into() }),
            }
        }
    }
    if faults.len() == known
        && let Err(error) = DynamicMessage::deserialize_with_options(descriptor.clone(), value, &IN)
    {
        faults.push(Fault { field: path.to_owned(), text: error.to_string() });
    }
}

fn look_at_field(
    descriptor: &MessageDescriptor,
    field: &FieldDescriptor,
    name: &str,
    value: &Value,
    path: &str,
    faults: &mut Vec<Fault>,
) {
    match (field.kind(), value) {
        (_, Value::Null) => {}
        (Kind::Message(item), Value::Array(values)) if field.is_list() => {
            for (index, value) in values.iter().enumerate() {
                look(&item, value, &format!("{path}[{index}]"), faults);
            }
        }
        (Kind::Message(inside), Value::Object(_)) if !field.is_list() && !field.is_map() => {
            look(&inside, value, path, faults);
        }
        (_, Value::Array(values)) if field.is_list() => {
            for (index, value) in values.iter().enumerate() {
                let alone = Value::Array(vec![value.clone()]);
                look_alone(descriptor, name, alone, &format!("{path}[{index}]"), faults);
            }
        }
        (_, value) => look_alone(descriptor, name, value.clone(), path, faults),
    }
}

/// Notes what is wrong with one field, as if it were the only one.
fn look_alone(
    descriptor: &MessageDescriptor,
    name: &str,
    value: Value,
    path: &str,
    faults: &mut Vec<Fault>,
) {
    let read = read_alone(descriptor, name, value);
    faults.extend(read.err().map(|text| Fault { field: path.to_owned(), text }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::schema::schema;

    fn faults(message: &str, json: &str) -> Vec<(String, String)> {
        let pool = &schema().unwrap().pool;
        let descriptor = pool.get_message_by_name(message).unwrap();
        let faults = read(&descriptor, json.as_bytes()).err().unwrap_or_default();
        faults.into_iter().map(|fault| (fault.field, fault.text)).collect()
    }

    #[test]
    fn everything_wrong_with_a_body_is_told_with_its_place() {
        let found = faults(
            "pykv.v1.SetRequest",
            r#"{"key": 7, "value": "%", "tll": "60s", "expiration": {"ttl": "x", "nevr": true}}"#,
        );
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["key", "value", "tll", "expiration.ttl", "expiration.nevr"]);
        assert!(found.iter().all(|(_, text)| !text.is_empty() && !text.contains("line")));
        let found = faults(
            "pykv.v1.BatchWriteRequest",
            r#"{"operations": [{"set": {"key": "a"}}, {"set": {"ky": "a"}, "x": 1}, 7]}"#,
        );
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["operations[1].set.ky", "operations[1].x", "operations[2]"]);
        let found = faults("pykv.v1.BatchGetRequest", r#"{"keys": ["a", 7, "b", {}]}"#);
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["keys[1]", "keys[3]"]);
    }

    #[test]
    fn what_is_no_message_at_all_is_one_fault() {
        for (json, word) in [
            ("{", "not JSON"),
            ("[]", ""),
            ("{} {}", "trailing"),
            ("{\"key\": \"\u{0}\"}", "not JSON"),
            ("null", ""),
            ("{\"condition\": {\"ifAbsent\": true, \"ifPresent\": true}}", ""),
        ] {
            let found = faults("pykv.v1.SetRequest", json);
            assert_eq!(found.len(), 1, "{json}: {found:?}");
            assert!(found[0].1.contains(word), "{json}: {found:?}");
        }
    }

    #[test]
    fn of_a_large_body_the_first_mistake_is_told() {
        let json = format!("{{\"key\":7,\"tll\":1{}}}", " ".repeat(EXPLAINED_BYTES_MAX));
        let found = faults("pykv.v1.SetRequest", &json);
        assert_eq!(found.len(), 1);
        assert!(found[0].0.is_empty() && !found[0].1.is_empty(), "{found:?}");
    }

    #[test]
    fn both_spellings_are_read_and_nothing_else_is() {
        for json in [r#"{"returnPrevious": true}"#, r#"{"return_previous": true}"#, "{}", ""] {
            assert_eq!(faults("pykv.v1.SetRequest", json), [], "{json}");
        }
    }
}

//! What a body might be: so that a page that lets one try a method offers what would be accepted.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::operations::is_required;
use super::schemas::example;
use crate::gateway::schema::Schema;

/// How deep messages are looked into; deeper than any of ours goes.
const DEPTH_MAX: usize = 4;

/// A message of these fields. Shape: what must be given and what has an example, of each oneof the
/// first member that has; never a namespace, which a path has named.
pub(super) fn of_fields(schema: &Schema, fields: &[FieldDescriptor]) -> Value {
    object(schema, fields, DEPTH_MAX).unwrap_or_else(|| json!({}))
}

/// A message.
pub(super) fn of_message(schema: &Schema, message: &MessageDescriptor) -> Value {
    of_fields(schema, &message.fields().collect::<Vec<_>>())
}

fn object(schema: &Schema, fields: &[FieldDescriptor], depth: usize) -> Option<Value> {
    let mut members = Map::new();
    let mut chosen = Vec::new();
    for field in fields.iter().filter(|field| field.name() != "namespace" || is_message(field)) {
        let oneof = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1);
        if oneof.as_ref().is_some_and(|oneof| chosen.contains(oneof)) {
            continue;
        }
        let Some(value) = value(schema, field, depth) else { continue };
        chosen.extend(oneof);
        let value = if field.is_list() { json!([value]) } else { value };
        members.insert(field.json_name().to_owned(), value);
    }
    (!members.is_empty()).then_some(Value::Object(members))
}

fn is_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
}

fn value(schema: &Schema, field: &FieldDescriptor, depth: usize) -> Option<Value> {
    let kind = field.kind();
    let Some(inside) = kind.as_message() else {
        let required = || is_required(schema, field).then(|| json!("example"));
        return example(field).map(Value::from).or_else(required);
    };
    if inside.full_name() == "google.protobuf.Duration" {
        return (field.name() == "ttl").then(|| json!("3600s"));
    }
    if field.is_map() || depth == 0 {
        return None;
    }
    object(schema, &inside.fields().collect::<Vec<_>>(), depth - 1)
}

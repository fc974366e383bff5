//! Messages as JSON Schema, by the rules of ProtoJSON.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::comment;

/// The schemas that were referred to, by name.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    known: BTreeMap<String, Value>,
}

impl Schemas {
    pub(super) fn into_json(self) -> Map<String, Value> {
        self.known.into_iter().collect()
    }

    /// A reference to the schema of a message, or the schema itself where JSON has a form of its own.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(schema) = well_known(message.full_name()) {
            return schema;
        }
        let name = name_of(message.full_name());
        if !self.known.contains_key(&name) {
            // Before its fields are looked at: it may contain itself.
            self.known.insert(name.clone(), Value::Null);
            let fields: Vec<_> = message.fields().collect();
            let mut schema = self.object(&fields);
            let text = comment(&message.parent_file(), message.path()).text;
            if !text.is_empty() {
                schema["description"] = json!(text);
            }
            self.known.insert(name.clone(), schema);
        }
        reference(&name)
    }

    /// An object with these fields.
    pub(super) fn object(&mut self, fields: &[FieldDescriptor]) -> Value {
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.json_name().to_owned(), self.field(field))).collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    /// The schema of a field, with what is said about it.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.bare(field);
        let mut text = comment(&field.parent_file(), field.path()).text;
        if let Some(oneof) = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1) {
            let about = comment(&oneof.parent_message().parent_file(), oneof.path()).text;
            text = format!("{text}\n\nOne of `{}`: {about}", oneof.name());
        }
        if !text.is_empty() {
            schema["description"] = json!(text);
        }
        schema
    }

    /// The schema of a field alone.
    pub(super) fn bare(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let kind = field.kind();
            let entry = kind.as_message().map(MessageDescriptor::map_entry_value_field);
            let value = entry.map_or(json!({}), |value| self.single(&value));
            return json!({ "type": "object", "additionalProperties": value });
        }
        let single = self.single(field);
        if field.is_list() { json!({ "type": "array", "items": single }) } else { single }
    }

    /// The schema of one value of a field.
    pub(super) fn single(&mut self, field: &FieldDescriptor) -> Value {
        let number = |format: &str| json!({ "type": "integer", "format": format });
        let large = |format: &str| json!({ "type": ["string", "integer"], "format": format });
        let mut schema = match field.kind() {
            Kind::Message(message) => self.message(&message),
            Kind::Enum(named) => self.named(&named),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number("int32"),
            Kind::Uint32 | Kind::Fixed32 => number("uint32"),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => large("int64"),
            Kind::Uint64 | Kind::Fixed64 => large("uint64"),
        };
        if let Some(example) = example(field) {
            schema["examples"] = json!([example]);
        }
        schema
    }

    fn named(&mut self, named: &EnumDescriptor) -> Value {
        let name = name_of(named.full_name());
        let file = named.parent_file();
        let values: Vec<_> = named.values().map(|value| value.name().to_owned()).collect();
        let said = named.values().map(|value| {
            let text = comment(&file, value.path()).text;
            format!("- `{}`: {}", value.name(), text.replace("\n\n", " "))
        });
        let said = said.collect::<Vec<_>>().join("\n");
        let text = format!("{}\n\n{said}", comment(&file, named.path()).text);
        let schema = json!({ "type": "string", "enum": values, "description": text });
        self.known.entry(name.clone()).or_insert(schema);
        reference(&name)
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The name of a schema: that of the type, without its package where it is ours.
fn name_of(full: &str) -> String {
    full.strip_prefix("pykv.v1.").unwrap_or(full).to_owned()
}

/// The forms that JSON has for types everybody knows.
fn well_known(full: &str) -> Option<Value> {
    let text = |format: &str, example: &str| json!({ "type": "string", format: example });
    match full {
        "google.protobuf.Timestamp" => Some(json!({ "type": "string", "format": "date-time" })),
        "google.protobuf.Duration" => Some(json!({
            "type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$", "examples": ["60s"],
        })),
        "google.protobuf.FieldMask" => Some(text("description", "Paths with commas between them.")),
        "google.protobuf.Any" => Some(json!({
            "type": "object", "properties": { "@type": { "type": "string" } },
            "required": ["@type"],
        })),
        _ => None,
    }
}

/// What a field might hold.
pub(super) fn example(field: &FieldDescriptor) -> Option<&'static str> {
    match (field.name(), field.kind()) {
        ("name", Kind::String) if field.parent_message().name() == "Namespace" => Some("acme"),
        ("namespace", Kind::String) => Some("default"),
        ("key" | "keys", Kind::String) => Some("user:123"),
        ("prefix" | "prefixes", Kind::String) => Some("user:"),
        ("value", Kind::Bytes) => Some("aGVsbG8="),
        _ => None,
    }
}

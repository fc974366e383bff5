//! Routes as operations.

use http::Method;
use prost_reflect::{FieldDescriptor, Kind, MethodDescriptor, Value as Message};
use serde_json::{Map, Value, json};

use super::comments::{comment, errors};
use super::examples;
use super::schemas::Schemas;
use crate::gateway::refusal::http_of_name;
use crate::gateway::schema::{Part, Route, Schema};

/// How deep the fields of a message are spelled out in a query.
const DEPTH_MAX: usize = 2;

/// Adds the operation of a route to the paths. Of several routes of a method, `number` tells which.
pub(super) fn add(
    paths: &mut Map<String, Value>,
    schemas: &mut Schemas,
    schema: &Schema,
    route: &Route,
    number: usize,
) {
    let rpc = &schema.rpcs[route.rpc].descriptor;
    let service = rpc.parent_service();
    let said = comment(&rpc.parent_file(), rpc.path());
    let suffix = if number == 0 { String::new() } else { format!("_{}", number + 1) };
    let mut operation = json!({
        "operationId": format!("{}_{}{suffix}", service.name(), rpc.name()),
        "tags": [service.name()],
        "summary": said.summary,
        "description": said.text,
        "parameters": parameters(schemas, rpc, route),
    });
    if let Some(body) = body(schemas, schema, rpc, route) {
        operation["requestBody"] = body;
    }
    operation["responses"] = responses(schemas, rpc, route, &said.text);
    let place = paths.entry(path(route)).or_insert_with(|| json!({}));
    place[route.verb.as_str().to_ascii_lowercase()] = operation;
}

/// A path as OpenAPI writes it: the names of variables alone, and of a field inside another that of the
/// outer one, so that all methods of a path are together.
fn path(route: &Route) -> String {
    let mut text = String::new();
    for (index, part) in route.template.text().split(['{', '}']).enumerate() {
        match index % 2 {
            0 => text.push_str(part),
            _ => text.extend(["{", outer(part), "}"]),
        }
    }
    text
}

fn outer(variable: &str) -> &str {
    variable.split(['=', '.']).next().unwrap_or_default()
}

fn parameters(schemas: &mut Schemas, rpc: &MethodDescriptor, route: &Route) -> Vec<Value> {
    let mut found = Vec::new();
    for (fields, name) in route.variables.iter().zip(route.template.variables()) {
        let Some(field) = fields.last() else { continue };
        let text = comment(&field.parent_file(), field.path()).text;
        let text = match route.template.text().contains(&format!("{{{name}=**}}")) {
            true => format!("{text} A \"/\" may stand in it as it is."),
            false => text,
        };
        let mut schema = schemas.bare(field);
        schema["minLength"] = json!(1);
        found.push(json!({
            "name": outer(name), "in": "path", "required": true, "description": text, "schema": schema,
        }));
    }
    if !matches!(route.body, Part::Whole) {
        let taken = |field: &FieldDescriptor| is_taken(route, field);
        let open: Vec<_> = rpc.input().fields().filter(|field| !taken(field)).collect();
        for field in open {
            in_query(schemas, &field, "", DEPTH_MAX, &mut found);
        }
    }
    found
}

/// Whether the path or the body says what a field is.
fn is_taken(route: &Route, field: &FieldDescriptor) -> bool {
    let in_path = route.variables.iter().any(|fields| fields.first() == Some(field));
    in_path || matches!(&route.body, Part::Field(body) if body == field)
}

/// Adds a field, or those inside it, to the parameters.
fn in_query(
    schemas: &mut Schemas,
    field: &FieldDescriptor,
    parent: &str,
    depth: usize,
    found: &mut Vec<Value>,
) {
    let name = format!("{parent}{}", field.json_name());
    if let Kind::Message(inside) = field.kind()
        && !inside.full_name().starts_with("google.protobuf.")
    {
        if depth > 0 && !field.is_list() && !field.is_map() {
            for inner in inside.fields() {
                in_query(schemas, &inner, &format!("{name}."), depth - 1, found);
            }
        }
        return;
    }
    let text = comment(&field.parent_file(), field.path()).text;
    let schema = schemas.bare(field);
    found.push(json!({ "name": name, "in": "query", "description": text, "schema": schema }));
}

fn body(
    schemas: &mut Schemas,
    schema: &Schema,
    rpc: &MethodDescriptor,
    route: &Route,
) -> Option<Value> {
    let (content, example) = match &route.body {
        Part::Nothing => return None,
        Part::Field(field) => {
            let kind = field.kind();
            let inside = kind.as_message().map(|inside| examples::of_message(schema, inside));
            (schemas.bare(field), inside.unwrap_or_default())
        }
        Part::Whole => {
            let open: Vec<_> =
                rpc.input().fields().filter(|field| !is_taken(route, field)).collect();
            let mut content = schemas.object(&open);
            let required = open.iter().filter(|field| is_required(schema, field));
            let required: Vec<_> = required.map(|field| field.json_name().to_owned()).collect();
            if !required.is_empty() {
                content["required"] = json!(required);
            }
            (content, examples::of_fields(schema, &open))
        }
    };
    let content = json!({ "schema": content, "example": example });
    Some(json!({ "required": true, "content": { "application/json": content } }))
}

/// Whether `google.api.field_behavior` says that a field must be given.
pub(super) fn is_required(schema: &Schema, field: &FieldDescriptor) -> bool {
    const REQUIRED: i32 = 2;
    let extension = schema.pool.get_extension_by_name("google.api.field_behavior");
    let options = field.options();
    extension.is_some_and(|extension| {
        let behaviors = options.get_extension(&extension);
        behaviors.as_list().is_some_and(|list| list.contains(&Message::EnumNumber(REQUIRED)))
    })
}

fn responses(schemas: &mut Schemas, rpc: &MethodDescriptor, route: &Route, text: &str) -> Value {
    let answer = match &route.response {
        Part::Field(field) => schemas.bare(field),
        Part::Whole | Part::Nothing => schemas.message(&rpc.output()),
    };
    let content = match rpc.is_server_streaming() {
        false => json!({ "application/json": { "schema": answer } }),
        true => json!({
            "application/x-ndjson": { "schema": { "type": "string" }, "x-line": {
                "oneOf": [
                    { "type": "object", "properties": { "result": answer } },
                    { "$ref": "#/components/schemas/Error" },
                ],
            } },
            "text/event-stream": { "schema": { "type": "string" } },
        }),
    };
    let named = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
    let mut found = Map::new();
    let good = json!({ "description": "It is done.", "headers": named, "content": content });
    found.insert("200".to_owned(), good);
    let mut said = errors(text);
    if rpc.name() == "Get" && route.verb == Method::GET {
        said.push(("NOT_FOUND".to_owned(), "(KEY_NOT_FOUND)".to_owned()));
    }
    for (code, reasons) in said {
        let Some(status) = http_of_name(&code) else { continue };
        let line = format!("{code} {reasons}").trim_end().to_owned();
        let error = found.entry(status.as_u16().to_string()).or_insert_with(|| {
            json!({ "description": "", "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Error" },
            } } })
        });
        let before = error["description"].as_str().unwrap_or_default();
        let joined = if before.is_empty() { line } else { format!("{before}; {line}") };
        error["description"] = json!(joined);
    }
    found.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Error" }));
    Value::Object(found)
}

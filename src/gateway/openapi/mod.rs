//! The HTTP surface described for programs and people: an OpenAPI 3.1 document.
//!
//! # How it works
//! The annotated methods are described by the schema itself: paths and bodies by their annotations
//! ([`operations`]), messages by their fields ([`schemas`]), what to try by [`examples`], and everything in words by the comments
//! of the schema ([`comments`]). What the schema does not have, values as they are and the original's
//! routes, stands in `plain.json`.
//!
//! # Why
//! A description that is written beside the routes is wrong by the next release.
//!
//! # Invariants
//! Every route of the schema is in the document, and no other. A copy of it lies in `tests/golden`, so
//! that a change of the API is seen when it is made.
//!
//! # Not here
//! The pages that show it: `pages`.

mod comments;
mod examples;
mod operations;
mod schemas;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::schema::Schema;
use comments::comment;
use schemas::Schemas;

/// What the schema does not have.
const PLAIN: &str = include_str!("plain.json");

const ABOUT: &str = "Everything here is also served over gRPC, gRPC-Web and Connect on the same \
    port.\n\nNames in JSON are lowerCamelCase; \
    snake_case is read too. 64-bit numbers come as strings, bytes as base64. A field that does not \
    exist is refused, so that a typing mistake is not a lost setting.";

/// The document, as text that ends with a line feed. It is made once.
pub(super) fn document(schema: &'static Schema) -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let pretty = serde_json::to_string_pretty(&describe(schema));
        format!("{}\n", pretty.unwrap_or_default())
    })
}

fn describe(schema: &Schema) -> Value {
    let mut plain: Value = serde_json::from_str(PLAIN).unwrap_or_default();
    let (mut paths, mut schemas) = (Map::new(), Schemas::default());
    let mut before = None;
    let mut number = 0;
    for route in &schema.routes {
        number = if before == Some(route.rpc) { number + 1 } else { 0 };
        before = Some(route.rpc);
        operations::add(&mut paths, &mut schemas, schema, route, number);
    }
    merge(&mut paths, plain["paths"].take());
    let mut components = plain["components"].take();
    let mut all = schemas.into_json();
    merge(&mut all, components["schemas"].take());
    components["schemas"] = Value::Object(all);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "PyKV",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A durable, multi-tenant, in-memory key-value service",
            "description": ABOUT,
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/", "description": "This server." }],
        "security": [],
        "tags": tags(schema, plain["tags"].take()),
        "paths": paths,
        "components": components,
    })
}

fn merge(into: &mut Map<String, Value>, from: Value) {
    if let Value::Object(from) = from {
        into.extend(from);
    }
}

/// The services that have routes, and what is added.
fn tags(schema: &Schema, plain: Value) -> Vec<Value> {
    let mut tags: Vec<Value> = Vec::new();
    for route in &schema.routes {
        let service = schema.rpcs[route.rpc].descriptor.parent_service().clone();
        if tags.iter().all(|tag| tag["name"] != service.name()) {
            let text = comment(&service.parent_file(), service.path()).text;
            tags.push(json!({ "name": service.name(), "description": text }));
        }
    }
    if let Value::Array(plain) = plain {
        tags.extend(plain);
    }
    tags
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::gateway::schema::schema;

    fn each<'v>(value: &'v Value, see: &mut impl FnMut(&'v str, &'v Value)) {
        match value {
            Value::Object(members) => {
                for (name, inside) in members {
                    see(name, inside);
                    each(inside, see);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| each(item, see)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_committed_copy_is_what_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (copy, new) =
            (root.join("tests/golden/openapi.json"), root.join("target/openapi.json"));
        let document = document(schema().unwrap());
        if fs::read_to_string(&copy).unwrap_or_default() != document {
            fs::write(&new, document).unwrap();
            panic!("the API has changed: look at target/openapi.json, and copy it to tests/golden");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document: Value = serde_json::from_str(document(schema().unwrap())).unwrap();
        let (mut names, mut count) = (HashSet::new(), 0);
        each(&document, &mut |name, value| match (name, value.as_str()) {
            ("$ref", Some(target)) => {
                let place = document.pointer(target.trim_start_matches('#'));
                assert!(place.is_some_and(|place| !place.is_null()), "{target}");
            }
            ("operationId", Some(id)) => {
                count += 1;
                assert!(names.insert(id.to_owned()), "{id} is there twice");
            }
            _ => {}
        });
        assert_eq!(count, schema().unwrap().routes.len() + 14);
    }
}

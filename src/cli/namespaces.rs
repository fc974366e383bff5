//! `namespaces`.

use serde_json::json;

use super::Session;
use super::args::Namespaces;
use super::failure::{Outcome, printable};
use super::json;
use super::output::{self, Output};
use super::policy::UNLIMITED;
use crate::client::Client;
use crate::config::bytes_words;
use crate::wire::v1 as wire;

/// Namespaces asked for at once; the server has no larger pages.
const PAGE_SIZE: i32 = 1000;

pub(super) async fn run(session: &Session, command: Namespaces) -> Outcome {
    let client = session.dial().await?;
    let mut stub = client.namespaces();
    let namespace = match command {
        Namespaces::List { prefix } => return list(session, &client, prefix).await,
        Namespaces::Create { name, spec } => {
            let request = wire::CreateNamespaceRequest { namespace: Some(spec.namespace(name)) };
            stub.create_namespace(client.request(request)).await?.into_inner().namespace
        }
        Namespaces::Get { name } => {
            let request = wire::GetNamespaceRequest { namespace: name };
            stub.get_namespace(client.request(request)).await?.into_inner().namespace
        }
        Namespaces::Update { name, spec, reset, etag, allow_missing } => {
            let mut paths = spec.mask();
            paths.extend(reset.into_iter().map(|field| path(&field)));
            let namespace = wire::Namespace { etag, ..spec.namespace(name) };
            let request = wire::UpdateNamespaceRequest {
                namespace: Some(namespace),
                update_mask: Some(prost_types::FieldMask { paths }),
                allow_missing,
            };
            stub.update_namespace(client.request(request)).await?.into_inner().namespace
        }
        Namespaces::Delete { name, force } => {
            let request = wire::DeleteNamespaceRequest { namespace: name, force };
            let answer = stub.delete_namespace(client.request(request)).await?.into_inner();
            return deleted(session, answer.deleted_count);
        }
        Namespaces::Clear { name } => {
            let request = wire::ClearNamespaceRequest { namespace: name };
            let answer = stub.clear_namespace(client.request(request)).await?.into_inner();
            return deleted(session, answer.deleted_count);
        }
    };
    let namespace = namespace.unwrap_or_default();
    match session.output {
        Output::Json => output::json(&json!({"namespace": json::namespace(&namespace)})),
        Output::Text => output::line(&described(&namespace)),
    }
}

/// The path of a field that was named as a flag, a field or a path.
fn path(field: &str) -> String {
    let field = field.replace('-', "_");
    match field.as_str() {
        "description" | "labels" => field,
        "label" => "labels".to_owned(),
        "eviction" => "policy.eviction_policy".to_owned(),
        _ if field.starts_with("policy.") => field,
        _ => format!("policy.{field}"),
    }
}

fn deleted(session: &Session, count: i64) -> Outcome {
    match session.output {
        Output::Json => output::json(&json!({"deletedCount": json::long(count)})),
        Output::Text => output::line(&format!("{count} entries deleted")),
    }
}

async fn list(session: &Session, client: &Client, prefix: String) -> Outcome {
    let mut stub = client.namespaces();
    let mut namespaces = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListNamespacesRequest {
            page_size: Some(PAGE_SIZE),
            page_token,
            prefix: prefix.clone(),
        };
        let page = stub.list_namespaces(client.request(request)).await?.into_inner();
        namespaces.extend(page.namespaces);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    match session.output {
        Output::Json => {
            let namespaces: Vec<_> = namespaces.iter().map(json::namespace).collect();
            output::json(&json!({"namespaces": namespaces}))
        }
        Output::Text => {
            let rows = namespaces.iter().map(row).collect();
            let header = ["NAME", "KEYS", "BYTES", "MAX KEYS", "MAX BYTES", "VERSION"];
            output::line(&output::table(&header, 1, rows))
        }
    }
}

fn row(namespace: &wire::Namespace) -> Vec<String> {
    let usage = namespace.usage.unwrap_or_default();
    let policy = namespace.policy.unwrap_or_default();
    vec![
        printable(&namespace.name),
        usage.key_count.to_string(),
        usage.used_bytes.to_string(),
        limit(policy.max_keys, |most| most.to_string()),
        limit(policy.max_bytes, bytes),
        usage.version.to_string(),
    ]
}

/// What was not said, and so follows the server.
const DEFAULT: &str = "default";

fn limit(limit: Option<wire::Limit>, show: impl Fn(i64) -> String) -> String {
    match limit.and_then(|limit| limit.bound) {
        None => DEFAULT.to_owned(),
        Some(wire::limit::Bound::Unlimited(_)) => UNLIMITED.to_owned(),
        Some(wire::limit::Bound::Maximum(most)) => show(most),
    }
}

fn lifetime(lifetime: Option<wire::Lifetime>) -> String {
    match lifetime.and_then(|lifetime| lifetime.length) {
        None => DEFAULT.to_owned(),
        Some(wire::lifetime::Length::Unlimited(_)) => UNLIMITED.to_owned(),
        Some(wire::lifetime::Length::Ttl(ttl)) => output::length(ttl),
    }
}

fn bytes(bytes: i64) -> String {
    u64::try_from(bytes).map_or_else(|_| bytes.to_string(), bytes_words)
}

/// The end of the name of an enum's value, as the flags spell it.
fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix) {
        Some("UNSPECIFIED") | None => DEFAULT.to_owned(),
        Some(word) => word.to_ascii_lowercase(),
    }
}

/// Everything about a namespace, one line each.
fn described(namespace: &wire::Namespace) -> String {
    let usage = namespace.usage.unwrap_or_default();
    let policy = namespace.policy.unwrap_or_default();
    let number = |number: Option<i64>| number.map_or(DEFAULT.to_owned(), |n| n.to_string());
    let mut labels: Vec<_> = namespace
        .labels
        .iter()
        .map(|(key, value)| format!("{}={}", printable(key), printable(value)))
        .collect();
    labels.sort();
    let moment = |moment: Option<prost_types::Timestamp>| {
        moment.map_or_else(String::new, |moment| moment.to_string())
    };
    let rows = [
        ("name", printable(&namespace.name)),
        ("description", printable(&namespace.description)),
        ("labels", labels.join(" ")),
        ("keys", usage.key_count.to_string()),
        ("bytes", usage.used_bytes.to_string()),
        ("version", usage.version.to_string()),
        ("max keys", limit(policy.max_keys, |most| most.to_string())),
        ("max bytes", limit(policy.max_bytes, bytes)),
        ("max value bytes", policy.max_value_bytes.map_or(DEFAULT.to_owned(), bytes)),
        ("default ttl", lifetime(policy.default_ttl)),
        ("max ttl", lifetime(policy.max_ttl)),
        ("eviction", word(policy.eviction_policy().as_str_name(), "EVICTION_POLICY_")),
        ("durability", word(policy.durability().as_str_name(), "DURABILITY_")),
        ("max operations per second", limit(policy.max_operations_per_second, |n| n.to_string())),
        ("watch history events", number(policy.watch_history_events)),
        ("created", moment(namespace.create_time)),
        ("updated", moment(namespace.update_time)),
        ("etag", printable(&namespace.etag)),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    output::table(&[], usize::MAX, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_to_reset_may_be_named_as_the_flag_is() {
        let check = |field: &str, expected: &str| assert_eq!(path(field), expected);
        check("max-keys", "policy.max_keys");
        check("max_keys", "policy.max_keys");
        check("policy.max_keys", "policy.max_keys");
        check("eviction", "policy.eviction_policy");
        check("label", "labels");
        check("description", "description");
    }

    #[test]
    fn a_description_shows_what_follows_the_server_and_what_does_not() {
        let bound = Some(wire::limit::Bound::Maximum(1024));
        let namespace = wire::Namespace {
            name: "a".into(),
            description: "x\ny".into(),
            policy: Some(wire::NamespacePolicy {
                max_bytes: Some(wire::Limit { bound }),
                durability: wire::Durability::Async.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = described(&namespace);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
        };
        assert_eq!(value("description"), "x\\ny");
        assert_eq!(value("max keys"), "default");
        assert_eq!(value("max bytes"), "1 KiB");
        assert_eq!(value("durability"), "async");
        assert_eq!(value("eviction"), "default");
    }
}

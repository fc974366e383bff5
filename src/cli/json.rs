//! Messages as JSON, by the rules of ProtoJSON: camel case, 64-bit numbers as text, lengths as
//! "60s", moments as RFC 3339, bytes as base64. Next to a value that is text stands that text.

use serde_json::{Map, Value, json};

use crate::wire::v1 as wire;

/// A number that may not fit the numbers of JSON.
pub(super) fn long(number: i64) -> Value {
    Value::String(number.to_string())
}

/// As [`long`], for a number that cannot be negative.
pub(super) fn unsigned(number: u64) -> Value {
    Value::String(number.to_string())
}

/// Something that prints as ProtoJSON has it: a length of time, a moment.
fn words(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| Value::String(value.to_string()))
}

/// An entry; `null` for none.
pub(super) fn entry(entry: Option<&wire::Entry>) -> Value {
    let Some(entry) = entry else { return Value::Null };
    let mut object = json!({
        "key": entry.key,
        "value": base64(&entry.value),
        "version": long(entry.version),
        "sizeBytes": long(entry.size_bytes),
    });
    let fields = object.as_object_mut().expect("just made as one");
    if let Ok(text) = std::str::from_utf8(&entry.value) {
        fields.insert("text".into(), text.into());
    }
    put(fields, "expireTime", words(entry.expire_time));
    put(fields, "ttl", words(entry.ttl));
    put(fields, "updateTime", words(entry.update_time));
    object
}

/// A namespace.
pub(super) fn namespace(namespace: &wire::Namespace) -> Value {
    let mut object = json!({
        "name": namespace.name,
        "description": namespace.description,
        "labels": namespace.labels,
        "autoCreated": namespace.auto_created,
        "etag": namespace.etag,
    });
    let fields = object.as_object_mut().expect("just made as one");
    put(fields, "policy", namespace.policy.as_ref().map_or(Value::Null, policy));
    put(fields, "usage", namespace.usage.as_ref().map_or(Value::Null, usage));
    put(fields, "createTime", words(namespace.create_time));
    put(fields, "updateTime", words(namespace.update_time));
    object
}

fn policy(policy: &wire::NamespacePolicy) -> Value {
    let mut fields = Map::new();
    put(&mut fields, "maxKeys", limit(policy.max_keys));
    put(&mut fields, "maxBytes", limit(policy.max_bytes));
    put(&mut fields, "maxValueBytes", policy.max_value_bytes.map_or(Value::Null, long));
    put(&mut fields, "defaultTtl", lifetime(policy.default_ttl));
    put(&mut fields, "maxTtl", lifetime(policy.max_ttl));
    fields.insert("evictionPolicy".into(), policy.eviction_policy().as_str_name().into());
    fields.insert("durability".into(), policy.durability().as_str_name().into());
    put(&mut fields, "maxOperationsPerSecond", limit(policy.max_operations_per_second));
    put(&mut fields, "watchHistoryEvents", policy.watch_history_events.map_or(Value::Null, long));
    Value::Object(fields)
}

fn limit(limit: Option<wire::Limit>) -> Value {
    match limit.and_then(|limit| limit.bound) {
        Some(wire::limit::Bound::Maximum(most)) => json!({"maximum": long(most)}),
        Some(wire::limit::Bound::Unlimited(truth)) => json!({"unlimited": truth}),
        None => Value::Null,
    }
}

fn lifetime(lifetime: Option<wire::Lifetime>) -> Value {
    match lifetime.and_then(|lifetime| lifetime.length) {
        Some(wire::lifetime::Length::Ttl(ttl)) => json!({"ttl": ttl.to_string()}),
        Some(wire::lifetime::Length::Unlimited(truth)) => json!({"unlimited": truth}),
        None => Value::Null,
    }
}

fn usage(usage: &wire::NamespaceUsage) -> Value {
    json!({
        "keyCount": long(usage.key_count),
        "usedBytes": long(usage.used_bytes),
        "version": long(usage.version),
    })
}

/// Counters of a namespace.
pub(super) fn namespace_stats(stats: &wire::NamespaceStats) -> Value {
    let mut object = json!({
        "namespace": stats.namespace,
        "hits": long(stats.hits),
        "misses": long(stats.misses),
        "sets": long(stats.sets),
        "deletes": long(stats.deletes),
        "expirations": long(stats.expirations),
        "evictions": long(stats.evictions),
        "quotaRejections": long(stats.quota_rejections),
        "rateLimitRejections": long(stats.rate_limit_rejections),
        "activeWatches": long(stats.active_watches),
    });
    let fields = object.as_object_mut().expect("just made as one");
    put(fields, "usage", stats.usage.as_ref().map_or(Value::Null, usage));
    object
}

/// Counters of the server.
pub(super) fn server_stats(stats: &wire::ServerStats) -> Value {
    let mut object = json!({
        "serverVersion": stats.server_version,
        "namespaceCount": long(stats.namespace_count),
        "walEntries": long(stats.wal_entries),
        "walBytes": long(stats.wal_bytes),
        "compactionRunning": stats.compaction_running,
        "namespaces": stats.namespaces.iter().map(namespace_stats).collect::<Vec<_>>(),
    });
    let fields = object.as_object_mut().expect("just made as one");
    put(fields, "totals", stats.totals.as_ref().map_or(Value::Null, namespace_stats));
    put(fields, "startTime", words(stats.start_time));
    put(fields, "uptime", words(stats.uptime));
    put(fields, "lastCompactionTime", words(stats.last_compaction_time));
    object
}

/// Adds what is there: a message that is absent is left out.
fn put(fields: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() {
        fields.insert(name.to_owned(), value);
    }
}

/// Standard base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            // A group of n bytes fills n + 1 letters.
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, expected) in vectors {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_value_that_is_text_stands_there_as_text_too() {
        let text = wire::Entry { value: "ü".into(), version: 1 << 60, ..Default::default() };
        let json = entry(Some(&text));
        assert_eq!(json["text"], "ü");
        assert_eq!(json["value"], "w7w=");
        assert_eq!(json["version"], "1152921504606846976");
        assert_eq!(json.get("ttl"), None);
        let bytes = wire::Entry { value: vec![0xff].into(), ..Default::default() };
        assert_eq!(entry(Some(&bytes)).get("text"), None);
        assert_eq!(entry(None), Value::Null);
    }

    #[test]
    fn lengths_and_limits_are_written_as_the_api_writes_them() {
        let half = prost_types::Duration { seconds: 1, nanos: 500_000_000 };
        let bound = wire::limit::Bound::Maximum(5);
        let written = policy(&wire::NamespacePolicy {
            max_keys: Some(wire::Limit { bound: Some(bound) }),
            default_ttl: Some(wire::Lifetime { length: Some(wire::lifetime::Length::Ttl(half)) }),
            ..Default::default()
        });
        assert_eq!(written["maxKeys"]["maximum"], "5");
        assert_eq!(written["defaultTtl"]["ttl"], "1.500s");
        assert_eq!(written["durability"], "DURABILITY_UNSPECIFIED");
    }
}

//! The routes of the original Python server, answer for answer, so that what was written against it goes
//! on working.
//!
//! # How it works
//! A path has one method. Each route is one or a few calls, and a body made of their answers.
//! [`mod@write`] reads the one body there is to read; [`refusals`] puts statuses into FastAPI's shapes.
//!
//! # Why
//! Nothing else needs this folder: without it, and the line that calls it, the routes are gone.
//!
//! # Invariants
//! Where the original lost or leaked data this does not follow it: namespaces are apart, and what
//! cannot be kept is refused with 422.
//!
//! # Not here
//! What the routes are documented as: `openapi`.

mod refusals;
mod write;

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{HOST, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::answers;
use super::arrival::{Arrival, Content, JSON_BYTES_MAX, content};
use super::caller::Caller;
use crate::wire::v1 as wire;
use crate::wire::v1::expiration::Policy;
use refusals::{Refused, Starting, detailed, refused};
use write::Write;

const SET: &str = "/pykv.v1.KeyValueService/Set";
/// Longer than this from now is beyond the year 9999, in seconds; such an entry does not expire.
const TTL_SECONDS_MAX: i64 = 250_000_000_000;
/// What `/performance` looks back on, in seconds.
const WINDOW_SECONDS: i64 = 60;
/// Most operations that `/performance/recent-errors` tells.
const ERRORS_MAX: i32 = 10;
/// Namespaces asked for at a time.
const PAGE: i32 = 1000;

/// What is asked for, with the pieces of the path as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'p> {
    Set,
    Get(&'p str),
    Delete(&'p str),
    Namespaces,
    Keys(&'p str),
    Clear(&'p str),
    Stats,
    Health,
    Compact,
    Performance,
    RecentErrors,
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Route<'p>> {
        let named = |prefix| path.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty());
        match path {
            "/set" => Some(Route::Set),
            "/namespaces" => Some(Route::Namespaces),
            "/stats" => Some(Route::Stats),
            "/health" => Some(Route::Health),
            "/compact" => Some(Route::Compact),
            "/performance" => Some(Route::Performance),
            "/performance/recent-errors" => Some(Route::RecentErrors),
            _ => None,
        }
        .or_else(|| named("/get/").map(Route::Get))
        .or_else(|| named("/delete/").map(Route::Delete))
        .or_else(|| match named("/namespaces/")?.split_once('/') {
            None => Some(Route::Clear(named("/namespaces/")?)),
            Some((name, "keys")) if !name.is_empty() => Some(Route::Keys(name)),
            Some(_) => None,
        })
    }

    /// The one method it has.
    fn method(self) -> Method {
        match self {
            Route::Set | Route::Compact => Method::POST,
            Route::Delete(_) | Route::Clear(_) => Method::DELETE,
            Route::Get(_)
            | Route::Namespaces
            | Route::Keys(_)
            | Route::Stats
            | Route::Health
            | Route::Performance
            | Route::RecentErrors => Method::GET,
        }
    }
}

/// Answers any request.
pub(super) async fn answer(caller: Caller, arrival: Arrival) -> Response<Body> {
    let path = arrival.path().to_owned();
    let bare = path.strip_suffix('/').filter(|bare| Route::of(bare).is_some());
    if let Some(bare) = bare {
        return moved(&arrival, bare);
    }
    let Some(route) = Route::of(&path) else {
        return detailed(StatusCode::NOT_FOUND, json!("Not Found"));
    };
    if arrival.head.method != route.method() {
        let mut response = detailed(StatusCode::METHOD_NOT_ALLOWED, json!("Method Not Allowed"));
        answers::allow(&mut response, &[route.method()]);
        return response;
    }
    let mut asked = Asked { caller, arrival };
    match asked.called(route).await {
        Ok(body) => answers::json(StatusCode::OK, body.to_string()),
        Err(response) => *response,
    }
}

/// Sends a caller to the path without the slash at its end.
fn moved(arrival: &Arrival, bare: &str) -> Response<Body> {
    let host = arrival.head.uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| arrival.header(&HOST)?.to_str().ok()).unwrap_or_default();
    let query = arrival.head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = answers::empty(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(place) = HeaderValue::try_from(format!("http://{host}{bare}{query}")) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

struct Asked {
    caller: Caller,
    arrival: Arrival,
}

impl Asked {
    async fn called(&mut self, route: Route<'_>) -> Result<Value, Refused> {
        match route {
            Route::Set => self.set().await,
            Route::Get(key) => self.get(key).await,
            Route::Delete(key) => self.delete(key).await,
            Route::Namespaces => self.namespaces().await,
            Route::Keys(name) => {
                let name = unescaped(name);
                let total = self.keys(&name).await?;
                Ok(json!({ "namespace": name, "total_keys": total }))
            }
            Route::Clear(name) => self.clear(unescaped(name)).await,
            Route::Stats => self.stats().await,
            Route::Health => self.health().await,
            Route::Compact => {
                let request = wire::CompactRequest { wait: false };
                let _: wire::CompactResponse =
                    self.call("/pykv.v1.AdminService/Compact", &request).await?;
                Ok(json!({ "status": "compaction_started" }))
            }
            Route::Performance => self.performance().await,
            Route::RecentErrors => self.recent_errors().await,
        }
    }

    async fn call<R: prost::Message + Default>(
        &mut self,
        path: &'static str,
        request: &impl prost::Message,
    ) -> Result<R, Refused> {
        let head = self.arrival.head_again();
        let answer = self.caller.typed(path, request, head).await;
        answer.map_err(|status| refused(&status, &self.arrival.head.method))
    }

    /// As [`Self::call`], where a namespace that does not exist is an empty one.
    async fn call_or_none<R: prost::Message + Default>(
        &mut self,
        path: &'static str,
        request: &impl prost::Message,
    ) -> Result<Option<R>, Refused> {
        match self.call(path, request).await {
            Err(response) if response.status() == StatusCode::NOT_FOUND => Ok(None),
            other => other.map(Some),
        }
    }

    /// The last `ns` of the query.
    fn ns(&self) -> Option<String> {
        let pairs =
            self.arrival.query().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values = pairs.filter(|(name, _)| unescaped(name) == "ns");
        values.next_back().map(|(_, value)| unescaped(&value.replace('+', " ")))
    }

    async fn set(&mut self) -> Result<Value, Refused> {
        let is_json = content(&self.arrival.head.headers) != Content::Other;
        let body = self.caller.body(SET, &mut self.arrival, JSON_BYTES_MAX).await;
        let body = body.map_err(|foreign| refused(&foreign.into(), &Method::POST))?;
        let Some(body) = body else {
            let head = self.arrival.take_head();
            let status = self.caller.refusal(&Uri::from_static(SET), head).await;
            return Err(refused(&status, &Method::POST));
        };
        let Write { key, value, ttl, namespace } = Write::read(&body, is_json)?;
        let echoed = namespace.filter(|name| !name.is_empty()).or_else(|| self.ns());
        let policy = match ttl {
            0 => None,
            ttl if ttl > TTL_SECONDS_MAX => Some(Policy::Never(true)),
            seconds => Some(Policy::Ttl(Duration { seconds, nanos: 0 })),
        };
        let request = wire::SetRequest {
            namespace: echoed.clone().unwrap_or_default(),
            key: key.clone(),
            value,
            expiration: policy.map(|policy| wire::Expiration { policy: Some(policy) }),
            condition: None,
            return_previous: false,
        };
        let _: wire::SetResponse = self.call(SET, &request).await?;
        Ok(json!({ "status": "success", "key": key, "namespace": echoed }))
    }

    async fn get(&mut self, key: &str) -> Result<Value, Refused> {
        let (key, ns) = (decoded_key(key)?, self.ns());
        let (namespace, view) = (ns.clone().unwrap_or_default(), wire::EntryView::Value.into());
        let request = wire::GetRequest { namespace, key: key.clone(), view };
        let answer: wire::GetResponse = self.call("/pykv.v1.KeyValueService/Get", &request).await?;
        let value = answer.entry.ok_or_else(no_key)?.value;
        Ok(match std::str::from_utf8(&value) {
            Ok(text) => json!({ "key": key, "value": text, "namespace": ns }),
            Err(_) => {
                let value = BASE64_STANDARD.encode(&value);
                json!({ "key": key, "value": value, "namespace": ns, "encoding": "base64" })
            }
        })
    }

    async fn delete(&mut self, key: &str) -> Result<Value, Refused> {
        let (key, ns) = (decoded_key(key)?, self.ns());
        let namespace = ns.clone().unwrap_or_default();
        let request = wire::DeleteRequest { namespace, key: key.clone(), ..Default::default() };
        let answer: wire::DeleteResponse =
            self.call("/pykv.v1.KeyValueService/Delete", &request).await?;
        match answer.deleted {
            true => Ok(json!({ "status": "deleted", "key": key, "namespace": ns })),
            false => Err(no_key()),
        }
    }

    async fn namespaces(&mut self) -> Result<Value, Refused> {
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let (page_size, prefix) = (Some(PAGE), String::new());
            let request = wire::ListNamespacesRequest { page_size, page_token, prefix };
            let page: wire::ListNamespacesResponse =
                self.call("/pykv.v1.NamespaceService/ListNamespaces", &request).await?;
            let with_keys = page.namespaces.into_iter().filter(|namespace| {
                namespace.usage.as_ref().is_some_and(|usage| usage.key_count > 0)
            });
            names.extend(with_keys.map(|namespace| namespace.name));
            if page.next_page_token.is_empty() {
                names.sort_unstable();
                return Ok(json!({ "namespaces": names, "count": names.len() }));
            }
            page_token = page.next_page_token;
        }
    }

    /// The keys in a namespace, be it one that does not exist.
    async fn keys(&mut self, namespace: &str) -> Result<i64, Refused> {
        let request = wire::GetNamespaceRequest { namespace: namespace.to_owned() };
        let answer: Option<wire::GetNamespaceResponse> =
            self.call_or_none("/pykv.v1.NamespaceService/GetNamespace", &request).await?;
        let usage = answer.and_then(|answer| answer.namespace?.usage);
        Ok(usage.map_or(0, |usage| usage.key_count))
    }

    async fn clear(&mut self, namespace: String) -> Result<Value, Refused> {
        let request = wire::ClearNamespaceRequest { namespace };
        let answer: Option<wire::ClearNamespaceResponse> =
            self.call_or_none("/pykv.v1.NamespaceService/ClearNamespace", &request).await?;
        let deleted = answer.map_or(0, |answer| answer.deleted_count);
        let namespace = request.namespace;
        Ok(json!({ "status": "cleared", "namespace": namespace, "keys_deleted": deleted }))
    }

    async fn server_stats(
        &mut self,
        include_namespaces: bool,
    ) -> Result<wire::ServerStats, Refused> {
        let request = wire::GetStatsRequest { include_namespaces };
        let answer: wire::GetStatsResponse =
            self.call("/pykv.v1.AdminService/GetStats", &request).await?;
        Ok(answer.stats.unwrap_or_default())
    }

    async fn stats(&mut self) -> Result<Value, Refused> {
        let ns = self.ns().filter(|ns| !ns.is_empty());
        let stats = self.server_stats(ns.is_none()).await?;
        let totals = stats.totals.unwrap_or_default();
        let mut body = json!({
            "total_keys": counts(&totals).2,
            "cache_hits": totals.hits,
            "cache_misses": totals.misses,
            "evictions": totals.evictions,
            "log_size": stats.wal_entries,
            "last_compaction": stats.last_compaction_time.map(without_zone),
            "uptime_seconds": seconds(stats.uptime),
            "namespaces": null,
        });
        let shown = |stats: &wire::NamespaceStats| {
            let (hits, misses, keys) = counts(stats);
            json!({ "cache_hits": hits, "cache_misses": misses, "total_keys": keys })
        };
        let Some(ns) = ns else {
            let used = stats.namespaces.iter().filter(|stats| counts(stats) != (0, 0, 0));
            let each: BTreeMap<_, _> = used.map(|one| (&one.namespace, shown(one))).collect();
            body["namespaces"] = json!(each);
            return Ok(body);
        };
        let request = wire::GetNamespaceStatsRequest { namespace: ns.clone() };
        let answer: Option<wire::GetNamespaceStatsResponse> =
            self.call_or_none("/pykv.v1.NamespaceService/GetNamespaceStats", &request).await?;
        let own = answer.and_then(|answer| answer.stats).unwrap_or_default();
        body["total_keys"] = json!(counts(&own).2);
        body["namespace"] = json!(ns);
        body["namespace_stats"] = shown(&own);
        Ok(body)
    }

    async fn health(&mut self) -> Result<Value, Refused> {
        let ns = self.ns().filter(|ns| !ns.is_empty());
        let size = match &ns {
            None => self
                .server_stats(false)
                .await
                .map(|stats| counts(&stats.totals.unwrap_or_default()).2),
            Some(ns) => self.keys(ns).await,
        };
        match (size, ns) {
            (Ok(size), None) => Ok(json!({ "status": "healthy", "store_size": size })),
            (Ok(size), Some(ns)) => {
                Ok(json!({ "status": "healthy", "store_size": size, "namespace": ns }))
            }
            (Err(response), _) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                let is_starting = response.extensions().get::<Starting>().is_some();
                let status = if is_starting { "starting" } else { "unhealthy" };
                let body = json!({ "status": status, "store_size": 0 }).to_string();
                Err(Box::new(answers::json(StatusCode::SERVICE_UNAVAILABLE, body)))
            }
            (Err(response), None) if is_about_rights(&response) => self.bare_health().await,
            (Err(response), _) => Err(response),
        }
    }

    /// For callers who may not know how much there is, among them what looks after the server.
    async fn bare_health(&mut self) -> Result<Value, Refused> {
        let request = HealthCheckRequest { service: String::new() };
        let answer: HealthCheckResponse =
            self.call("/grpc.health.v1.Health/Check", &request).await?;
        if answer.status == i32::from(ServingStatus::Serving) {
            return Ok(json!({ "status": "healthy", "store_size": null }));
        }
        let body = json!({ "status": "unhealthy", "store_size": null }).to_string();
        Err(Box::new(answers::json(StatusCode::SERVICE_UNAVAILABLE, body)))
    }

    /// Of single writes and reads only, as the original counted. Of the percentiles of the three kinds
    /// the highest is told: no kind is slower.
    async fn performance(&mut self) -> Result<Value, Refused> {
        let window = Some(Duration { seconds: WINDOW_SECONDS, nanos: 0 });
        let request = wire::GetPerformanceRequest { window };
        let answer: wire::GetPerformanceResponse =
            self.call("/pykv.v1.AdminService/GetPerformance", &request).await?;
        let kinds = ["Set", "Get", "Delete"].map(|name| {
            let path = format!("pykv.v1.KeyValueService/{name}");
            let found = answer.methods.iter().find(|method| method.method == path);
            found.cloned().unwrap_or_default()
        });
        let operations: i64 = kinds.iter().map(|kind| kind.operations).sum();
        let of_all = |part: fn(&wire::MethodPerformance) -> f64| {
            let sum: f64 = kinds.iter().map(|kind| part(kind) * kind.operations as f64).sum();
            if operations == 0 { 0.0 } else { sum / operations as f64 }
        };
        let most =
            |part: fn(&wire::MethodPerformance) -> f64| kinds.iter().map(part).fold(0.0, f64::max);
        let error_ratio = of_all(|kind| kind.error_ratio);
        let mut body = json!({
            "total_operations": operations,
            "operations_per_second":
                rounded(kinds.iter().map(|kind| kind.operations_per_second).sum()),
            "error_rate": rounded(error_ratio * 100.0),
            "avg_latency_ms": rounded(of_all(|kind| seconds(kind.mean_latency) * 1e3)),
            "p95_latency_ms": rounded(most(|kind| seconds(kind.p95_latency) * 1e3)),
            "p99_latency_ms": rounded(most(|kind| seconds(kind.p99_latency) * 1e3)),
        });
        if operations > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "it is a part of the operations")]
            let failed = (error_ratio * operations as f64).round() as i64;
            let [set, get, delete] = kinds.map(|kind| kind.operations);
            body["successful_operations"] = json!(operations - failed);
            body["operation_breakdown"] = json!({ "set": set, "get": get, "delete": delete });
            let uptime = self.server_stats(false).await?.uptime;
            body["uptime_seconds"] = json!(rounded(seconds(uptime)));
        }
        Ok(body)
    }

    async fn recent_errors(&mut self) -> Result<Value, Refused> {
        let log = wire::OperationLog::Failed.into();
        let (page_size, namespace) = (Some(ERRORS_MAX), None);
        let request = wire::ListLoggedOperationsRequest { log, page_size, namespace };
        let answer: wire::ListLoggedOperationsResponse =
            self.call("/pykv.v1.AdminService/ListLoggedOperations", &request).await?;
        let told = |operation: wire::LoggedOperation| {
            let start = operation.start_time.unwrap_or_default();
            let method = operation.method.rsplit('/').next().unwrap_or_default();
            json!({
                "operation": method.to_ascii_lowercase(),
                "timestamp": start.seconds as f64 + f64::from(start.nanos) / 1e9,
                "error": operation.error.map(|error| error.message).unwrap_or_default(),
                "duration_ms": rounded(seconds(operation.duration) * 1e3),
            })
        };
        Ok(answer.operations.into_iter().map(told).collect())
    }
}

fn is_about_rights(response: &Response<Body>) -> bool {
    matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn counts(stats: &wire::NamespaceStats) -> (i64, i64, i64) {
    (stats.hits, stats.misses, stats.usage.as_ref().map_or(0, |usage| usage.key_count))
}

fn seconds(length: Option<Duration>) -> f64 {
    length.map_or(0.0, |length| length.seconds as f64 + f64::from(length.nanos) / 1e9)
}

fn rounded(number: f64) -> Value {
    let cents = (number * 100.0).round() / 100.0;
    if cents == 0.0 { json!(0) } else { json!(cents) }
}

/// ISO 8601 as the original wrote it; ours is UTC.
fn without_zone(time: Timestamp) -> String {
    time.to_string().trim_end_matches('Z').to_owned()
}

/// A text without its percent escapes; what is no escape stays as it is.
fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Errors: no key can be that.
fn decoded_key(text: &str) -> Result<String, Refused> {
    let key = percent_decode_str(text).decode_utf8();
    key.map(std::borrow::Cow::into_owned).map_err(|_| no_key())
}

fn no_key() -> Refused {
    Box::new(detailed(StatusCode::NOT_FOUND, json!("Key not found")))
}

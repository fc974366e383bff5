//! `/v1/namespaces/{namespace}/values/{key}`: values as they are, with HTTP's own conditions.

use std::ops::Range;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use tonic::Status;
use tonic::body::Body;

use super::arrival::Arrival;
use super::caller::Caller;
use super::refusal::Refusal;
use super::schema::Schema;
use super::{answers, asked};
use crate::service::{Fault, Foreign, REQUEST_BYTES_MAX};
use crate::wire::v1::condition::Test;
use crate::wire::v1::expiration::Policy;
use crate::wire::v1::{
    Condition, DeleteRequest, DeleteResponse, Entry, EntryView, Expiration, GetRequest,
    GetResponse, SetRequest, SetResponse,
};

const SET: &str = "/pykv.v1.KeyValueService/Set";

/// What is left of a time to live, in seconds.
const TTL: HeaderName = HeaderName::from_static("pykv-ttl");
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

const ALLOWED: [Method; 5] =
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS];

/// Where a value is, as it was sent: with its percent escapes.
pub(super) struct Place {
    namespace: Range<usize>,
    key: Range<usize>,
}

impl Place {
    /// The place that a path names, if it is one of values.
    pub(super) fn of(path: &str) -> Option<Place> {
        const PREFIX: &str = "/v1/namespaces/";
        const MIDDLE: &str = "/values/";
        let rest = path.strip_prefix(PREFIX)?;
        let length = rest.find('/').filter(|length| *length > 0)?;
        rest.get(length..)?.starts_with(MIDDLE).then(|| {
            let end = PREFIX.len() + length;
            Place { namespace: PREFIX.len()..end, key: end + MIDDLE.len()..path.len() }
        })
    }
}

/// Answers a request for a value.
pub(super) async fn answer(
    schema: &'static Schema,
    caller: Caller,
    place: Place,
    arrival: Arrival,
) -> Response<Body> {
    let is_known = ALLOWED.contains(&arrival.head.method);
    let is_question = arrival.head.method == Method::OPTIONS;
    let answered = match is_known && !is_question {
        true => called(&caller, &place, arrival).await,
        false if is_question => Ok(answers::empty(StatusCode::NO_CONTENT)),
        false => Err(Foreign::MethodNotAllowed.into()),
    };
    let mut response =
        answered.unwrap_or_else(|status: Status| Refusal::from(&status).answer(schema));
    if !is_known || is_question {
        answers::allow(&mut response, &ALLOWED);
    }
    response
}

async fn called(
    caller: &Caller,
    place: &Place,
    arrival: Arrival,
) -> Result<Response<Body>, Status> {
    let mut faults = Vec::new();
    let asked = Asked::read(place, &arrival, &mut faults);
    if !faults.is_empty() {
        return Err(Foreign::Malformed(faults).into());
    }
    match arrival.head.method {
        Method::PUT => put(caller, asked, arrival).await,
        Method::DELETE => delete(caller, asked, arrival).await,
        Method::HEAD => get(caller, asked, arrival, EntryView::Metadata).await,
        _ => get(caller, asked, arrival, EntryView::Full).await,
    }
}

/// What a request says besides its body.
struct Asked {
    namespace: String,
    key: String,
    expiration: Option<Expiration>,
    condition: Option<Condition>,
}

impl Asked {
    fn read(place: &Place, arrival: &Arrival, faults: &mut Vec<Fault>) -> Asked {
        let mut variable = |range: &Range<usize>, field: &str| {
            let text = arrival.path().get(range.clone()).unwrap_or_default();
            let text = asked::decoded(text);
            text.map_or_else(|text| note(faults, field, text), |text| text.into_owned())
        };
        let namespace = variable(&place.namespace, "namespace");
        let key = variable(&place.key, "key");
        let writes = matches!(arrival.head.method, Method::PUT | Method::DELETE);
        let condition = if writes { condition(&arrival.head.headers) } else { Ok(None) };
        let condition = condition.unwrap_or_else(|(field, text)| note(faults, field, text));
        let ttl = ttl(arrival, faults);
        Asked {
            namespace,
            key,
            expiration: ttl.map(|ttl| Expiration { policy: Some(Policy::Ttl(ttl)) }),
            condition: condition.map(|test| Condition { test: Some(test) }),
        }
    }
}

/// Notes what is wrong with a field, which is then empty.
fn note<T: Default>(faults: &mut Vec<Fault>, field: &str, text: impl Into<String>) -> T {
    faults.push(Fault { field: field.to_owned(), text: text.into() });
    T::default()
}

/// The query, in which only a PUT may say something.
fn ttl(arrival: &Arrival, faults: &mut Vec<Fault>) -> Option<prost_types::Duration> {
    let mut ttl = None;
    for (name, value) in asked::pairs(arrival.query()) {
        match (name, value) {
            (Ok(name), Ok(value)) if name == "ttl" && arrival.head.method == Method::PUT => {
                match value.parse() {
                    Ok(length) if ttl.is_none() => ttl = Some(length),
                    Ok(_) => note(faults, "ttl", "is given twice"),
                    Err(_) => note(faults, "ttl", "must be a duration such as 60s"),
                }
            }
            (Ok(name), Ok(_)) => note(faults, &name, "there is no such field"),
            (Ok(name), Err(text)) => note(faults, &name, text),
            (Err(text), _) => note(faults, "query", text),
        }
    }
    ttl
}

/// What must hold for a write.
///
/// Errors: a header that says something else than the store can test in one step.
fn condition(headers: &HeaderMap) -> Result<Option<Test>, (&'static str, &'static str)> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or("?").trim());
        (first, values.next().is_some())
    };
    let tested = |text: &str| match text {
        "*" => Some(Test::IfPresent(true)),
        text if is_tag(text) => Some(Test::IfVersion(version(text).unwrap_or(NEVER))),
        _ => None,
    };
    match (one(IF_MATCH), one(IF_NONE_MATCH)) {
        ((None, _), (None, _)) => Ok(None),
        ((None, _), (Some("*"), false)) => Ok(Some(Test::IfAbsent(true))),
        ((Some(text), false), (None, _)) if tested(text).is_some() => Ok(tested(text)),
        ((Some(_), _), (Some(_), _)) => {
            Err(("if-none-match", "cannot be tested together with if-match"))
        }
        ((Some(_), _), (None, _)) => Err(("if-match", "must be one ETag, or *")),
        ((None, _), (Some(_), _)) => Err(("if-none-match", "of a write must be *")),
    }
}

/// The highest version there can be, which no entry will ever have: what an ETag stands for that is not
/// ours, and fits none.
const NEVER: i64 = (1 << 56) - 1;

/// Whether a text is one ETag, ours or not.
fn is_tag(text: &str) -> bool {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| !inside.contains('"'))
}

/// The version that an ETag stands for.
fn version(etag: &str) -> Option<i64> {
    let version = etag.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    version.filter(|version| (1..NEVER).contains(version))
}

async fn get(
    caller: &Caller,
    asked: Asked,
    mut arrival: Arrival,
    view: EntryView,
) -> Result<Response<Body>, Status> {
    let Asked { namespace, key, .. } = asked;
    let request = GetRequest { namespace: namespace.clone(), key, view: view.into() };
    let path = "/pykv.v1.KeyValueService/Get";
    let answer: GetResponse = caller.typed(path, &request, arrival.take_head()).await?;
    let entry = answer.entry.ok_or(Foreign::KeyNotFound { namespace })?;
    if !is_wanted(&arrival.head.headers, IF_MATCH, entry.version).unwrap_or(true) {
        return Err(Foreign::ConditionNotMet { version: Some(entry.version) }.into());
    }
    let mut response = match is_wanted(&arrival.head.headers, IF_NONE_MATCH, entry.version) {
        Some(true) => answers::empty(StatusCode::NOT_MODIFIED),
        Some(false) | None => shown(&entry, view),
    };
    describe(&entry, response.headers_mut());
    Ok(response)
}

fn shown(entry: &Entry, view: EntryView) -> Response<Body> {
    if view == EntryView::Metadata {
        // Whether it is text is not known without reading it.
        let mut response = answers::empty(StatusCode::OK);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(entry.size_bytes));
        return response;
    }
    let is_text = std::str::from_utf8(&entry.value).is_ok();
    answers::whole(StatusCode::OK, if is_text { TEXT } else { BYTES }, entry.value.clone())
}

/// Whether a list of ETags, if there is one, names this version.
fn is_wanted(headers: &HeaderMap, name: HeaderName, version_now: i64) -> Option<bool> {
    let mut lists = headers.get_all(name).iter().peekable();
    lists.peek()?;
    let mut tags = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let names = |tag: &str| {
        let tag = tag.trim();
        tag == "*" || version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version_now)
    };
    Some(tags.any(names))
}

async fn put(
    caller: &Caller,
    asked: Asked,
    mut arrival: Arrival,
) -> Result<Response<Body>, Status> {
    let Some(value) = caller.body(SET, &mut arrival, REQUEST_BYTES_MAX).await? else {
        return Err(caller.refusal(&Uri::from_static(SET), arrival.take_head()).await);
    };
    let Asked { namespace, key, expiration, condition } = asked;
    let return_previous = true;
    let request = SetRequest { namespace, key, value, expiration, condition, return_previous };
    let answer: SetResponse = caller.typed(SET, &request, arrival.take_head()).await?;
    let SetResponse { applied, entry, previous } = answer;
    if !applied {
        let version = entry.map(|entry| entry.version);
        return Err(Foreign::ConditionNotMet { version }.into());
    }
    let is_new = previous.is_none();
    let status = if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    let mut response = answers::empty(status);
    if let Some(entry) = entry {
        describe(&entry, response.headers_mut());
    }
    if is_new && let Ok(place) = HeaderValue::from_str(arrival.path()) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

async fn delete(
    caller: &Caller,
    asked: Asked,
    mut arrival: Arrival,
) -> Result<Response<Body>, Status> {
    let Asked { namespace, key, condition, .. } = asked;
    let is_conditional = condition.is_some();
    let return_previous = false;
    let request = DeleteRequest { namespace: namespace.clone(), key, condition, return_previous };
    let path = "/pykv.v1.KeyValueService/Delete";
    let answer: DeleteResponse = caller.typed(path, &request, arrival.take_head()).await?;
    match answer {
        DeleteResponse { deleted: true, .. } => Ok(answers::empty(StatusCode::NO_CONTENT)),
        DeleteResponse { entry: Some(entry), .. } => {
            Err(Foreign::ConditionNotMet { version: Some(entry.version) }.into())
        }
        // By HTTP a condition on what is not there does not hold; here it is said more plainly.
        DeleteResponse { entry: None, .. } if is_conditional => {
            Err(Foreign::ConditionNotMet { version: None }.into())
        }
        DeleteResponse { entry: None, .. } => Err(Foreign::KeyNotFound { namespace }.into()),
    }
}

/// Says of an entry what headers can.
fn describe(entry: &Entry, headers: &mut HeaderMap) {
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", entry.version)) {
        headers.insert(ETAG, etag);
    }
    let moment = entry.update_time.and_then(|time| SystemTime::try_from(time).ok());
    let moment = moment.map(httpdate::fmt_http_date);
    if let Some(moment) = moment.and_then(|moment| HeaderValue::try_from(moment).ok()) {
        headers.insert(LAST_MODIFIED, moment);
    }
    if let Some(ttl) = entry.ttl {
        let begun = i64::from(ttl.nanos > 0);
        headers.insert(TTL, HeaderValue::from(ttl.seconds.saturating_add(begun)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_path_names_a_place_before_it_is_decoded() {
        for (path, expected) in [
            ("/v1/namespaces/a/values/k", Some(("a", "k"))),
            ("/v1/namespaces/a%2Fb/values/k%2F1/", Some(("a%2Fb", "k%2F1/"))),
            ("/v1/namespaces/a/values//", Some(("a", "/"))),
            ("/v1/namespaces/a/values/", Some(("a", ""))),
            ("/v1/namespaces/a/values", None),
            ("/v1/namespaces//values/k", None),
            ("/v1/namespaces/a/entries/values/k", None),
        ] {
            let place = Place::of(path);
            let found = place.map(|place| (&path[place.namespace], &path[place.key]));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn conditions_of_a_write_are_those_the_store_can_test() {
        for (given, expected) in [
            (&[][..], Ok(None)),
            (&[("if-match", "\"7\"")], Ok(Some(Test::IfVersion(7)))),
            (&[("if-match", "*")], Ok(Some(Test::IfPresent(true)))),
            (&[("if-none-match", "*")], Ok(Some(Test::IfAbsent(true)))),
            (&[("if-none-match", "\"7\"")], Err("if-none-match")),
            (&[("if-match", "7")], Err("if-match")),
            (&[("if-match", "W/\"7\"")], Ok(Some(Test::IfVersion(NEVER)))),
            (&[("if-match", "\"0\"")], Ok(Some(Test::IfVersion(NEVER)))),
            (&[("if-match", "\"of others\"")], Ok(Some(Test::IfVersion(NEVER)))),
            (&[("if-match", "\"7\", \"8\"")], Err("if-match")),
            (&[("if-match", "\"7\""), ("if-match", "\"8\"")], Err("if-match")),
            (&[("if-match", "*"), ("if-none-match", "*")], Err("if-none-match")),
        ] {
            let found = condition(&headers(given)).map_err(|(field, _)| field);
            assert_eq!(found, expected, "{given:?}");
        }
    }

    #[test]
    fn a_reader_names_the_versions_it_has() {
        for (given, expected) in [
            (&[][..], None),
            (&[("if-none-match", "\"7\"")], Some(true)),
            (&[("if-none-match", "W/\"7\"")], Some(true)),
            (&[("if-none-match", "\"6\", \"7\"")], Some(true)),
            (&[("if-none-match", "\"6\""), ("if-none-match", "\"7\"")], Some(true)),
            (&[("if-none-match", "*")], Some(true)),
            (&[("if-none-match", "\"6\"")], Some(false)),
            (&[("if-none-match", "7")], Some(false)),
        ] {
            assert_eq!(is_wanted(&headers(given), IF_NONE_MATCH, 7), expected, "{given:?}");
        }
    }
}

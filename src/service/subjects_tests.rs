//! Every request that is one message says what it is about.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use prost::Message;
use tonic::body::Body;
use tower::Service;

use crate::model::UnixMillis;
use crate::service::access::{Callers, Directory, Doors, Gate, Openness};
use crate::service::config::tests as config;
use crate::service::{Admin, KeyValue, METHODS, Namespaces, Now, ServerFacts, Shape, StreamLimits};
use crate::store::embedded::{Embedded, unstarted};
use crate::telemetry::{self, Notes, OperationLog, Subject};
use crate::wire::v1 as wire;

use super::About;

/// Behind which everybody may do everything.
fn gate() -> Gate {
    let (callers, doors) = (Callers::Anybody, Doors::One);
    let openness = Openness { callers, allow_plaintext: true, doors };
    Gate::new(openness, Directory::default(), Arc::new(|| UnixMillis::ZERO))
}

/// Sends `message` to `path` with notes at hand, which then are handed back.
async fn call(store: &Embedded, path: &str, message: &impl Message) -> Notes {
    let mut body = vec![0; 5];
    body[1..].copy_from_slice(&u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    body.extend(message.encode_to_vec());
    let request = Request::post(path).header("content-type", "application/grpc");
    let request = request.body(Body::new(Full::new(Bytes::from(body)))).unwrap();
    let now: Now = Arc::new(|| UnixMillis::ZERO);
    let limits = StreamLimits { watches_max: 1, pipelines_max: 1 };
    let facts = ServerFacts {
        version: "0",
        build_target: "none",
        started: Instant::now(),
        started_at: UnixMillis::ZERO,
        namespaces_max: 9,
        config: Arc::new(config::source()),
    };
    let mut notes = Notes::begin(None);
    let store = store.clone();
    if path.contains("KeyValue") {
        let service = Arc::new(KeyValue::new(store, now, gate(), limits));
        answer(KeyValue::server(service), request, &mut notes).await;
    } else if path.contains("Namespace") {
        answer(Namespaces::new(store, gate()).into_server(), request, &mut notes).await;
    } else {
        answer(Admin::new(store, facts, gate()).into_server(), request, &mut notes).await;
    }
    notes
}

async fn answer<S>(mut service: S, request: Request<Body>, notes: &mut Notes)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut answer = pin!(service.call(request));
    poll_fn(|cx| notes.at_hand(|| answer.as_mut().poll(cx))).await.unwrap();
}

#[tokio::test]
async fn no_method_with_one_request_forgets_to_note_what_it_is_about() {
    let home = tempfile::tempdir().unwrap();
    // Nothing behind the checks matters here.
    let store = unstarted(home.path());
    let methods = METHODS.iter().filter(|m| matches!(m.shape, Shape::Unary | Shape::ServerStream));
    for method in methods {
        // An empty message is one of every kind.
        let notes = call(&store, method.path, &()).await;
        assert!(notes.has_subject(), "{} is logged without its subject", method.path);
    }
}

#[tokio::test]
async fn a_request_is_logged_by_what_it_is_about_however_it_ends() {
    let home = tempfile::tempdir().unwrap();
    // Nothing behind the checks matters here.
    let store = unstarted(home.path());
    let request = wire::SetRequest {
        namespace: "subjects".into(),
        key: "k".repeat(300),
        ..wire::SetRequest::default()
    };
    let mut notes = call(&store, "/pykv.v1.KeyValueService/Set", &request).await;
    let method = telemetry::method("pykv.v1.KeyValueService", "Set");
    let (now, unavailable) = (Instant::now(), 14);
    method.handled(unavailable, std::time::Duration::ZERO, now, &mut notes);
    let found = telemetry::logged_operations(OperationLog::Failed, Some("subjects"), 9);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.key.as_str(), found.keys), ("k".repeat(128).as_str(), 1));
}

#[test]
fn an_empty_name_is_the_default_namespace_where_it_means_that() {
    let check = |request: &dyn About, namespace, key, keys| {
        assert_eq!(request.subject(), Subject { namespace, key, keys });
    };
    let key = || "k".to_owned();
    check(&wire::GetRequest { key: key(), ..Default::default() }, "default", "k", 1);
    check(&wire::ClearNamespaceRequest::default(), "", "", 0);
    let keys = ["a", "b"].into_iter().collect();
    check(&wire::BatchGetRequest { keys, ..Default::default() }, "default", "", 2);
    let watch = |keys: &[&str], prefixes: &[&str]| wire::WatchRequest {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
        ..Default::default()
    };
    check(&watch(&["k"], &[]), "default", "k", 0);
    check(&watch(&[], &["user:"]), "default", "user:", 0);
    check(&watch(&["k"], &["user:"]), "default", "", 0);
}

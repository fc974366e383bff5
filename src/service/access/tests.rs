//! Who is let in, and as whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::model::UnixMillis;
use crate::service::{METHODS, Role, Scope};

const CLOSED: Openness =
    Openness { callers: Callers::Known, allow_plaintext: false, doors: Doors::One };
const GET: &str = "/pykv.v1.KeyValueService/Get";

fn line(peer: &str) -> Line<'static> {
    let peer = Some(peer.parse().unwrap());
    Line { peer, is_encrypted: false, is_certified: false, names: &[], side: Side::Public }
}

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
    headers
}

fn principal(namespaces: &[&str], role: Role) -> Principal {
    let namespaces = namespaces.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Principal { name: format!("{role}"), grants: vec![Grant { namespaces, role }] }
}

/// A token for `principal` that ends at 1000, with the entry for it.
fn token(principal: Principal) -> (Token, Listed) {
    let token = Token::mint().unwrap();
    let expires = Some(UnixMillis::from_millis(1000));
    let credential = Credential::Token { id: token.id, digest: token.digest(), expires };
    (token, Listed { credential, principal })
}

fn gate(openness: Openness, listed: Vec<Listed>) -> (Gate, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    let now = Arc::new(move || UnixMillis::from_millis(now.load(Ordering::Relaxed)));
    (Gate::new(openness, Directory::new(listed), now), clock)
}

fn reason(turned: Turned) -> (Code, String) {
    let reason = turned.status.get_details_error_info().unwrap().reason;
    (turned.status.code(), reason)
}

#[test]
fn only_the_whole_token_is_known_and_nothing_tells_how_it_is_wrong() {
    let (right, listed) = token(principal(&["acme"], Role::Reader));
    let (gate, clock) = gate(CLOSED, vec![listed]);
    let local = line("127.0.0.1");
    let good = right.secret().to_owned();
    for text in [format!("Bearer {good}"), format!("bearer {good}"), format!("BEARER  {good}")] {
        let admitted = gate.admit(GET, &headers(&text), &local).unwrap();
        assert!(matches!(admitted, Admission::Known(..)), "{text}");
    }
    let other = Token::mint().unwrap();
    let (id, secret) = (right.id, other.secret().rsplit('_').next().unwrap().to_owned());
    let mut texts = Vec::new();
    for wrong in [
        good.replace("kv1_", "kv2_"),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        other.secret().to_owned(),
        format!("kv1_{id}_{secret:A>43}"),
        String::new(),
        "kv1__".to_owned(),
        "€".to_owned(),
    ] {
        let turned = gate.admit(GET, &headers(&format!("Bearer {wrong}")), &local).unwrap_err();
        texts.push(turned.status.message().to_owned());
        assert_eq!(reason(turned), (Code::Unauthenticated, "TOKEN_INVALID".into()), "{wrong}");
    }
    let basic = gate.admit(GET, &headers(&format!("Basic {good}")), &local).unwrap_err();
    texts.push(basic.status.message().to_owned());
    clock.store(1000, Ordering::Relaxed);
    let late = gate.admit(GET, &headers(&format!("Bearer {good}")), &local).unwrap_err();
    texts.push(late.status.message().to_owned());
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let none = gate.admit(GET, &HeaderMap::new(), &local).unwrap_err();
    assert_eq!(reason(none), (Code::Unauthenticated, "TOKEN_MISSING".into()));
}

#[test]
fn a_token_shown_twice_is_no_token() {
    let (right, listed) = token(principal(&["*"], Role::Admin));
    let (gate, _) = gate(CLOSED, vec![listed]);
    let mut two = headers(&format!("Bearer {}", right.secret()));
    two.append("authorization", two["authorization"].clone());
    assert!(gate.admit(GET, &two, &line("127.0.0.1")).is_err());
}

#[test]
fn each_method_asks_for_its_role_before_it_is_known_what_it_is_about() {
    for role in [Role::Reader, Role::Writer, Role::Owner, Role::Admin] {
        for (pattern, is_whole) in [("acme", false), ("*", true)] {
            let (token, listed) = token(principal(&[pattern], role));
            let (gate, _) = gate(CLOSED, vec![listed]);
            let headers = headers(&format!("Bearer {}", token.secret()));
            for method in &METHODS {
                let expected = match method.scope {
                    Scope::Server => is_whole && role >= method.role,
                    Scope::Namespace | Scope::Namespaces => role >= method.role,
                    Scope::Messages => true,
                };
                let admitted = gate.admit(method.path, &headers, &line("127.0.0.1"));
                assert_eq!(admitted.is_ok(), expected, "{role} on {pattern}: {}", method.path);
                if let Err(turned) = admitted {
                    let expected = (Code::PermissionDenied, "ROLE_INSUFFICIENT".into());
                    assert_eq!(reason(turned), expected);
                }
            }
        }
    }
}

#[test]
fn tokens_are_not_taken_from_afar_in_plain_text() {
    let (token, listed) = token(principal(&["*"], Role::Admin));
    let (strict, _) = gate(CLOSED, vec![listed.clone()]);
    let headers = headers(&format!("Bearer {}", token.secret()));
    let far = line("192.0.2.1");
    assert!(strict.admit(GET, &headers, &far).is_err());
    assert!(strict.admit(GET, &headers, &Line { is_encrypted: true, ..far }).is_ok());
    assert!(strict.admit(GET, &headers, &line("::ffff:127.0.0.1")).is_ok());
    let (meant, _) = gate(Openness { allow_plaintext: true, ..CLOSED }, vec![listed]);
    assert!(meant.admit(GET, &headers, &far).is_ok());
}

#[test]
fn where_nobody_is_known_only_this_machine_is_served_unless_it_is_meant() {
    let (near, far) = (line("127.0.0.1"), line("192.0.2.1"));
    let shown = Line { is_certified: true, is_encrypted: true, ..far };
    let nobody = HeaderMap::new();
    for (callers, expected) in [
        (Callers::Local, [true, false, false]),
        (Callers::Certified, [true, false, true]),
        (Callers::Anybody, [true, true, true]),
    ] {
        let (gate, _) = gate(Openness { callers, ..CLOSED }, Vec::new());
        let admitted = [near, far, shown].map(|line| gate.admit(GET, &nobody, &line).is_ok());
        assert_eq!(admitted, expected, "{callers:?}");
    }
}

#[test]
fn a_certificate_makes_known_whom_it_names() {
    let names = ["other.example".to_owned(), "spiffe://x/billing".to_owned()];
    let principal = principal(&["acme"], Role::Writer);
    let credential = Credential::Certificate("spiffe://x/billing".into());
    let (gate, _) = gate(CLOSED, vec![Listed { credential, principal }]);
    let shown = Line { is_encrypted: true, is_certified: true, names: &names, ..line("192.0.2.1") };
    let Ok(Admission::Known(pass, _)) = gate.admit(GET, &HeaderMap::new(), &shown) else {
        panic!("it is known")
    };
    assert_eq!(pass.name(), Some("writer"));
    let stranger = Line { names: &names[..1], ..shown };
    let turned = gate.admit(GET, &HeaderMap::new(), &stranger).unwrap_err();
    assert_eq!(reason(turned), (Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[test]
fn what_is_for_administration_is_at_its_own_listener_where_there_is_one() {
    let two = Openness { callers: Callers::Local, doors: Doors::Two, ..CLOSED };
    let (gate, _) = gate(two, Vec::new());
    let at = |path: &str, side| {
        gate.admit(path, &HeaderMap::new(), &Line { side, ..line("127.0.0.1") }).is_ok()
    };
    for (path, public, admin) in [
        (GET, true, false),
        ("/pykv.v1.AdminService/GetStats", false, true),
        ("/metrics", false, true),
        ("/grpc.health.v1.Health/Check", true, true),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", false, true),
    ] {
        assert_eq!((at(path, Side::Public), at(path, Side::Admin)), (public, admin), "{path}");
    }
}

#[test]
fn who_guesses_waits() {
    let (gate, _) = gate(CLOSED, Vec::new());
    let guess = headers("Bearer kv1_x_y");
    let far = Line { is_encrypted: true, ..line("192.0.2.1") };
    let delays = (0..50).map(|_| gate.admit(GET, &guess, &far).unwrap_err().delay);
    assert!(delays.filter(|delay| *delay > Duration::ZERO).count() >= 30);
    let missing = gate.admit(GET, &HeaderMap::new(), &far).unwrap_err();
    assert_eq!(missing.delay, Duration::ZERO, "who shows nothing guesses nothing");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_taken_back_narrowed_or_over() {
    let path = "/pykv.v1.KeyValueService/Watch";
    let (token, listed) = token(principal(&["acme", "b-*"], Role::Writer));
    let headers = headers(&format!("Bearer {}", token.secret()));
    let changed = |principal| Listed { principal, ..listed.clone() };
    let wider = principal(&["acme", "b-*", "c"], Role::Owner);
    for (becomes, expected) in [
        (Vec::new(), Some(Code::Unauthenticated)),
        (vec![changed(principal(&["acme"], Role::Writer))], Some(Code::PermissionDenied)),
        (vec![changed(principal(&["acme", "b-*"], Role::Reader))], Some(Code::PermissionDenied)),
        (vec![changed(wider)], None),
        (vec![listed.clone()], None),
    ] {
        let (gate, clock) = gate(CLOSED, vec![listed.clone()]);
        let admitted = gate.admit(path, &headers, &line("127.0.0.1")).unwrap();
        let Admission::Known(_, Some(lease)) = admitted else { panic!("a stream has a lease") };
        gate.replace(Directory::new(becomes));
        let ended = lease.ending().now_or_never();
        assert_eq!(ended.map(|status| status.code()), expected);
        clock.store(1000, Ordering::Relaxed);
        assert!(lease.ending().now_or_never().is_some(), "its time is over");
    }
}

#[tokio::test]
async fn a_stream_that_waits_hears_at_once_that_its_token_is_taken_back() {
    let (token, listed) = token(principal(&["acme"], Role::Reader));
    let (gate, _) = gate(CLOSED, vec![listed]);
    let headers = headers(&format!("Bearer {}", token.secret()));
    let watch = "/pykv.v1.KeyValueService/Watch";
    let admitted = gate.admit(watch, &headers, &line("127.0.0.1")).unwrap();
    let Admission::Known(_, Some(lease)) = admitted else { panic!("a stream has a lease") };
    let mut ending = std::pin::pin!(lease.ending());
    assert!(ending.as_mut().now_or_never().is_none());
    gate.replace(Directory::default());
    assert_eq!(ending.now_or_never().unwrap().code(), Code::Unauthenticated);
}

#[test]
fn a_request_without_a_pass_is_refused_where_one_is_needed() {
    let (closed, _) = gate(CLOSED, Vec::new());
    assert_eq!(closed.pass(&http::Extensions::new()).unwrap_err().code(), Code::Unauthenticated);
    let (open, _) = gate(Openness { callers: Callers::Local, ..CLOSED }, Vec::new());
    assert!(open.pass(&http::Extensions::new()).is_ok());
}

//! What stands before every call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use parking_lot::RwLock;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::directory::{Directory, Shown};
use super::lease::Lease;
use super::pass::Pass;
use super::principal::Principal;
use super::slowing::Slowing;
use crate::service::status::Failure;
use crate::service::{Method, Now, Role, Scope, Shape, method};
use crate::wire::v1::ErrorReason;

/// How the paths begin of what everybody may ask: whether the server is well, and what its schema is.
const PUBLIC: [&str; 5] = [
    "/grpc.health.v1.Health/",
    "/livez",
    "/readyz",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];
/// Paths that belong to the listener for administration, where there is one.
const ADMINISTRATION: [&str; 4] = ["/pykv.v1.AdminService/", PUBLIC[3], PUBLIC[4], METRICS];
/// Paths that both listeners serve.
const BOTH: [&str; 3] = [PUBLIC[0], PUBLIC[1], PUBLIC[2]];
/// The one route that is no call and not for everybody: it names namespaces.
const METRICS: &str = "/metrics";

/// As much of a name as an answer repeats.
const NAME_CHARS_MAX: usize = 128;

/// Which listener a call came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That for everybody.
    Public,
    /// That for administration.
    Admin,
}

/// How many listeners there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doors {
    /// One, which serves everything.
    One,
    /// Another one for administration.
    Two,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Those who are known, with what they were granted.
    Known,
    /// Those on this machine, who may do everything.
    Local,
    /// The same, and those who show a certificate.
    Certified,
    /// Anybody, who may do everything.
    Anybody,
}

/// What the gate goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Openness {
    /// Who is let in.
    pub callers: Callers,
    /// Whether tokens are taken from other machines over connections that are not encrypted.
    pub allow_plaintext: bool,
    /// The listeners.
    pub doors: Doors,
}

/// What a call came by.
#[derive(Clone, Copy, Debug)]
pub struct Line<'l> {
    /// The address at the other end.
    pub peer: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the other end has shown a certificate, which was verified.
    pub is_certified: bool,
    /// DNS names and URIs in that certificate.
    pub names: &'l [String],
    /// The listener.
    pub side: Side,
}

impl Line<'_> {
    fn is_local(&self) -> bool {
        self.peer.is_some_and(|peer| peer.to_canonical().is_loopback())
    }
}

/// Lets a call in.
#[derive(Debug)]
pub enum Admission {
    /// Nothing is asked of this caller, or of anybody for this.
    Free,
    /// He is known and has the role somewhere; a stream goes on as long as the lease.
    Known(Pass, Option<Lease>),
}

/// Turns a call away.
#[derive(Debug)]
pub struct Turned {
    /// How its answer ends.
    pub status: Box<Status>,
    /// How long that should wait.
    pub delay: Duration,
}

/// Why a call is turned away.
struct Refusal {
    failure: Box<Failure>,
    /// Whether credentials were shown that nobody knows.
    is_unknown: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure: Box::new(failure), is_unknown: false }
    }
}

/// Stands before every call. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    openness: Openness,
    now: Now,
    directory: RwLock<Directory>,
    changes: watch::Sender<()>,
    slowing: Slowing,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("openness", &self.0.openness).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate for those in `directory`; `now` tells when tokens end.
    pub fn new(openness: Openness, directory: Directory, now: Now) -> Gate {
        let (directory, slowing) = (RwLock::new(directory), Slowing::new());
        let changes = watch::Sender::new(());
        Gate(Arc::new(Inner { openness, now, directory, changes, slowing }))
    }

    /// Knows these from now on, and nobody else. Streams of others end.
    pub fn replace(&self, directory: Directory) {
        *self.0.directory.write() = directory;
        self.0.changes.send_replace(());
    }

    /// Lets a call of `path` in, or turns it away. What it is about is not known yet.
    ///
    /// Errors: nobody, or somebody unknown; the role is not granted on anything; the path belongs to
    /// the other listener.
    pub fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        line: &Line<'_>,
    ) -> Result<Admission, Turned> {
        self.weigh(path, headers, line).map_err(|Refusal { failure, is_unknown }| {
            let slowing = &self.0.slowing;
            let delay = if is_unknown { slowing.failed(line.peer) } else { Duration::ZERO };
            Turned { status: Box::new(failure.into_status()), delay }
        })
    }

    /// Whether [`Self::admit`] would let it in. Counts for nothing.
    ///
    /// Errors: why not.
    pub fn admits(
        &self,
        path: &str,
        headers: &HeaderMap,
        line: &Line<'_>,
    ) -> Result<(), Box<Status>> {
        let weighed = self.weigh(path, headers, line);
        weighed.map(drop).map_err(|refusal| Box::new(refusal.failure.into_status()))
    }

    fn weigh(
        &self,
        path: &str,
        headers: &HeaderMap,
        line: &Line<'_>,
    ) -> Result<Admission, Refusal> {
        let openness = &self.0.openness;
        if openness.doors == Doors::Two && !is_served(path, line.side) {
            return Err(elsewhere(line.side).into());
        }
        if PUBLIC.iter().any(|begin| path.starts_with(begin))
            || (path == METRICS && line.side == Side::Admin)
        {
            return Ok(Admission::Free);
        }
        let is_welcome = match openness.callers {
            Callers::Known => None,
            Callers::Local => Some(line.is_local()),
            Callers::Certified => Some(line.is_local() || line.is_certified),
            Callers::Anybody => Some(true),
        };
        match is_welcome {
            Some(true) => return Ok(Admission::Free),
            Some(false) => return Err(stranger().into()),
            None => {}
        }
        let (principal, shown) = self.recognise(headers, line)?;
        let Some(method) = method(path) else {
            let is_metrics = path == METRICS;
            return match is_metrics && principal.role_on_server() < Some(Role::Admin) {
                true => Err(insufficient(Role::Admin, None).into()),
                // Nothing is there to be protected.
                false => Ok(Admission::Free),
            };
        };
        if !may_begin(method, &principal) {
            return Err(insufficient(method.role, None).into());
        }
        let streams = method.shape != Shape::Unary;
        let lease = streams.then(|| Lease::new(self.clone(), shown, Arc::clone(&principal)));
        Ok(Admission::Known(Pass::new(principal, method), lease))
    }

    /// The pass that a call was let in with.
    ///
    /// Errors: it has none, although it should: whoever made it did not ask here.
    pub(in crate::service) fn pass(&self, extensions: &Extensions) -> Result<Pass, Status> {
        if self.0.openness.callers != Callers::Known {
            return Ok(Pass::everybody());
        }
        let pass = extensions.get::<Pass>().cloned();
        pass.ok_or_else(|| missing().into_status())
    }

    fn recognise(
        &self,
        headers: &HeaderMap,
        line: &Line<'_>,
    ) -> Result<(Arc<Principal>, Shown), Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let found = match (given.next(), given.next()) {
            (None, _) if line.names.is_empty() => return Err(missing().into()),
            (None, _) => self.0.directory.read().by_certificate(line.names),
            (Some(_), _) if !self.takes_tokens_over(line) => return Err(over_plaintext().into()),
            (Some(only), None) => match bearer(only.as_bytes()) {
                Some(token) => self.0.directory.read().by_token(token, (self.0.now)()),
                None => None,
            },
            (Some(_), Some(_)) => None,
        };
        found.ok_or_else(|| Refusal { is_unknown: true, ..unknown().into() })
    }

    fn takes_tokens_over(&self, line: &Line<'_>) -> bool {
        line.is_encrypted || line.is_local() || self.0.openness.allow_plaintext
    }

    /// Why who was `principal` by `shown` may not go on.
    pub(super) fn verdict(&self, shown: &Shown, principal: &Principal) -> Option<Status> {
        let directory = self.0.directory.read();
        match directory.again(shown, (self.0.now)()) {
            None => Some(unknown().into_status()),
            Some(now) if !now.covers(principal) => Some(narrowed().into_status()),
            Some(_) => None,
        }
    }

    /// Tells when the directory changes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}

fn is_served(path: &str, side: Side) -> bool {
    let is_administration = ADMINISTRATION.iter().any(|begin| path.starts_with(begin));
    match side {
        Side::Public => !is_administration,
        Side::Admin => is_administration || BOTH.iter().any(|begin| path.starts_with(begin)),
    }
}

/// Whether it may be that the call is allowed, as long as what it is about is not known.
fn may_begin(method: &Method, principal: &Principal) -> bool {
    match method.scope {
        Scope::Server => principal.role_on_server() >= Some(method.role),
        Scope::Namespace | Scope::Namespaces => principal.role_anywhere() >= Some(method.role),
        Scope::Messages => principal.role_anywhere().is_some(),
    }
}

/// The token in a header `Authorization`.
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn missing() -> Failure {
    let text = "this server must know who calls: send \"authorization: Bearer TOKEN\"";
    Failure::new(Code::Unauthenticated, ErrorReason::TokenMissing, text)
}

/// One answer for all that is wrong with credentials: which it was is not for strangers.
fn unknown() -> Failure {
    let text = "these credentials are not known, or not valid any more";
    Failure::new(Code::Unauthenticated, ErrorReason::TokenInvalid, text)
}

fn over_plaintext() -> Failure {
    let text = "tokens are taken over TLS only: everybody on the way can read them here";
    Failure::new(Code::Unauthenticated, ErrorReason::TokenInvalid, text)
}

fn stranger() -> Failure {
    let text = "this server knows nobody, so it serves its own machine only";
    Failure::new(Code::Unauthenticated, ErrorReason::TokenMissing, text)
}

fn narrowed() -> Failure {
    let text = "the caller's roles have changed: call again";
    Failure::new(Code::PermissionDenied, ErrorReason::RoleInsufficient, text)
}

fn elsewhere(side: Side) -> Failure {
    let text = match side {
        Side::Public => "this is served at the listener for administration only",
        Side::Admin => "this listener is for administration only",
    };
    Failure::new(Code::Unimplemented, ErrorReason::Unsupported, text).with("feature", "listener")
}

/// What a caller hears without the role, whether or not the namespace exists.
pub(super) fn insufficient(role: Role, namespace: Option<&str>) -> Failure {
    // It may be no name at all, and of any length.
    let namespace = namespace.map(|name| name.chars().take(NAME_CHARS_MAX).collect::<String>());
    let place = match &namespace {
        Some(namespace) => format!(" on namespace {namespace:?}"),
        None => String::new(),
    };
    let text = format!("this needs the role {role}{place}");
    let failure = Failure::new(Code::PermissionDenied, ErrorReason::RoleInsufficient, text);
    let failure = failure.with("required_role", role);
    match namespace {
        Some(namespace) => failure.with("namespace", namespace),
        None => failure,
    }
}

//! What a call was let in with, and the one place where its request is held against it.

use std::sync::Arc;

use tonic::{Request, Status};

use super::gate::{Gate, insufficient};
use super::principal::Principal;
use crate::service::subjects::About;
use crate::service::{Method, Role, Scope};
use crate::telemetry;

/// Who calls, and what. Travels among the extensions of a request.
#[derive(Clone, Debug)]
pub struct Pass(
    /// None where everybody may do everything.
    Option<Arc<Known>>,
);

#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    method: &'static Method,
}

impl Pass {
    pub(super) fn new(principal: Arc<Principal>, method: &'static Method) -> Pass {
        Pass(Some(Arc::new(Known { principal, method })))
    }

    pub(super) fn everybody() -> Pass {
        Pass(None)
    }

    /// The path of the call it was given for; none where it is good for all.
    #[must_use]
    pub fn path(&self) -> Option<&'static str> {
        self.0.as_ref().map(|known| known.method.path)
    }

    /// Who it is.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|known| known.principal.name.as_str())
    }

    /// Whether the caller has `role` on a namespace.
    pub(in crate::service) fn allows(&self, role: Role, namespace: &str) -> bool {
        let known = self.0.as_ref();
        known.is_none_or(|known| known.principal.role_on(namespace) >= Some(role))
    }

    /// Errors: the caller does not have `role` on a namespace.
    pub(in crate::service) fn check(&self, role: Role, namespace: &str) -> Result<(), Status> {
        match self.allows(role, namespace) {
            true => Ok(()),
            false => Err(insufficient(role, Some(namespace)).into_status()),
        }
    }

    /// Errors: the caller does not have `role` on the server as a whole.
    pub(in crate::service) fn check_on_server(&self, role: Role) -> Result<(), Status> {
        let known = self.0.as_ref();
        match known.is_none_or(|known| known.principal.role_on_server() >= Some(role)) {
            true => Ok(()),
            false => Err(insufficient(role, None).into_status()),
        }
    }

    /// Errors: the caller may not do what he was let in for to this namespace. What is about several
    /// is not decided here.
    fn check_subject(&self, namespace: &str) -> Result<(), Status> {
        let Some(known) = &self.0 else { return Ok(()) };
        match known.method.scope {
            Scope::Namespace => self.check(known.method.role, namespace),
            // The gate has asked for the whole server.
            Scope::Server | Scope::Namespaces | Scope::Messages => Ok(()),
        }
    }
}

/// The message of a request, after noting what it is about, and only if its caller may do that. Every
/// request that is one message is taken out by this or by [`admitted_with`].
///
/// Errors: he may not.
pub(in crate::service) fn admitted<T: About>(
    gate: &Gate,
    request: Request<T>,
) -> Result<T, Status> {
    admitted_with(gate, request).map(|(message, _)| message)
}

/// As [`admitted`], for what is about several namespaces: with the pass to hold each of them against.
pub(in crate::service) fn admitted_with<T: About>(
    gate: &Gate,
    request: Request<T>,
) -> Result<(T, Pass), Status> {
    let pass = gate.pass(request.extensions())?;
    let message = request.into_inner();
    let subject = message.subject();
    telemetry::note_subject(subject);
    pass.check_subject(subject.namespace)?;
    Ok((message, pass))
}

//! The gate of the services before the calls of the server.

use std::future::Future;
use std::pin::Pin;

use http::{HeaderMap, Request};
use tonic::Status;
use tonic::body::Body;

use crate::server::{self, Gatekeeper, Turned};
use crate::service::access::{self, Admission, Gate};

/// The gate, asked as the server asks.
#[derive(Clone, Debug)]
pub(super) struct Keeper(pub(super) Gate);

struct Lease(access::Lease);

impl Gatekeeper for Keeper {
    fn admit(
        &self,
        request: &mut Request<Body>,
        line: &server::Line,
    ) -> Result<Option<Box<dyn server::Lease>>, Turned> {
        match self.0.admit(request.uri().path(), request.headers(), &as_gate_sees(line)) {
            Ok(Admission::Free) => Ok(None),
            Ok(Admission::Known(pass, lease)) => {
                request.extensions_mut().insert(pass);
                Ok(lease.map(|lease| Box::new(Lease(lease)) as Box<dyn server::Lease>))
            }
            Err(access::Turned { status, delay }) => Err(Turned { status, delay }),
        }
    }

    fn admits(
        &self,
        path: &str,
        headers: &HeaderMap,
        line: &server::Line,
    ) -> Result<(), Box<Status>> {
        self.0.admits(path, headers, &as_gate_sees(line))
    }
}

impl server::Lease for Lease {
    fn ended(&mut self) -> Option<Status> {
        self.0.ended()
    }

    fn ending(&self) -> Pin<Box<dyn Future<Output = Status> + Send>> {
        Box::pin(self.0.ending())
    }
}

fn as_gate_sees(line: &server::Line) -> access::Line<'_> {
    let server::Line { peer, side, is_encrypted, is_certified, names } = line;
    access::Line {
        peer: peer.map(|peer| peer.ip()),
        is_encrypted: *is_encrypted,
        is_certified: *is_certified,
        names,
        side: match side {
            server::Side::Public => access::Side::Public,
            server::Side::Admin => access::Side::Admin,
        },
    }
}

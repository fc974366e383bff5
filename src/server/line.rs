//! What is known of a connection: where it comes from, and by which listener.

use std::net::SocketAddr;
use std::sync::Arc;

/// Which listener a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That for everybody.
    Public,
    /// That for administration.
    Admin,
}

/// What is known of a connection. A request that is no gRPC call has it among its extensions, in an
/// [`Arc`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The address at the other end.
    pub peer: Option<SocketAddr>,
    /// The listener.
    pub side: Side,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
    /// Whether the other end has shown a certificate, which was verified.
    pub is_certified: bool,
    /// DNS names and URIs in that certificate.
    pub names: Vec<String>,
}

impl Line {
    /// That of a call nobody knows anything of.
    pub(super) fn unknown() -> Arc<Line> {
        Arc::new(Line {
            peer: None,
            side: Side::Public,
            is_encrypted: false,
            is_certified: false,
            names: Vec::new(),
        })
    }
}

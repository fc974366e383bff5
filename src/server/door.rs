//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::line::Side;
use super::tls::Tls;

/// A socket that listens, and what is special about it.
#[derive(Debug)]
pub struct Listening {
    /// From [`bind`].
    pub listener: TcpListener,
    /// Whom it is for.
    pub side: Side,
    /// How its connections are encrypted, if they are.
    pub tls: Option<Tls>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Listens on an address. Port 0 takes a free one.
///
/// Errors: it cannot be had.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let error = |source| BindError { address, source };
    // The standard library sets SO_REUSEADDR, so a restart does not wait for old connections.
    let listener = TcpListener::bind(address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

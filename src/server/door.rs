//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

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

/// Listens on every address. Port 0 takes a free one.
///
/// Errors: the first address that cannot be had; those before it are closed again.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    addresses.iter().map(|address| listen(*address)).collect()
}

fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let error = |source| BindError { address, source };
    // The standard library sets SO_REUSEADDR, so a restart does not wait for old connections.
    let listener = TcpListener::bind(address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

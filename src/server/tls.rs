//! Encrypted connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// What is spoken over an encrypted connection, the better one first.
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate and the rules of a listener, which may be others from one connection to the next.
/// Clones are the same.
#[derive(Clone, Debug)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// With this configuration.
    #[must_use]
    pub fn new(config: ServerConfig) -> Tls {
        Tls(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// From the next connection on, with that one.
    pub fn replace(&self, config: ServerConfig) {
        *self.0.write() = Arc::new(config);
    }

    /// Agrees with the peer of `socket` on how to encrypt. With the names in its certificate, if it has
    /// shown one.
    ///
    /// Errors: it wants something else, has no certificate that it must have, or takes too long.
    pub(super) async fn agree(
        &self,
        socket: TcpStream,
        patience: Duration,
    ) -> io::Result<(Socket, Option<Vec<String>>)> {
        let config = Arc::clone(&self.0.read());
        let agreed = timeout(patience, TlsAcceptor::from(config).accept(socket)).await;
        let stream = agreed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let certificates = stream.get_ref().1.peer_certificates();
        let names = certificates.and_then(<[_]>::first).map(names);
        Ok((Socket::Encrypted(Box::new(stream)), names))
    }
}

/// The DNS names and URIs that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let (dns, uris) = (certificate.valid_dns_names(), certificate.valid_uri_names());
    dns.chain(uris).map(str::to_owned).collect()
}

/// A socket, encrypted or not.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Encrypted(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Encrypted(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Encrypted(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Encrypted(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

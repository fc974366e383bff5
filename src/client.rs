//! Dials a server and hands out the generated stubs of its services.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;

use crate::wire::v1::admin_service_client::AdminServiceClient;
use crate::wire::v1::key_value_service_client::KeyValueServiceClient;
use crate::wire::v1::namespace_service_client::NamespaceServiceClient;

/// Largest response that is read: the server sends at most 4 MiB, the rest is for its wrapping.
const RESPONSE_BYTES_MAX: usize = 5 << 20;

/// What the server may send unread, on a stream and on the connection: enough that a stream of large
/// messages never waits for word that it may go on.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Least time between two questions whether the server is still there.
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address cannot be one.
    #[error(
        "{server:?} is not the address of a server; it looks like http://127.0.0.1:8000 or https://kv.example"
    )]
    Address {
        /// As given.
        server: String,
    },
    /// The token cannot be one.
    #[error("the token has characters that no token has")]
    Token,
    /// The certificates cannot be used.
    #[error("the certificates cannot be used: they must be in PEM")]
    Certificates,
    /// Nobody answers there.
    #[error("cannot reach {server}")]
    Unreachable {
        /// As given.
        server: String,
        /// What came of the attempt.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A connection to a server. A clone shares it.
#[derive(Clone, Debug)]
pub struct Client {
    wire: Wire,
    timeout: Duration,
}

/// What a client shows, and whom it trusts.
#[derive(Clone, Default)]
pub struct Identity {
    /// A token, sent with every call.
    pub token: Option<String>,
    /// Authorities for the server's certificate, in PEM; those of the system unless these are given.
    pub authorities: Option<Vec<u8>>,
    /// The client's own certificates and their key, in PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Puts the token into each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn of(token: Option<&str>) -> Result<Bearer, DialError> {
        let header = |token: &str| {
            let header = MetadataValue::try_from(format!("Bearer {token}"));
            header.map_err(|_| DialError::Token).map(|mut header| {
                header.set_sensitive(true);
                header
            })
        };
        token.map(header).transpose().map(Bearer)
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// What calls go through.
pub type Wire = InterceptedService<Channel, Bearer>;

impl Client {
    /// Connects to `server`: `http://HOST:PORT`, `HOST:PORT`, or `https://HOST:PORT` for an encrypted
    /// connection. The attempt, and later each call of [`Client::request`], may take `timeout`; a
    /// server that does not show for that long in the middle of a call is taken for gone.
    ///
    /// # Errors
    /// The address is none, or nobody answers there in time.
    pub async fn dial(
        server: &str,
        identity: &Identity,
        timeout: Duration,
    ) -> Result<Client, DialError> {
        let address = || DialError::Address { server: server.to_owned() };
        let uri = match server.split_once("://") {
            None => format!("http://{server}"),
            Some(("http" | "https", rest)) if !rest.is_empty() => server.to_owned(),
            Some(_) => return Err(address()),
        };
        let bearer = Bearer::of(identity.token.as_deref())?;
        let is_encrypted = uri.starts_with("https://");
        let endpoint = Endpoint::from_shared(uri)
            .and_then(|endpoint| endpoint.user_agent(concat!("pykv/", env!("CARGO_PKG_VERSION"))))
            .map_err(|_| address())?;
        let endpoint = match is_encrypted {
            false => endpoint,
            true => {
                endpoint.tls_config(encryption(identity)).map_err(|_| DialError::Certificates)?
            }
        };
        let unreachable = |source| DialError::Unreachable { server: server.to_owned(), source };
        let channel = endpoint
            .connect_timeout(timeout)
            .http2_keep_alive_interval(timeout.max(KEEPALIVE_MIN))
            .keep_alive_timeout(timeout.max(KEEPALIVE_MIN))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(unreachable)?;
        Ok(Client { wire: InterceptedService::new(channel, bearer), timeout })
    }

    /// `message` as a request that tells the server how long its answer is waited for, and gives up
    /// then. Calls that stream take as long as they take, and begin without this.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// How long an answer is waited for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The stub of `KeyValueService`.
    pub fn key_value(&self) -> KeyValueServiceClient<Wire> {
        KeyValueServiceClient::new(self.wire.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `NamespaceService`.
    pub fn namespaces(&self) -> NamespaceServiceClient<Wire> {
        NamespaceServiceClient::new(self.wire.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `AdminService`.
    pub fn admin(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `grpc.health.v1.Health`.
    pub fn health(&self) -> HealthClient<Wire> {
        HealthClient::new(self.wire.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }
}

fn encryption(identity: &Identity) -> ClientTlsConfig {
    let config = match &identity.authorities {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &identity.certificate {
        Some((certificate, key)) => {
            config.identity(transport::Identity::from_pem(certificate, key))
        }
        None => config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(server: &str) -> DialError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (nobody, patience) = (Identity::default(), Duration::from_secs(5));
        runtime.block_on(Client::dial(server, &nobody, patience)).unwrap_err()
    }

    #[test]
    fn an_address_that_is_none_is_told_apart_from_a_server_that_is_not_there() {
        for server in ["", "http://", "https://", "ftp://x", "a b", "http://a b"] {
            assert!(matches!(dialled(server), DialError::Address { .. }), "{server:?}");
        }
        // The port of a socket that is closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for server in [format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}")] {
            assert!(matches!(dialled(&server), DialError::Unreachable { .. }), "{server:?}");
        }
    }
}

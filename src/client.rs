//! Dials a server and hands out the generated stubs of its services.

use std::time::Duration;

use tonic::Request;
use tonic::transport::{Channel, Endpoint};
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
    #[error("{server:?} is not the address of a server; it looks like http://127.0.0.1:8000")]
    Address {
        /// As given.
        server: String,
    },
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
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// Connects to `server`, `http://HOST:PORT` or `HOST:PORT`. The attempt, and later each call of
    /// [`Client::request`], may take `timeout`; a server that does not show for that long in the
    /// middle of a call is taken for gone.
    ///
    /// # Errors
    /// The address is none, or nobody answers there in time.
    pub async fn dial(server: &str, timeout: Duration) -> Result<Client, DialError> {
        let address = || DialError::Address { server: server.to_owned() };
        let uri = match server.split_once("://") {
            None => format!("http://{server}"),
            Some(("http", rest)) if !rest.is_empty() => server.to_owned(),
            // There is no TLS here: to go on in plain text would be worse than to refuse.
            Some(_) => return Err(address()),
        };
        let endpoint = Endpoint::from_shared(uri)
            .and_then(|endpoint| endpoint.user_agent(concat!("pykv/", env!("CARGO_PKG_VERSION"))))
            .map_err(|_| address())?;
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
        Ok(Client { channel, timeout })
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
    pub fn key_value(&self) -> KeyValueServiceClient<Channel> {
        KeyValueServiceClient::new(self.channel.clone())
            .max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `NamespaceService`.
    pub fn namespaces(&self) -> NamespaceServiceClient<Channel> {
        NamespaceServiceClient::new(self.channel.clone())
            .max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `AdminService`.
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The stub of `grpc.health.v1.Health`.
    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(server: &str) -> DialError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Client::dial(server, Duration::from_secs(5))).unwrap_err()
    }

    #[test]
    fn an_address_that_is_none_is_told_apart_from_a_server_that_is_not_there() {
        for server in ["", "http://", "https://127.0.0.1:8000", "ftp://x", "a b", "http://a b"] {
            assert!(matches!(dialled(server), DialError::Address { .. }), "{server:?}");
        }
        // The port of a socket that is closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for server in [format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}")] {
            assert!(matches!(dialled(&server), DialError::Unreachable { .. }), "{server:?}");
        }
    }
}

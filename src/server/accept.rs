//! Accepting: one thread takes connections and deals them to the workers in turn.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::door::Listening;
use super::limits::Limits;
use super::line::Side;
use super::tls::Tls;
use crate::telemetry::{descriptors_max, metrics};

/// Pause after a failed accept. When descriptors have run out, trying again at once spins.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Descriptors that are not for connections: the log, the listeners, the runtimes.
const DESCRIPTORS_SPARE: usize = 128;

/// Sockets that may wait for a worker.
pub(super) const WAITING_MAX: usize = 128;

/// A connection on its way to a worker.
pub(super) struct Arrival {
    pub(super) socket: std::net::TcpStream,
    pub(super) side: Side,
    pub(super) tls: Option<Tls>,
    pub(super) place: Place,
}

/// Counts connections, over all and by address.
#[derive(Debug)]
pub(super) struct Places {
    limits: Arc<Limits>,
    connections_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: AHashMap<IpAddr, usize>,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// Places for as many connections as the limits say and the descriptors allow.
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let descriptors = descriptors_max().and_then(|max| usize::try_from(max).ok());
        let possible = descriptors.unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_SPARE).max(1);
        let connections_max = limits.connections_max.min(possible);
        if connections_max < limits.connections_max {
            tracing::warn!(
                wanted = limits.connections_max,
                possible = connections_max,
                "the limit of open files allows fewer connections than configured"
            );
        }
        Self { limits, connections_max, taken: Mutex::default() }
    }

    /// A place for a connection from `address`, unless a limit is reached.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.taken.lock();
        if taken.total >= self.connections_max {
            return None;
        }
        let limited = self.limits.limit_loopback || !address.is_loopback();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if limited && here >= self.limits.connections_per_address_max {
            return None;
        }
        taken.by_address.insert(address, here + 1);
        taken.total += 1;
        Some(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.total -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Accepts until the task is dropped.
pub(super) async fn accept(
    Listening { listener, side, tls }: Listening,
    workers: Vec<mpsc::Sender<Arrival>>,
    places: Arc<Places>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return tracing::error!("a listener cannot be waited for");
    };
    let mut next = 0;
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        match arrive(socket, peer, &places) {
            Ok(Some((socket, place))) => {
                let arrival = Arrival { socket, side, tls: tls.clone(), place };
                deal(arrival, &workers, &mut next);
            }
            Ok(None) => metrics::connection_refused(),
            Err(error) => tracing::debug!(%error, "a connection was gone before it was served"),
        }
    }
}

fn arrive(
    socket: TcpStream,
    peer: SocketAddr,
    places: &Arc<Places>,
) -> io::Result<Option<(std::net::TcpStream, Place)>> {
    let Some(place) = places.take(peer.ip()) else { return Ok(None) };
    // Without this a reply of several segments waits for a delayed acknowledgement, 40 ms.
    socket.set_nodelay(true)?;
    Ok(Some((socket.into_std()?, place)))
}

/// Gives the connection to the next worker that has room for it; closes it if none has.
fn deal(mut arrival: Arrival, workers: &[mpsc::Sender<Arrival>], next: &mut usize) {
    for _ in workers {
        let worker = &workers[*next % workers.len()];
        *next = next.wrapping_add(1);
        match worker.try_send(arrival) {
            Ok(()) => return metrics::connection_accepted(),
            Err(
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
            ) => {
                arrival = back;
            }
        }
    }
    metrics::connection_refused();
}

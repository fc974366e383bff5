//! A worker: one thread with a runtime of its own and the connections dealt to it.

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::accept::Arrival;
use super::calls::Handler;
use super::connection::Host;
use super::readiness::{Phase, Pulse, TICK};

/// Serves what arrives until the server stops, or drains and every connection has ended.
pub(super) async fn work<S: Handler, W: Handler>(
    host: Host<S, W>,
    mut arrivals: mpsc::Receiver<Arrival>,
    pulse: Pulse,
) {
    let readiness = host.readiness.clone();
    let mut stopped = std::pin::pin!(readiness.reached(Phase::Stopped));
    let mut draining = std::pin::pin!(readiness.reached(Phase::Draining));
    let mut connections = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    let mut arriving = true;
    while arriving || !connections.is_empty() {
        tokio::select! {
            () = &mut stopped => break,
            () = &mut draining, if arriving => arriving = false,
            arrival = arrivals.recv(), if arriving => match arrival {
                Some(arrival) => admit(&mut connections, &host, arrival),
                None => arriving = false,
            },
            Some(_) = connections.join_next() => {}
            _ = ticks.tick() => pulse.beat(),
        }
    }
    // Dropping the set cuts what is left.
}

fn admit<S: Handler, W: Handler>(
    connections: &mut JoinSet<()>,
    host: &Host<S, W>,
    arrival: Arrival,
) {
    let Arrival { socket, side, tls, place } = arrival;
    match TcpStream::from_std(socket) {
        Ok(socket) => {
            let host = host.clone();
            connections.spawn(async move {
                host.serve(socket, side, tls).await;
                drop(place);
            });
        }
        Err(error) => tracing::warn!(%error, "cannot serve a connection"),
    }
}

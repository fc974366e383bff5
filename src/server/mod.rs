//! Sockets: from an accepted connection to a request for the services, and back.
//!
//! # How it works
//! [`run()`] starts one thread per worker, each with a runtime of its own, and one that accepts and
//! deals sockets to them in turn. A worker serves a connection with hyper over a [`cork`], which
//! turns many small writes into one; the connections of a worker share its thread in [`turns`]. Around
//! the services lie the [`routes`] the server answers itself and the [`calls`] that count, limit in
//! time and survive what the services do; before each of them a [`Gatekeeper`] is asked. What is no gRPC call goes to the one who was given to
//! [`run()`] for that; he may make calls of it.
//!
//! # Why
//! The accept loop that comes with tonic leaves streams unlimited and silent connections open, spins
//! when descriptors run out, answers CANCELLED for deadlines and waits for open streams for ever. A
//! scheduler that moves tasks between threads doubles the cost of a small call.
//!
//! # Invariants
//! Nothing waits without a bound: not a connection for its first bytes, not a write for its reader,
//! not a call for its answer, not the end for open streams. Every gRPC call is answered with a status.
//!
//! # Not here
//! What a call means: `service`. Other forms of calls: `gateway`. What is measured: `telemetry`. Who composes it all: `app`.

mod accept;
mod answers;
mod budget;
mod calls;
mod connection;
mod cork;
mod door;
mod gatekeeper;
mod guard;
pub mod health;
mod lane;
mod limits;
mod line;
mod readiness;
mod received;
mod reply;
mod routes;
mod run;
mod tls;
mod turns;
mod worker;

#[cfg(test)]
mod tests;

pub use calls::{Calls, Handler};
pub use door::{BindError, Listening, bind};
pub use gatekeeper::{Gatekeeper, Lease, Turned};
pub use limits::Limits;
pub use line::{Line, Side};
pub use readiness::Readiness;
pub use reply::Reply;
pub use run::{RunError, Server, run, signals};
pub use tls::{PROTOCOLS, Tls};

//! Promises of the server, over real sockets.

mod abuse;
mod kit;
mod lifecycle;
mod logged;
mod turns;
mod wire;

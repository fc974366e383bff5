//! PyKV: a durable, multi-tenant, in-memory key-value service over gRPC.
//!
//! This page is the map. Data moves to the right, answers move to the left, and no room knows a
//! room to its left:
//!
//! ```text
//!             bytes                               nouns              rulings            durable facts
//! caller ──▶ server ──▶ gateway ──▶ service ──▶ store ──┬──▶ engine   (decides and applies; no I/O, no clock)
//!              ▲       JSON⇄wire   wire⇄model           └──▶ wal      (remembers; files, nothing above bytes)
//!              │                                               both speak only `model`
//!  main ─▶ cli ─▶ app ◀─ config
//! ```
//!
//! Read it in this order:
//!
//! | room | job |
//! |---|---|
//! | [`model`] | the nouns: names, moments, versions, and the [`Mutation`](model::Mutation) that engine and log share |
//! | [`engine`] | one namespace as a pure state machine |
//! | [`wal`] | the write-ahead log: what is acknowledged is on disk; archives, which snapshots travel in |
//! | [`store`] | the door to data, and the store in this process: turns, group commit, memory, watches, snapshots, hot keys |
//! | [`wire`] | the generated code of the schema under `proto/` |
//! | [`service`] | one thin method per RPC, and what streams add to that; every status is chosen here |
//! | [`gateway`] | other ways in than gRPC: each turns what it gets into a call, and the answer back |
//! | [`server`] | sockets, fair shares of a thread, limits, deadlines, health, drain |
//! | [`telemetry`] | metrics, latencies, slow and failed operations, log lines |
//! | [`config`] | from words to values, all complaints at once |
//! | [`app`] | the one composition of all of these |
//! | [`client`], [`cli`] | the command line `pykv` |
//!
//! Three ideas carry the rest. A *turn*: whoever brings a command takes the namespace's lock, has the
//! engine rule, the log remember and the engine apply, and waits for safety outside the lock
//! ([`store::embedded`]); connections take turns at a worker's thread in the same spirit. A *fact*:
//! live traffic, recovery and snapshots are the same mutations on the same path ([`model::Fact`]). A
//! *version*: one number per change is compare-and-set token, fence, ETag and position of a watch at
//! once, and never goes back ([`model::Version`]).

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod model;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod wal;
pub mod wire;

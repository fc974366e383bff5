//! PyKV

pub mod engine;
pub mod model;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod wal;
pub mod wire;

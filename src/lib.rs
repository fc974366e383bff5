//! PyKV

pub mod engine;
pub mod model;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod wire;

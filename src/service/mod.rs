//! One thin method per RPC: check, call the store, convert.
//!
//! # How it works
//! A method of [`KeyValue`], [`Namespaces`] or [`Admin`] hands its request to `validate`, which
//! answers with types of the model or with one status that lists everything wrong; calls the
//! [`Store`](crate::store::Store); and turns the answer into a message with `convert`. What the
//! store refuses becomes a status in `status`, and nowhere else. [`METHODS`] says of each RPC
//! what it is and who may call it, and [`access`] sees to that.
//!
//! # Why
//! gRPC, REST, batches and pipelines go through the same few functions, so that a rule holds on
//! every way in or on none. Keys and values move through without being copied.
//!
//! # Invariants
//! Every status but INTERNAL carries an `ErrorInfo` with a reason of the schema under the domain
//! [`ERROR_DOMAIN`]. Nothing reaches the store before the whole request was found valid. No
//! response is larger than [`RESPONSE_BYTES_MAX`].
//!
//! # Not here
//! Rules about entries: `engine`. Waiting, logging, clocks: `store`. Sockets, deadlines: `server`.
//! JSON: `gateway`.

pub mod access;
mod admin;
mod config;
mod convert;
mod foreign;
mod kept;
mod key_value;
mod logged;
mod methods;
mod namespaces;
mod opening;
mod pages;
mod performance;
mod pipeline;
mod places;
mod scanning;
mod snapshots;
mod status;
mod subjects;
mod validate;
mod watching;

use std::sync::Arc;

pub use admin::{Admin, ServerFacts};
pub use config::{ConfigSource, Configured, Observation, restore_observation, restore_settings};
pub use foreign::{Fault, Foreign};
pub use key_value::KeyValue;
pub use methods::{Effect, METHODS, Method, Role, Scope, Shape, method};
pub use namespaces::Namespaces;
pub use places::StreamLimits;
pub use status::{ERROR_DOMAIN, in_our_words, parts_of};

use crate::model::UnixMillis;

/// Largest request message a service decodes: a batch that is a little too large should be told
/// so in words, and one that is much too large should not be read.
pub const REQUEST_BYTES_MAX: usize = 5 << 20;
/// Most bytes of keys and values in one batch: 4 MiB.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Most keys or operations in one batch; about a millisecond of one namespace's time.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// Largest response message: 4 MiB, what clients accept unless they are told otherwise.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Tells the present moment by the store's clock, for what is left of a time to live.
pub type Now = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

//! The messages, clients and servers of the schema under `proto/`.
//!
//! # How it works
//! Everything is generated when the package is built, except the two messages of [`batch_get`]:
//! those are written by hand, and stand among the others in [`v1`].
//!
//! # Why
//! A batch read is the cheapest way to read, and generated code would spend most of its time on
//! making, measuring and freeing a text for each key and a message for each entry.
//!
//! # Invariants
//! What is written by hand reads and writes the same bytes as what would be generated: a test holds
//! the two side by side.
//!
//! # Not here
//! What a message means, and what is wrong with it: `service`.

mod batch_get;
#[cfg(test)]
mod tests;
mod texts;

pub use texts::Texts;

/// Package `pykv.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod v1 {
    pub use super::batch_get::{BatchGetRequest, BatchGetResponse};

    tonic::include_proto!("pykv.v1");
}

pub use batch_get::EntryFields;

/// The encoded descriptor set of everything above, with its options and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

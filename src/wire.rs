//! The generated code: messages, clients and servers of the schema under `proto/`. Nothing here is
//! written by hand.

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
    tonic::include_proto!("pykv.v1");
}

/// The encoded descriptor set of everything above, with its options and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

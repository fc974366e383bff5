//! What the server tells about itself: metrics, the performance of each method, operations worth a
//! look, and its log lines.
//!
//! # How it works
//! [`install`] sets up the recorder once; [`Handle::render`] writes the Prometheus text. Three sources
//! meet in that text: what happened ([`metrics`], through the recorder), what each gRPC method did
//! ([`method`], counted in shards that a worker thread has to itself), and what the store holds
//! ([`set_collector`], asked only when somebody scrapes). While a call is worked on, whoever knows
//! something of it adds to its [`Notes`]; if it turns out slow or failed they become a
//! [`LoggedOperation`].
//!
//! # Why
//! A counter behind a lookup of label strings costs as much as the rest of a small request. So a
//! method is resolved once, and a request touches one uncontended lock. What the store holds is not
//! pushed at all: a namespace that is gone then leaves the text with its next rendering.
//!
//! # Invariants
//! The number of series is bounded: methods come from a schema, namespaces beyond
//! [`NAMESPACES_MAX`] are summed under `_other`. Keys, values and tokens never become labels. An
//! operation that is neither slow nor failed allocates nothing here.
//!
//! # Not here
//! The route that serves the text: `server`. Who calls the performance report: `service`.

mod buckets;
mod grpc;
mod ids;
mod kept;
mod lines;
mod log;
mod methods;
pub mod metrics;
mod notes;
mod operations;
mod page;
mod recorder;
mod seconds;
mod store;
mod traces;

pub use ids::{brought, request_id};
pub use log::{LogFormat, check_filter, refilter, trace};
pub use methods::{Kind, Method, answers, find, method, methods, register};
pub use metrics::{
    compaction_failed, compaction_seconds, replay_seconds, sync_seconds, torn_tail_bytes,
};
pub use notes::{
    Notes, Particulars, StorageWait, Subject, message_begins, note_keys, note_received,
    note_subject,
};
pub use operations::{
    Failure, LOGGED_OPERATIONS_MAX, LoggedOperation, OperationLog, code_of, is_logged, is_slow,
    logged_operations, set_slow_threshold,
};
pub use recorder::{Handle, descriptors_max, install};
pub use seconds::{MethodPerformance, Performance, performance};
pub use store::{NAMESPACES_MAX, NamespaceSample, StoreSample, set_collector};
pub use traces::{Traces, send_traces};

//! A log line for each operation that was slow or failed, as long as there are not too many.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::grpc::code_name;
use super::operations::LoggedOperation;

/// Lines each second, after the first hundred: a server in trouble has better things to do than to say so.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
const LINES_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("a hundred is not zero");

static LIMIT: LazyLock<RateLimiter<NotKeyed, InMemoryState, DefaultClock>> = LazyLock::new(|| {
    RateLimiter::direct(Quota::per_second(LINES_PER_SECOND).allow_burst(LINES_AT_ONCE))
});

/// Lines that were not written since the last one that was.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// A name that can be one of a namespace. Whatever else was sent in its place, perhaps a key, is not for a
/// log.
fn shown(namespace: &str) -> &str {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let begins_well = namespace.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && namespace.bytes().all(is_fit) { namespace } else { "" }
}

/// Tells of an operation; never its key, or what was in it.
pub(super) fn tell(operation: &LoggedOperation, is_failed: bool) {
    if !tracing::enabled!(tracing::Level::WARN) {
        return;
    }
    if LIMIT.check().is_err() {
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
    let what = if is_failed { "an operation failed" } else { "an operation was slow" };
    tracing::warn!(
        method = operation.method.full_name(),
        code = code_name(operation.failure.as_ref().map_or(0, |failure| failure.code)),
        namespace = shown(&operation.namespace),
        elapsed_ms = operation.elapsed.as_secs_f64() * 1e3,
        storage_wait_ms = operation.storage_wait.as_secs_f64() * 1e3,
        bytes = operation.transferred_bytes,
        peer = operation.peer.map(tracing::field::display),
        request_id = operation.request_id.to_str().ok(),
        trace_id = operation.trace_id,
        left_out = (left_out > 0).then_some(left_out),
        "{what}"
    );
}

//! The methods that are counted, each found by its path once and then held.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use prost::Message;

use super::notes::Notes;
use super::seconds::Tally;

/// Shards of a method's counters. Threads take them in turn, so that workers do not share one until
/// there are more workers than this.
const SHARDS: usize = 16;

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One request, one reply.
    Unary,
    /// Many requests, one reply.
    ClientStream,
    /// One request, many replies.
    ServerStream,
    /// Many of both.
    BidiStream,
}

impl Kind {
    /// As the label `grpc_type` spells it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ClientStream => "client_stream",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// The counters of one gRPC method.
#[derive(Debug)]
pub struct Method {
    pub(super) service: String,
    pub(super) name: String,
    kind: Kind,
    shards: [Shard; SHARDS],
}

/// On its own cache lines, so that threads with different shards never wait for each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Tally>);

impl Method {
    fn new(service: &str, name: &str, kind: Kind) -> Self {
        Self { service: service.into(), name: name.into(), kind, shards: Default::default() }
    }

    /// As reports name it, such as "pykv.v1.KeyValueService/Get".
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }

    /// How many messages go each way.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Counts a call that has begun.
    pub fn started(&self) {
        self.shards[shard()].0.lock().started += 1;
    }

    /// Counts a call that has ended at `now` with `code`, a number of `tonic::Code`, after `elapsed`.
    /// A unary call is one operation, and logged with its `notes` if it was slow or failed. How long
    /// a stream was open says nothing about performance, so its messages count, by
    /// [`Self::operated`].
    pub fn handled(&'static self, code: u16, elapsed: Duration, now: Instant, notes: &mut Notes) {
        let mut tally = self.shards[shard()].0.lock();
        tally.ended(code, elapsed);
        if self.kind == Kind::Unary {
            tally.operated(code, elapsed, 1, second(now));
            drop(tally);
            notes.log(self, code, elapsed);
        }
        notes.end_span(code);
    }

    /// Counts `count` operations of a stream that ended with `code` and took `elapsed` each, at `now`.
    pub fn operated(&self, code: u16, elapsed: Duration, count: u32, now: Instant) {
        self.shards[shard()].0.lock().operated(code, elapsed, count, second(now));
    }

    /// The sum of all shards as of `second`.
    pub(super) fn tallies<T>(&self, mut each: impl FnMut(&Tally) -> T) -> Vec<T> {
        self.shards.iter().map(|shard| each(&shard.0.lock())).collect()
    }
}

/// Seconds since the process first asked; the numbering of the performance windows.
pub(super) fn second(now: Instant) -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    now.saturating_duration_since(*BEGINNING.get_or_init(|| now)).as_secs()
}

/// The shard of this thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

/// Every method by its path, `/package.Service/Method`. Methods live as long as the process: there
/// are as many as the schema names.
fn registry() -> &'static RwLock<AHashMap<String, &'static Method>> {
    static METHODS: OnceLock<RwLock<AHashMap<String, &'static Method>>> = OnceLock::new();
    METHODS.get_or_init(RwLock::default)
}

/// The counters of a method, made now if need be (then as [`Kind::Unary`]). To be asked once, and
/// held.
pub fn method(service: &'static str, method: &'static str) -> &'static Method {
    enter(service, method, Kind::Unary)
}

/// The counters of the method at `path`, if it is known.
pub fn find(path: &str) -> Option<&'static Method> {
    registry().read().get(path).copied()
}

/// Every method known now, with its path.
pub fn methods() -> Vec<(String, &'static Method)> {
    registry().read().iter().map(|(path, method)| (path.clone(), *method)).collect()
}

/// How many answers were given so far to callers who wait for each of them: to calls, and to requests
/// of streams both ways.
pub fn answers() -> u64 {
    answers_of(registry().read().values().copied())
}

fn answers_of<'m>(methods: impl Iterator<Item = &'m Method>) -> u64 {
    let is_waited_for = |kind| matches!(kind, Kind::Unary | Kind::BidiStream);
    let waited_for = methods.filter(|method| is_waited_for(method.kind));
    waited_for.flat_map(|method| method.tallies(|tally| tally.operations)).sum()
}

/// Makes counters for every method of an encoded `google.protobuf.FileDescriptorSet`, so that each
/// shows at zero before its first call. Methods known already stay as they are.
///
/// Errors: the bytes are no descriptor set; nothing is made.
pub fn register(descriptors: &[u8]) -> Result<(), prost::DecodeError> {
    let set = prost_types::FileDescriptorSet::decode(descriptors)?;
    for file in &set.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => Kind::Unary,
                    (true, false) => Kind::ClientStream,
                    (false, true) => Kind::ServerStream,
                    (true, true) => Kind::BidiStream,
                };
                enter(&service_name, method.name(), kind);
            }
        }
    }
    Ok(())
}

fn enter(service: &str, method: &str, kind: Kind) -> &'static Method {
    let path = format!("/{service}/{method}");
    if let Some(known) = find(&path) {
        return known;
    }
    registry()
        .write()
        .entry(path)
        .or_insert_with(|| Box::leak(Box::new(Method::new(service, method, kind))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_that_a_caller_waits_for() {
        let kinds = [Kind::Unary, Kind::ClientStream, Kind::ServerStream, Kind::BidiStream];
        let methods = kinds.map(|kind| Method::new("test.Service", "Answers", kind));
        for (count, method) in [1, 10, 100, 1_000].into_iter().zip(&methods) {
            method.operated(0, Duration::ZERO, count, Instant::now());
        }
        assert_eq!(answers_of(methods.iter()), 1_001);
    }
}

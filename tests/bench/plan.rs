//! What is measured, and what is asked of it.

use std::fmt;

use super::load::{Shape, Work};
use super::pipeline::Framing;
use super::requests::{
    VALUE_BYTES, etcd_requests, memcached_requests, pykv_requests, redis_requests,
};
use super::servers::Server;
use super::template::Keys;

/// The namespaces of the measured server, by how safe their writes are, and one of large values.
pub(crate) const MEMORY: &str = "bench-memory";
pub(crate) const ASYNC: &str = "bench-async";
pub(crate) const SYNC: &str = "bench-sync";
pub(crate) const LARGE: &str = "bench-large";
pub(crate) const LARGE_VALUE_BYTES: usize = 4096;

/// One server under one kind of load.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// The work and its shape; with the server this names the cell.
    pub(crate) row: &'static str,
    pub(crate) server: Server,
    pub(crate) shape: Shape,
    pub(crate) work: Work,
}

/// Names a cell.
pub(crate) type Name = (&'static str, Server);

/// What two cells are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The server's CPU by operation.
    Cpu,
    /// Operations in a second.
    Rate,
    /// Resident memory by entry.
    Memory,
    /// From the start of the process until it is ready, or of a restore until it is done.
    Recovery,
    /// Megabytes (of a million bytes) in a second.
    Throughput,
    /// Of 99 in 100 requests, in microseconds.
    Latency,
    /// Resident memory of the server, in megabytes (of a million bytes).
    Resident,
}

impl Measure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Cpu => "CPU/op",
            Measure::Rate => "op/s",
            Measure::Memory => "bytes/entry",
            Measure::Recovery => "seconds",
            Measure::Throughput => "MB/s",
            Measure::Latency => "p99 us",
            Measure::Resident => "MB resident",
        }
    }
}

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn holds(self, ratio: f64) -> bool {
        match self {
            Bound::AtMost(most) => ratio <= most,
            Bound::AtLeast(least) => ratio >= least,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(most) => write!(f, "<= {most:.2}"),
            Bound::AtLeast(least) => write!(f, ">= {least:.2}"),
        }
    }
}

/// A ratio of two cells and what it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) measure: Measure,
    pub(crate) of: Name,
    pub(crate) to: Name,
    pub(crate) bound: Bound,
}

pub(crate) const GET_1X32: &str = "Get, 1x32";
const GET_1X256: &str = "Get, 1x256";
const PIPELINE_GET: &str = "Pipeline of Gets, 1x256";
const PIPELINE_GET_TOGETHER: &str = "Pipeline of Gets in few frames, 1x256";
const PIPELINE_SET_MEMORY: &str = "Pipeline of Sets MEMORY, 1x256";
const PIPELINE_SET_SYNC: &str = "Pipeline of Sets SYNC, 1x256";
const PIPELINE_BATCH_GET: &str = "Pipeline of BatchGets of 100, 1x8";
const GET_32X1: &str = "Get, 32x1";
const REST_ENTRY: &str = "REST GET entry, 32x1";
const REST_VALUE: &str = "REST GET value, 32x1";
const REST_ORIGINAL: &str = "REST GET as the original, 32x1";
const GET_LARGE: &str = "Get 4 KiB, 1x32";
const SET_MEMORY: &str = "Set MEMORY, 1x32";
const SET_ASYNC: &str = "Set ASYNC, 1x32";
const SET_SYNC: &str = "Set SYNC, 1x32";
const SET_MEMORY_1X256: &str = "Set MEMORY, 1x256";
const SET_SYNC_1X256: &str = "Set SYNC, 1x256";
const SET_SYNC_256X1: &str = "Set SYNC, 256x1";
const BATCH_GET: &str = "BatchGet of 100, 1x8";
const BATCH_WRITE: &str = "BatchWrite of 100 MEMORY, 1x8";
pub(crate) const MILLION: &str = "1 M entries";
pub(crate) const MILLION_TTL: &str = "1 M entries with TTL";
pub(crate) const MILLION_BACK: &str = "1 M sets recovered";

/// A million entries as a snapshot: out, and back into an empty server; what it takes to recover the
/// same; and the traffic beside exports.
pub(crate) const SNAPSHOT: &str = "Snapshot of 1 M entries";
pub(crate) const SNAPSHOT_OUT: Name = ("Snapshot of 1 M entries out", Server::Pykv);
pub(crate) const SNAPSHOT_BACK: Name = ("Snapshot of 1 M entries back", Server::Pykv);
pub(crate) const SNAPSHOT_BEGUN: Name = ("Snapshot of 1 M entries recovered", Server::Pykv);
pub(crate) const GOAL: Name = ("Snapshot goal", Server::Pykv);
pub(crate) const GET_ALONE: Name = ("Get 1x1, no Snapshot", Server::Pykv);
pub(crate) const GET_BESIDE: Name = ("Get 1x1, Snapshots beside", Server::Pykv);
pub(crate) const GETS_ALONE: Name = ("Get 8x4, no Snapshot", Server::Pykv);
pub(crate) const GETS_BESIDE: Name = ("Get 8x4, Snapshots beside", Server::Pykv);
pub(crate) const SET_ALONE: Name = ("Set SYNC 8x1, no Snapshot", Server::Pykv);
pub(crate) const SET_BESIDE: Name = ("Set SYNC 8x1, Snapshots beside", Server::Pykv);

/// A tenant that asks for little, alone and beside one that asks for all it can get.
pub(crate) const TENANTS: &str = "Two tenants";
pub(crate) const QUIET_GET_ALONE: Name = ("Two tenants: 4,000 Gets a second, alone", Server::Pykv);
pub(crate) const QUIET_GET_BESIDE: Name =
    ("Two tenants: the same beside a noisy one", Server::Pykv);
pub(crate) const QUIET_SET_ALONE: Name = ("Two tenants: 4,000 Sets SYNC, alone", Server::Pykv);
pub(crate) const QUIET_SET_BESIDE: Name = ("Two tenants: these beside a noisy one", Server::Pykv);

/// Writers with nobody watching and with a thousand watches, and what the server needs for these.
pub(crate) const WATCHES: &str = "1,000 watches";
pub(crate) const UNWATCHED: Name = ("10,000 Sets MEMORY a second, no watches", Server::Pykv);
pub(crate) const WATCHED_SETS: Name = ("10,000 Sets MEMORY a second, 1,000 watches", Server::Pykv);
pub(crate) const UNWATCHED_SYNC: Name = ("10,000 Sets SYNC a second, no watches", Server::Pykv);
pub(crate) const WATCHED_SYNC: Name = ("10,000 Sets SYNC a second, 1,000 watches", Server::Pykv);
pub(crate) const WATCHES_BEGUN: Name = ("1,000 watches, in the first round", Server::Pykv);
pub(crate) const WATCHES_ENDED: Name = ("1,000 watches, in the last round", Server::Pykv);

/// Every load, over `keys` entries, `large_keys` of them large.
pub(crate) fn cells(keys: u64, large_keys: u64) -> Vec<Cell> {
    use Framing::{Single, Together};
    use Server::{EchoAxum, EchoBare, EchoPlain, Etcd, Memcached, Pykv, Redis, RedisAlways};
    let shape = Shape::of;
    let (one, many, wide, deep) = (shape(1, 32), shape(32, 1), shape(1, 8), shape(1, 256));
    let get = || pykv_requests::get(SYNC, VALUE_BYTES);
    let set = |namespace| pykv_requests::set(namespace, VALUE_BYTES);
    let cell = |row, server, shape, work: Work| {
        let count = if row == GET_LARGE { large_keys } else { keys };
        Cell { row, server, shape, work: work.over(Keys::Random { count }) }
    };
    vec![
        cell(GET_1X32, Pykv, one, get()),
        cell(GET_1X32, EchoPlain, one, get()),
        cell(GET_1X32, EchoBare, one, get()),
        cell(GET_1X32, Etcd, one, etcd_requests::range()),
        cell(GET_32X1, Pykv, many, get()),
        cell(GET_32X1, Redis, many, redis_requests::get()),
        cell(GET_32X1, Memcached, many, memcached_requests::get()),
        cell(REST_ENTRY, Pykv, many, pykv_requests::rest_entry(SYNC)),
        cell(REST_ENTRY, EchoAxum, many, pykv_requests::rest_entry(SYNC)),
        cell(REST_VALUE, Pykv, many, pykv_requests::rest_value(SYNC)),
        cell(REST_ORIGINAL, Pykv, many, pykv_requests::rest_original(SYNC)),
        cell(GET_LARGE, Pykv, one, pykv_requests::get(LARGE, LARGE_VALUE_BYTES)),
        cell(SET_MEMORY, Pykv, one, set(MEMORY)),
        cell(SET_ASYNC, Pykv, one, set(ASYNC)),
        cell(SET_SYNC, Pykv, one, set(SYNC)),
        cell(SET_SYNC, Etcd, one, etcd_requests::put()),
        cell(SET_MEMORY_1X256, Pykv, deep, set(MEMORY)),
        cell(SET_SYNC_1X256, Pykv, deep, set(SYNC)),
        cell(SET_SYNC_256X1, Pykv, shape(256, 1), set(SYNC)),
        cell(SET_SYNC_256X1, RedisAlways, shape(256, 1), redis_requests::set()),
        cell(BATCH_GET, Pykv, wide, pykv_requests::batch_get(MEMORY)),
        cell(BATCH_GET, Redis, wide, redis_requests::mget()),
        cell(GET_1X256, Pykv, deep, get()),
        cell(PIPELINE_GET, Pykv, deep, pykv_requests::pipeline_of_gets(Single, SYNC)),
        cell(PIPELINE_GET_TOGETHER, Pykv, deep, pykv_requests::pipeline_of_gets(Together, SYNC)),
        cell(PIPELINE_SET_MEMORY, Pykv, deep, pykv_requests::pipeline_of_sets(Single, MEMORY)),
        cell(PIPELINE_SET_SYNC, Pykv, deep, pykv_requests::pipeline_of_sets(Single, SYNC)),
        cell(PIPELINE_BATCH_GET, Pykv, wide, pykv_requests::pipeline_of_batch_gets(Single, MEMORY)),
        cell(BATCH_WRITE, Pykv, wide, pykv_requests::batch_write(MEMORY)),
        cell(BATCH_WRITE, Redis, wide, redis_requests::mset()),
    ]
}

/// What is promised, as ratios.
pub(crate) fn targets() -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    use Measure::{Cpu, Latency, Memory, Rate, Recovery, Resident, Throughput};
    use Server::{EchoAxum, EchoBare, EchoPlain, Etcd, Pykv, Redis, RedisAlways, RedisEverysec};
    let target = |measure, of, to, bound| Target { measure, of: (of, Pykv), to, bound };
    vec![
        target(Cpu, GET_1X32, (GET_1X32, EchoPlain), AtMost(0.40)),
        target(Cpu, GET_1X32, (GET_1X32, EchoBare), AtMost(1.25)),
        target(Cpu, GET_1X32, (GET_1X32, Etcd), AtMost(0.05)),
        target(Cpu, GET_32X1, (GET_32X1, Redis), AtMost(2.0)),
        target(Cpu, REST_ENTRY, (REST_ENTRY, EchoAxum), AtMost(1.3)),
        target(Cpu, REST_VALUE, (REST_ENTRY, EchoAxum), AtMost(1.3)),
        target(Cpu, REST_ORIGINAL, (REST_ENTRY, EchoAxum), AtMost(1.3)),
        target(Cpu, GET_LARGE, (GET_1X32, Pykv), AtMost(1.35)),
        target(Cpu, SET_MEMORY, (GET_1X32, Pykv), AtMost(1.3)),
        target(Cpu, SET_ASYNC, (SET_MEMORY, Pykv), AtMost(1.2)),
        target(Rate, SET_SYNC_1X256, (SET_MEMORY_1X256, Pykv), AtLeast(0.8)),
        target(Rate, SET_SYNC_256X1, (SET_SYNC_256X1, RedisAlways), AtLeast(0.95)),
        target(Rate, SET_SYNC, (SET_SYNC, Etcd), AtLeast(5.0)),
        target(Cpu, BATCH_GET, (BATCH_GET, Redis), AtMost(0.40)),
        target(Cpu, PIPELINE_BATCH_GET, (BATCH_GET, Redis), AtMost(0.40)),
        target(Cpu, PIPELINE_GET, (GET_1X256, Pykv), AtMost(0.5)),
        target(Memory, MILLION, (MILLION, RedisEverysec), AtMost(0.85)),
        target(Memory, MILLION_TTL, (MILLION_TTL, Redis), AtMost(0.5)),
        target(Recovery, MILLION_BACK, (MILLION_BACK, RedisEverysec), AtMost(0.35)),
        target(Throughput, SNAPSHOT_OUT.0, GOAL, AtLeast(1.0)),
        target(Recovery, SNAPSHOT_BACK.0, SNAPSHOT_BEGUN, AtMost(1.0)),
        target(Latency, GET_BESIDE.0, GET_ALONE, AtMost(2.0)),
        target(Latency, GETS_BESIDE.0, GETS_ALONE, AtMost(2.0)),
        target(Latency, SET_BESIDE.0, SET_ALONE, AtMost(2.0)),
        target(Latency, QUIET_GET_BESIDE.0, QUIET_GET_ALONE, AtMost(2.0)),
        target(Latency, QUIET_SET_BESIDE.0, QUIET_SET_ALONE, AtMost(2.0)),
        target(Latency, WATCHED_SETS.0, UNWATCHED, AtMost(1.5)),
        target(Latency, WATCHED_SYNC.0, UNWATCHED_SYNC, AtMost(1.5)),
        target(Resident, WATCHES_ENDED.0, WATCHES_BEGUN, AtMost(1.02)),
    ]
}

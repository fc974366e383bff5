//! The bench: this server beside its peers in one run, as ratios against what is promised.
//!
//! `cargo bench --bench bench [-- --quick] [-- --json FILE]`
//!
//! # How it works
//! Every server is started on a free port of this machine, with its files in a folder of its own, and
//! filled. Then come rounds: in each, every load runs for a short while, one after the other, so that
//! whatever else this machine does falls on all alike. A ratio is taken within a round, and the median
//! of the rounds counts. Last come a million entries: memory and recovery.
//!
//! # Why
//! Absolute figures of a shared machine say little; ratios within a run, and CPU by operation, hold.
//! The generator frames its requests by hand in one thread, since a client library costs more than the
//! servers do; its own CPU stands beside theirs.
//!
//! # Invariants
//! A load counts only if every answer was a good one. Only processes started here are ended.
//!
//! # Not here
//! Whether answers are right: the tests.

mod company;
mod grpc;
mod load;
mod million;
mod pipeline;
mod plan;
mod process;
mod report;
mod requests;
mod results;
mod servers;
mod snapshot;
mod template;
mod tenants;
mod watches;
mod wire;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pykv::wire::v1::Durability;
use tempfile::TempDir;

use company::Role;
use load::{SEED, Shape, Until, Work, once, run};
use plan::{ASYNC, Cell, LARGE, LARGE_VALUE_BYTES, MEMORY, SYNC};
use process::Process;
use requests::{BATCH, etcd_requests, memcached_requests, pykv_requests, redis_requests};
use results::Results;
use servers::{Programs, Server};

/// What ends a run early is told to whoever started it; nothing can be done about it here.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
struct Arguments {
    /// Only see whether everything runs: short loads, no peers
    #[arg(long)]
    quick: bool,
    /// Also write everything to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each load runs
    #[arg(long)]
    rounds: Option<usize>,
    /// Only rows whose name has this in it; may be given more than once
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The profile our own server is built in [default: dist, for --quick release]
    #[arg(long)]
    profile: Option<String>,
    /// Measure this build of our own server, to compare one with another
    #[arg(long, value_name = "FILE")]
    pykv: Option<PathBuf>,
    /// Be the company of what another process measures
    #[arg(long, hide = true, requires = "of")]
    company: Option<Role>,
    /// The server of that
    #[arg(long, hide = true)]
    of: Option<SocketAddr>,
    /// Cargo says this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much of everything.
struct Extent {
    rounds: usize,
    keys: u64,
    large_keys: u64,
    until: Until,
    million: u64,
    restarts: usize,
}

impl Extent {
    /// For loads that are paced, and so bring few figures in a second.
    fn long(&self) -> Until {
        match self.until {
            Until::Elapsed { warm_up, window } => Until::Elapsed { warm_up, window: window * 4 },
            Until::Answered(count) => Until::Answered(count),
        }
    }
}

const FULL: Extent = Extent {
    rounds: 5,
    keys: 100_000,
    large_keys: 10_000,
    until: Until::Elapsed {
        warm_up: Duration::from_millis(200),
        window: Duration::from_millis(1_000),
    },
    million: 1_000_000,
    restarts: 5,
};

const QUICK: Extent = Extent {
    rounds: 1,
    keys: 10_000,
    large_keys: 1_000,
    until: Until::Elapsed {
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(200),
    },
    million: 20_000,
    restarts: 1,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if let (Some(role), Some(address)) = (arguments.company, arguments.of) {
        return company::work(role, address).await;
    }
    let extent = if arguments.quick { QUICK } else { FULL };
    let rounds = arguments.rounds.unwrap_or(extent.rounds);
    let default = if arguments.quick { "release" } else { "dist" };
    progress("building");
    let mut programs = Programs::build(arguments.profile.as_deref().unwrap_or(default))?;
    if let Some(pykv) = &arguments.pykv {
        programs = programs.with_pykv(fs::canonicalize(pykv)?);
    }

    let mut cells = plan::cells(extent.keys, extent.large_keys);
    let wanted = |row: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|text| row.contains(text.as_str()))
    };
    cells.retain(|cell| wanted(cell.row));
    let there = |server: Server| !server.is_peer() || (!arguments.quick && programs.has(server));
    cells.retain(|cell| there(cell.server));

    progress(&format!("random keys begin with the seed {SEED:#x}"));
    let mut results = Results::default();
    measure(&programs, &cells, &extent, rounds, &mut results).await?;
    if wanted(plan::MILLION) {
        let all = [Server::Pykv, Server::RedisEverysec, Server::Redis];
        let servers: Vec<_> = all.into_iter().filter(|server| there(*server)).collect();
        million::measure(&programs, &servers, extent.million, extent.restarts, &mut results)
            .await?;
    }

    if wanted(plan::SNAPSHOT) {
        let (count, until) = (extent.million, extent.until);
        snapshot::measure(&programs, count, extent.restarts, until, &mut results).await?;
    }

    if wanted(plan::TENANTS) {
        tenants::measure(&programs, extent.keys, rounds, extent.long(), &mut results).await?;
    }
    if wanted(plan::WATCHES) {
        watches::measure(&programs, rounds, extent.long(), &mut results).await?;
    }

    // Loads as short as these say nothing about targets.
    let mut targets = if arguments.quick { Vec::new() } else { plan::targets() };
    targets.retain(|target| wanted(target.of.0));
    say(&report::tables(&results, &targets));
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{:#}\n", report::json(&results, &targets)))?;
    }
    Ok(())
}

/// Runs every load in every round.
async fn measure(
    programs: &Programs,
    cells: &[Cell],
    extent: &Extent,
    rounds: usize,
    results: &mut Results,
) -> Outcome<()> {
    // The folders come first, so that they go last.
    let mut directories = Vec::new();
    let mut running: Vec<(Server, Process)> = Vec::new();
    for cell in cells {
        if running.iter().any(|(server, _)| *server == cell.server) {
            continue;
        }
        progress(&format!("starting and filling {}", cell.server.name()));
        let directory = scratch()?;
        let process = cell.server.start(programs, directory.path())?;
        fill(cell.server, &process, extent).await?;
        directories.push(directory);
        running.push((cell.server, process));
    }
    for round in 1..=rounds {
        progress(&format!("round {round} of {rounds}"));
        for cell in cells {
            let found = running.iter().find(|(server, _)| *server == cell.server);
            let (server, process) = found.ok_or("a server is missing")?;
            let name = (cell.row, *server);
            let sample = run(process, &cell.work, cell.shape, extent.until).await;
            let sample =
                sample.map_err(|error| format!("{}, {}: {error}", name.0, server.name()))?;
            results.add_sample(name, sample);
        }
    }
    drop(running);
    Ok(())
}

/// Puts the entries in that reads shall find.
async fn fill(server: Server, process: &Process, extent: &Extent) -> Outcome<()> {
    let batches = extent.keys / u64::from(BATCH);
    let write = async |work: Work, outstanding, requests| {
        let shape = Shape::of(1, outstanding);
        run(process, &work, shape, Until::Answered(requests)).await.map(drop)
    };
    match server {
        Server::Pykv => {
            let durabilities = [
                (MEMORY, Durability::Memory),
                (LARGE, Durability::Memory),
                (ASYNC, Durability::Async),
                (SYNC, Durability::Sync),
            ];
            for (name, durability) in durabilities {
                once(process, &pykv_requests::create(name, durability, false)).await?;
            }
            for name in [MEMORY, ASYNC, SYNC] {
                write(pykv_requests::batch_write(name), 8, batches).await?;
            }
            write(pykv_requests::set(LARGE, LARGE_VALUE_BYTES), 32, extent.large_keys).await
        }
        Server::Redis | Server::RedisEverysec => write(redis_requests::mset(), 8, batches).await,
        Server::Memcached => write(memcached_requests::set(), 32, extent.keys).await,
        Server::Etcd => write(etcd_requests::transaction(), 8, batches).await,
        // Nothing is read from these.
        Server::EchoPlain | Server::EchoBare | Server::EchoAxum | Server::RedisAlways => Ok(()),
    }
}

/// A folder on the disk that Cargo builds on, not in a temporary file system: logs shall be synced.
fn scratch() -> Outcome<TempDir> {
    Ok(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?)
}

#[expect(clippy::print_stderr, reason = "the tables alone go to standard output")]
fn progress(text: &str) {
    eprintln!("bench: {text}");
}

#[expect(clippy::print_stdout, reason = "a bench is there to print this")]
fn say(text: &str) {
    println!("{text}");
}

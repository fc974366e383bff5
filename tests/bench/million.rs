//! A million entries: what each costs in memory, and how long it takes to have them back.

use std::time::Duration;

use pykv::wire::v1::Durability;
use tempfile::TempDir;

use super::load::{Shape, Until, Work, once, run};
use super::plan::{ASYNC, MEMORY, MILLION, MILLION_BACK, MILLION_TTL, Measure};
use super::requests::{VALUE_BYTES, pykv_requests, redis_requests};
use super::results::Results;
use super::servers::{Programs, Server};
use super::{Outcome, progress, scratch};

/// How long a server may tidy up after the load, before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// How a server gets its entries.
struct Filling {
    row: &'static str,
    server: Server,
    /// What is asked once before.
    create: Option<Work>,
    set: Work,
    outstanding: usize,
}

/// Measures all of it with `count` entries, and `restarts` recoveries.
pub(crate) async fn measure(
    programs: &Programs,
    servers: &[Server],
    count: u64,
    restarts: usize,
    results: &mut Results,
) -> Outcome<()> {
    let mut directories = Vec::new();
    for filling in fillings().into_iter().filter(|filling| servers.contains(&filling.server)) {
        progress(&format!("{}: {}", filling.row, filling.server.name()));
        let directory = scratch()?;
        let bytes = filling.bytes_by_entry(programs, &directory, count).await?;
        results.add((filling.row, filling.server), Measure::Memory, bytes);
        if filling.row == MILLION {
            directories.push((filling.server, directory));
        }
    }
    for round in 1..=restarts {
        progress(&format!("{MILLION_BACK}: {round} of {restarts}"));
        for (server, directory) in &directories {
            let process = server.start(programs, directory.path())?;
            let seconds = process.took.as_secs_f64();
            results.add((MILLION_BACK, *server), Measure::Recovery, seconds);
        }
    }
    Ok(())
}

fn fillings() -> Vec<Filling> {
    let filling =
        |row, server, create, set, outstanding| Filling { row, server, create, set, outstanding };
    let create = |name, durability, ttl| Some(pykv_requests::create(name, durability, ttl));
    let (kept, expiring) =
        (create(ASYNC, Durability::Async, false), create(MEMORY, Durability::Memory, true));
    let (set, batch) = (pykv_requests::set(ASYNC, VALUE_BYTES), pykv_requests::batch_write(MEMORY));
    vec![
        filling(MILLION, Server::Pykv, kept, set, 256),
        filling(MILLION, Server::RedisEverysec, None, redis_requests::set(), 256),
        filling(MILLION_TTL, Server::Pykv, expiring, batch, 8),
        filling(MILLION_TTL, Server::Redis, None, redis_requests::set_with_ttl(), 256),
    ]
}

impl Filling {
    /// Fills a fresh server and kills it. Returns by how much its memory has grown, by entry.
    async fn bytes_by_entry(
        &self,
        programs: &Programs,
        directory: &TempDir,
        count: u64,
    ) -> Outcome<f64> {
        let process = self.server.start(programs, directory.path())?;
        if let Some(create) = &self.create {
            once(&process, create).await?;
        }
        let before = process.resident_bytes()?;
        let requests = count / u64::from(self.set.operations);
        let shape = Shape::of(1, self.outstanding);
        run(&process, &self.set, shape, Until::Answered(requests)).await?;
        tokio::time::sleep(SETTLE).await;
        let grown = process.resident_bytes()?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory stay below 2^52")]
        Ok(grown as f64 / count as f64)
    }
}

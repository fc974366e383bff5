//! Writers with nobody watching, and with a thousand watches.

use std::time::Duration;

use pykv::wire::v1::Durability;

use super::company::{Company, Role, WATCHED};
use super::load::{Shape, Until, once, run};
use super::plan::{
    Measure, Name, UNWATCHED, UNWATCHED_SYNC, WATCHED_SETS, WATCHED_SYNC, WATCHES, WATCHES_BEGUN,
    WATCHES_ENDED,
};
use super::requests::{VALUE_BYTES, pykv_requests};
use super::results::Results;
use super::servers::{Programs, Server};
use super::template::Keys;
use super::{Outcome, progress, scratch};

/// Each watches one key.
const COUNT: usize = 1_000;

/// Ten thousand writes a second.
const WRITERS: Shape =
    Shape { connections: 10, outstanding: 1, pace: Some(Duration::from_millis(1)) };

/// Measures it `rounds` times, for writes of either kind of safety.
pub(crate) async fn measure(
    programs: &Programs,
    rounds: usize,
    until: Until,
    results: &mut Results,
) -> Outcome<()> {
    let kinds = [
        (Durability::Memory, UNWATCHED, WATCHED_SETS),
        (Durability::Sync, UNWATCHED_SYNC, WATCHED_SYNC),
    ];
    for (durability, alone, watched) in kinds {
        measure_kind(programs, durability, (alone, watched), rounds, until, results).await?;
    }
    Ok(())
}

async fn measure_kind(
    programs: &Programs,
    durability: Durability,
    (alone, watched): (Name, Name),
    rounds: usize,
    until: Until,
    results: &mut Results,
) -> Outcome<()> {
    let directory = scratch()?;
    let process = Server::Pykv.start(programs, directory.path())?;
    once(&process, &pykv_requests::create(WATCHED, durability, false)).await?;
    let set = pykv_requests::set(WATCHED, VALUE_BYTES);
    // What is remembered for watches has its full size from here on.
    run(&process, &set, Shape::of(1, 256), Until::Answered(200_000)).await?;
    let set = set.over(Keys::Random { count: COUNT as u64 });
    for round in 1..=rounds {
        progress(&format!("{WATCHES}, {durability:?}: {round} of {rounds}"));
        results.add_sample(alone, run(&process, &set, WRITERS, until).await?);
        let company = Company::start(Role::Watches(COUNT), process.address)?;
        let sample = run(&process, &set, WRITERS, until).await?;
        results.add_sample(watched, sample);
        let resident = process.resident_bytes()?;
        let received = company.end()?;
        check(received, &sample, until)?;
        for (name, is_now) in [(WATCHES_BEGUN, round == 1), (WATCHES_ENDED, round == rounds)] {
            if is_now {
                results.add(name, Measure::Resident, resident as f64 / 1e6);
            }
        }
    }
    Ok(())
}

/// Errors: fewer events came than were counted as written.
fn check(received: u64, sample: &super::load::Sample, until: Until) -> Outcome<()> {
    let Until::Elapsed { window, .. } = until else { return Ok(()) };
    let written = sample.operations_per_second * window.as_secs_f64();
    if (received as f64) < written.floor() {
        return Err(format!("{written} were written, and {received} seen").into());
    }
    Ok(())
}

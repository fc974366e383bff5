//! A tenant that asks for little and regularly, alone and beside one that asks for all it can get.

use std::time::Duration;

use pykv::wire::v1::Durability;

use super::company::{Company, NOISY, NOISY_KEYS_MAX, Role};
use super::load::{Shape, Until, once, run};
use super::plan::{
    QUIET_GET_ALONE, QUIET_GET_BESIDE, QUIET_SET_ALONE, QUIET_SET_BESIDE, SYNC, TENANTS,
};
use super::requests::{BATCH, VALUE_BYTES, pykv_requests};
use super::results::Results;
use super::servers::{Programs, Server};
use super::template::Keys;
use super::{Outcome, progress, scratch};

/// What the quiet tenant asks for.
const QUIET: Shape = Shape { connections: 4, outstanding: 1, pace: Some(Duration::from_millis(1)) };

/// Measures it `rounds` times, over `keys` entries of the quiet tenant.
pub(crate) async fn measure(
    programs: &Programs,
    keys: u64,
    rounds: usize,
    until: Until,
    results: &mut Results,
) -> Outcome<()> {
    let directory = scratch()?;
    // One worker, so that on a machine of two processors one is left for who asks: what is to be seen
    // is how a worker shares itself, not how the system shares processors.
    let process = Server::Pykv.start_with(programs, directory.path(), &["--workers", "1"])?;
    once(&process, &pykv_requests::create(SYNC, Durability::Sync, false)).await?;
    let small = pykv_requests::create_small(NOISY, Durability::Async, NOISY_KEYS_MAX);
    once(&process, &small).await?;
    let batches = Until::Answered(keys / u64::from(BATCH));
    run(&process, &pykv_requests::batch_write(SYNC), Shape::of(1, 8), batches).await?;

    let work = |work: super::Work| work.over(Keys::Random { count: keys });
    let get = work(pykv_requests::get(SYNC, VALUE_BYTES));
    let set = work(pykv_requests::set(SYNC, VALUE_BYTES));
    for round in 1..=rounds {
        progress(&format!("{TENANTS}: {round} of {rounds}"));
        results.add_sample(QUIET_GET_ALONE, run(&process, &get, QUIET, until).await?);
        results.add_sample(QUIET_SET_ALONE, run(&process, &set, QUIET, until).await?);
        let noisy = Company::start(Role::Noise, process.address)?;
        results.add_sample(QUIET_GET_BESIDE, run(&process, &get, QUIET, until).await?);
        results.add_sample(QUIET_SET_BESIDE, run(&process, &set, QUIET, until).await?);
        noisy.end()?;
    }
    Ok(())
}

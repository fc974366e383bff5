//! A million entries taken out and put back: how fast, and what the traffic beside it notices.

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pykv::client::{Client, Identity};
use pykv::wire::v1::restore_snapshot_request::Payload;
use pykv::wire::v1::{
    Durability, ExportSnapshotRequest, RestoreMode, RestoreSnapshotOptions, RestoreSnapshotRequest,
};
use tokio::sync::oneshot;

use super::load::{Shape, Until, Work, once, run};
use super::plan::{
    ASYNC, GET_ALONE, GET_BESIDE, GETS_ALONE, GETS_BESIDE, GOAL, Measure, Name, SET_ALONE,
    SET_BESIDE, SNAPSHOT_BACK, SNAPSHOT_BEGUN, SNAPSHOT_OUT, SYNC,
};
use super::process::Process;
use super::requests::{VALUE_BYTES, pykv_requests};
use super::results::Results;
use super::servers::{Programs, Server};
use super::template::Keys;
use super::{Outcome, progress, scratch};

/// What is promised, in bytes a second.
const GOAL_BYTES: f64 = 300e6;

/// How much of a file goes into one message of an upload.
const CHUNK_BYTES: usize = 256 << 10;

/// How long a call may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Measures all of it with `count` entries, `rounds` times.
pub(crate) async fn measure(
    programs: &Programs,
    count: u64,
    rounds: usize,
    until: Until,
    results: &mut Results,
) -> Outcome<()> {
    let directory = scratch()?;
    let file = {
        let process = Server::Pykv.start(programs, directory.path())?;
        fill(&process, count).await?;
        results.add(GOAL, Measure::Throughput, GOAL_BYTES / 1e6);
        let mut file = Vec::new();
        for round in 1..=rounds {
            progress(&format!("{}: {round} of {rounds}", SNAPSHOT_OUT.0));
            let begun = Instant::now();
            file = export(&process)?;
            results.add(SNAPSHOT_OUT, Measure::Throughput, rate(file.len(), begun.elapsed()));
        }
        beside_traffic(&process, count, rounds, until, results).await?;
        Bytes::from(file)
    };
    for round in 1..=rounds {
        progress(&format!("{}: {round} of {rounds}", SNAPSHOT_BACK.0));
        let process = Server::Pykv.start(programs, directory.path())?;
        results.add(SNAPSHOT_BEGUN, Measure::Recovery, process.took.as_secs_f64());
        drop(process);
        let fresh = scratch()?;
        let process = Server::Pykv.start(programs, fresh.path())?;
        let begun = Instant::now();
        restore(&process, file.clone(), count)?;
        results.add(SNAPSHOT_BACK, Measure::Recovery, begun.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn fill(process: &Process, count: u64) -> Outcome<()> {
    once(process, &pykv_requests::create(ASYNC, Durability::Async, false)).await?;
    once(process, &pykv_requests::create(SYNC, Durability::Sync, false)).await?;
    // One by one, as the other million: that is the log which is recovered.
    let shape = Shape::of(1, 256);
    let set = pykv_requests::set(ASYNC, VALUE_BYTES);
    run(process, &set, shape, Until::Answered(count)).await.map(drop)
}

/// A load, by its name without and with exports beside it.
struct Traffic {
    alone: Name,
    beside: Name,
    work: Work,
    shape: Shape,
}

fn traffic(count: u64) -> [Traffic; 3] {
    let get = || pykv_requests::get(ASYNC, VALUE_BYTES).over(Keys::Random { count });
    let set = pykv_requests::set(SYNC, VALUE_BYTES).over(Keys::Random { count });
    let shape = Shape::of;
    let load = |alone, beside, work, shape| Traffic { alone, beside, work, shape };
    [
        load(GET_ALONE, GET_BESIDE, get(), shape(1, 1)),
        load(GETS_ALONE, GETS_BESIDE, get(), shape(8, 4)),
        load(SET_ALONE, SET_BESIDE, set, shape(8, 1)),
    ]
}

/// Each load without and with exports, one after the other, beside it.
async fn beside_traffic(
    process: &Process,
    count: u64,
    rounds: usize,
    until: Until,
    results: &mut Results,
) -> Outcome<()> {
    for Traffic { alone, beside, work, shape } in traffic(count) {
        for round in 1..=rounds {
            progress(&format!("{}: {round} of {rounds}", beside.0));
            results.add_sample(alone, run(process, &work, shape, until).await?);
            let (stop, stopped) = oneshot::channel();
            let address = process.address.to_string();
            let exports =
                thread::spawn(move || exports_until(&address, stopped).map_err(|e| e.to_string()));
            let sample = run(process, &work, shape, until).await?;
            // Exports that failed have stopped listening, and say why below.
            let _ = stop.send(());
            exports.join().map_err(|_| "the exports panicked")??;
            results.add_sample(beside, sample);
        }
    }
    Ok(())
}

fn block_on<T>(call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(call)
}

/// Takes a copy out, in a thread of its own so that this works inside a runtime.
fn export(process: &Process) -> Outcome<Vec<u8>> {
    let address = process.address.to_string();
    let copy = thread::spawn(move || {
        let copied = block_on(async {
            let mut file = Vec::new();
            copy_out(&Client::dial(&address, &Identity::default(), SILENCE_MAX).await?, |chunk| {
                file.extend(chunk)
            })
            .await?;
            Ok(file)
        });
        copied.map_err(|error| error.to_string())
    });
    Ok(copy.join().map_err(|_| "the export panicked")??)
}

async fn copy_out(client: &Client, mut take: impl FnMut(Bytes)) -> Outcome<()> {
    let request = ExportSnapshotRequest { namespaces: vec![ASYNC.to_owned()] };
    let mut stream = client.admin().export_snapshot(request).await?.into_inner();
    let mut is_whole = false;
    while let Some(message) = stream.message().await? {
        take(message.chunk);
        is_whole = message.summary.is_some();
    }
    if is_whole { Ok(()) } else { Err("the export ended without a summary".into()) }
}

fn exports_until(address: &str, mut stopped: oneshot::Receiver<()>) -> Outcome<()> {
    block_on(async {
        let client = Client::dial(address, &Identity::default(), SILENCE_MAX).await?;
        loop {
            tokio::select! {
                _ = &mut stopped => return Ok(()),
                copied = copy_out(&client, drop) => copied?,
            }
        }
    })
}

fn restore(process: &Process, file: Bytes, count: u64) -> Outcome<()> {
    let address = process.address.to_string();
    let upload = thread::spawn(move || {
        let restored = block_on(async {
            let mode = RestoreMode::Overwrite.into();
            let options = RestoreSnapshotOptions { mode, ..Default::default() };
            let message = |payload| RestoreSnapshotRequest { payload: Some(payload) };
            let chunks = (0..file.len()).step_by(CHUNK_BYTES).map(move |start| {
                let end = (start + CHUNK_BYTES).min(file.len());
                message(Payload::Chunk(file.slice(start..end)))
            });
            let messages = std::iter::once(message(Payload::Options(options))).chain(chunks);
            let client = Client::dial(&address, &Identity::default(), SILENCE_MAX).await?;
            let answer = client.admin().restore_snapshot(tokio_stream::iter(messages)).await?;
            Ok(answer.into_inner().restored_count)
        });
        restored.map_err(|error| error.to_string())
    });
    let restored = upload.join().map_err(|_| "the restore panicked")??;
    if u64::try_from(restored)? == count { Ok(()) } else { Err("not all was restored".into()) }
}

#[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^52")]
fn rate(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64()
}

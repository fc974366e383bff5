//! `import`: brings the entries of an original log into a running server.

mod args;
mod line;
mod replay;
mod report;
mod send;
mod targets;

use std::io::BufReader;

use tonic::Code;

use super::Session;
use super::failure::Outcome;
use super::snapshot::{Progress, cannot_read, open};
use crate::client::Client;
use crate::model::UnixMillis;
use crate::wire::v1 as wire;

pub(super) use args::Import;
use replay::Replay;
use report::Report;
use send::Sender;
use targets::targets;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) async fn run(session: &Session, args: Import) -> Outcome {
    let mut report = Report::new(session.output);
    let mut replay = Replay::default();
    let (source, total) = open(&args.pykv_log)?;
    let progress = Progress::of_bytes(session.output, total);
    let mut said = Ok(());
    let mut complain = |line, problem: &line::Problem| {
        if said.is_ok() {
            said = report.problem(line, problem);
        }
    };
    let mut log = BufReader::with_capacity(CHUNK_BYTES, source);
    replay
        .run(&mut log, &mut complain, &mut |read| progress.add(read))
        .map_err(|error| cannot_read(&args.pykv_log, &error))?;
    drop(progress);
    said?;
    report.lines = replay.lines;

    let client = match session.dial().await {
        Ok(client) => Some(client),
        // A mere look at the log needs no server; only what has expired is then not known.
        Err(_) if args.dry_run => None,
        Err(failure) => return Err(failure),
    };
    let now = match &client {
        Some(client) => Some(present(client).await?),
        None => None,
    };
    let entries = targets(replay.into_entries(), &args, now, &mut report)?;
    match client.filter(|_| !args.dry_run) {
        None => report.would_write(&entries, now.is_some()),
        Some(client) => {
            let progress = Progress::of_items(session.output, entries.len() as u64);
            let mut sender = Sender::new(session, &client, &mut report, &progress);
            for entry in entries {
                sender.take(entry).await?;
            }
            sender.finish().await?;
        }
    }
    report.finish()
}

/// The present moment by the server's clock, which is the one that decides what has expired.
async fn present(client: &Client) -> Outcome<UnixMillis> {
    let request = wire::GetStatsRequest { include_namespaces: false };
    let answer = client.admin().get_stats(client.request(request)).await?.into_inner();
    let stats = answer.stats.unwrap_or_default();
    let millis = |seconds: i64, nanos: i32| {
        let millis = seconds.saturating_mul(1000).saturating_add(i64::from(nanos) / 1_000_000);
        u64::try_from(millis).unwrap_or_default()
    };
    let started = stats.start_time.map_or(0, |time| millis(time.seconds, time.nanos));
    let uptime = stats.uptime.map_or(0, |length| millis(length.seconds, length.nanos));
    Ok(UnixMillis::from_millis(started.saturating_add(uptime)))
}

/// Whether what stands against a batch stands against each of its entries, and not against all others.
fn is_about_entries(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::NotFound)
}

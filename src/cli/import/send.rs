//! Entries into the server: in batches, patiently, and each refusal by its line.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::is_about_entries;
use super::line::Expiry;
use super::report::Report;
use super::targets::Target;
use crate::cli::Session;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::snapshot::Progress;
use crate::client::Client;
use crate::model::{NamespaceName, UnixMillis};
use crate::wire::v1 as wire;

/// Most entries in one batch; the server takes no more.
const BATCH_ENTRIES_MAX: usize = 1000;
/// A batch of so many bytes is sent; one more value of 3 MiB still fits below the server's 4 MiB.
const BATCH_BYTES: usize = 512 << 10;

/// How often a batch is sent again that came too early, and how long to wait where the server does not
/// say.
const REPEATS_MAX: usize = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// Sends entries, those of a namespace together.
pub(super) struct Sender<'s> {
    session: &'s Session,
    client: &'s Client,
    report: &'s mut Report,
    progress: &'s Progress,
    batches: HashMap<NamespaceName, Batch, ahash::RandomState>,
}

#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Target>,
    bytes: usize,
}

impl<'s> Sender<'s> {
    pub(super) fn new(
        session: &'s Session,
        client: &'s Client,
        report: &'s mut Report,
        progress: &'s Progress,
    ) -> Sender<'s> {
        Sender { session, client, report, progress, batches: HashMap::default() }
    }

    /// Sends `entry`, now or together with others.
    pub(super) async fn take(&mut self, entry: Target) -> Outcome {
        let batch = self.batches.entry(entry.namespace.clone()).or_default();
        batch.bytes += entry.key.len() + entry.value.len();
        batch.entries.push(entry);
        if batch.bytes < BATCH_BYTES && batch.entries.len() < BATCH_ENTRIES_MAX {
            return Ok(());
        }
        let batch = mem::take(batch);
        self.send(batch).await
    }

    /// Sends what is left.
    pub(super) async fn finish(mut self) -> Outcome {
        let mut batches: Vec<Batch> = mem::take(&mut self.batches).into_values().collect();
        batches.retain(|batch| !batch.entries.is_empty());
        batches.sort_by_key(|batch| batch.entries[0].line);
        for batch in batches {
            self.send(batch).await?;
        }
        Ok(())
    }

    async fn send(&mut self, batch: Batch) -> Outcome {
        let entries = batch.entries;
        let answer = match self.write(&entries).await? {
            Ok(answer) => answer,
            Err(status) if is_about_entries(status.code()) || has_no_place(&status) => {
                for entry in &entries {
                    self.report.refused(entry.line, &reason_of(&status), status.message())?;
                }
                self.progress.add(entries.len());
                return Ok(());
            }
            Err(status) => return Err(self.given_up(status)),
        };
        for (entry, result) in entries.iter().zip(answer.results) {
            match result.result {
                Some(wire::write_result::Result::Error(error)) => {
                    let details = error.encode_to_vec().into();
                    let code = Code::from_i32(error.code);
                    let status = Status::with_details(code, error.message, details);
                    self.report.refused(entry.line, &reason_of(&status), status.message())?;
                }
                // It has expired on its way.
                Some(wire::write_result::Result::Set(set)) if set.entry.is_none() => {
                    self.report.expired += 1;
                }
                Some(_) | None => self.report.written += 1,
            }
        }
        self.progress.add(entries.len());
        Ok(())
    }

    /// Writes `entries`, again and again while the server asks to come back later.
    async fn write(&self, entries: &[Target]) -> Outcome<Result<wire::BatchWriteResponse, Status>> {
        let mut stub = self.client.key_value();
        let mut repeats = 0;
        loop {
            let call = stub.batch_write(self.client.request(request(entries)));
            match self.session.within(call).await? {
                Ok(answer) => return Ok(Ok(answer.into_inner())),
                Err(status) => {
                    let Some(pause) = pause(&status).filter(|_| repeats < REPEATS_MAX) else {
                        return Ok(Err(status));
                    };
                    repeats += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn given_up(&self, status: Status) -> Failure {
        let written = self.report.written;
        Failure::from(status).after(&format!("{written} entries were written, and may be again"))
    }
}

fn request(entries: &[Target]) -> wire::BatchWriteRequest {
    let operation = |entry: &Target| {
        let expiration = match entry.expiry {
            // What its namespace says.
            Expiry::Never => None,
            Expiry::At(deadline) => {
                let policy = wire::expiration::Policy::ExpireTime(timestamp(deadline));
                Some(wire::Expiration { policy: Some(policy) })
            }
        };
        let set = wire::SetRequest {
            key: entry.key.clone(),
            value: entry.value.clone().into_bytes().into(),
            expiration,
            ..Default::default()
        };
        wire::WriteOperation { operation: Some(wire::write_operation::Operation::Set(set)) }
    };
    let namespace = entries.first().map_or("", |entry| entry.namespace.as_str()).to_owned();
    let operations = entries.iter().map(operation).collect();
    wire::BatchWriteRequest { namespace, operations, atomic: false }
}

fn timestamp(moment: UnixMillis) -> prost_types::Timestamp {
    let millis = i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds: millis / 1000, nanos }
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Whether there is no namespace for these entries, and none to be made.
fn has_no_place(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && reason_of(status) == "TOO_MANY_NAMESPACES"
}

/// How long to wait before the same is asked again; none where that does not help.
fn pause(status: &Status) -> Option<Duration> {
    let is_early = matches!(reason_of(status).as_str(), "RATE_LIMITED" | "OVERLOADED");
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    is_early.then(|| asked.unwrap_or(PAUSE))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str, delay: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "pykv", HashMap::new());
        if delay.is_some() {
            details.set_retry_info(delay);
        }
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn only_what_passes_is_waited_for() {
        let second = Duration::from_secs(1);
        let limited = status(Code::ResourceExhausted, "RATE_LIMITED", Some(second));
        assert_eq!(pause(&limited), Some(second));
        assert_eq!(pause(&status(Code::Unavailable, "OVERLOADED", None)), Some(PAUSE));
        for reason in ["DISK_FULL", "NAMESPACE_QUOTA_EXCEEDED", "SHUTTING_DOWN", ""] {
            assert_eq!(pause(&status(Code::Unavailable, reason, Some(second))), None, "{reason}");
        }
    }

    #[test]
    fn an_entry_is_sent_with_its_moment_or_as_its_namespace_says() {
        let target = |expiry| Target {
            line: 1,
            namespace: NamespaceName::default(),
            key: "k".to_owned(),
            value: "ü".to_owned(),
            expiry,
        };
        let at = Expiry::At(UnixMillis::from_millis(1_234_567));
        let request = request(&[target(at), target(Expiry::Never)]);
        let expiration = |at: usize| match &request.operations[at].operation {
            Some(wire::write_operation::Operation::Set(set)) => set.expiration,
            other => panic!("{other:?}"),
        };
        let moment = prost_types::Timestamp { seconds: 1_234, nanos: 567_000_000 };
        let policy = Some(wire::expiration::Policy::ExpireTime(moment));
        assert_eq!(expiration(0), Some(wire::Expiration { policy }));
        assert_eq!(expiration(1), None);
        assert_eq!(request.namespace, "default");
    }
}

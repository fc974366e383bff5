//! ExportSnapshot and RestoreSnapshot: a file of any size in messages of a bounded one.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::places::Places;
use super::validate::Upload;
use super::{convert, status, validate};
use crate::store::{Error, Export, Piece, Restore, Store};
use crate::telemetry;
use crate::wire::v1 as wire;

/// Most exports at a time: each has a thread, and may have a file on the disk.
const EXPORTS_MAX: usize = 4;
/// Most restores at a time: each has a thread and some tens of megabytes.
const RESTORES_MAX: usize = 2;

/// Longest pause between two messages of an upload: nobody keeps a place without using it.
const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(60);

/// The messages of an export.
pub(super) type Exported =
    Pin<Box<dyn Stream<Item = Result<wire::ExportSnapshotResponse, Status>> + Send>>;

/// Places for snapshots, over all callers.
#[derive(Debug)]
pub(super) struct Snapshots {
    exports: Places,
    restores: Places,
}

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots { exports: Places::new(EXPORTS_MAX), restores: Places::new(RESTORES_MAX) }
    }

    pub(super) async fn export<S: Store>(
        &self,
        store: &S,
        request: wire::ExportSnapshotRequest,
    ) -> Result<Response<Exported>, Status> {
        let names = validate::export_snapshot(&request)?;
        let place = self.exports.take()?;
        let mut export = store.export_snapshot(&names).await.map_err(|error| failed(&error))?;
        let messages = async_stream::stream! {
            let _place = place;
            let tally = Tally::of("/pykv.v1.AdminService/ExportSnapshot");
            loop {
                let begun = telemetry::message_begins();
                let piece = export.next().await;
                tally.count(begun, piece.as_ref().map(piece_bytes));
                match piece {
                    Ok(Piece::Bytes(chunk)) => {
                        yield Ok(wire::ExportSnapshotResponse { chunk, summary: None });
                        // One piece for one turn of the worker: small calls on other connections
                        // wait for that one, not for as much as a window takes.
                        yield_now().await;
                    }
                    Ok(Piece::End(summary)) => {
                        let summary = Some(convert::snapshot_summary(summary));
                        yield Ok(wire::ExportSnapshotResponse { summary, ..Default::default() });
                        break;
                    }
                    Err(error) => {
                        yield Err(failed(&error));
                        break;
                    }
                }
            }
        };
        Ok(Response::new(Box::pin(messages)))
    }

    pub(super) async fn restore<S: Store>(
        &self,
        store: &S,
        mut messages: Streaming<wire::RestoreSnapshotRequest>,
    ) -> Result<Response<wire::RestoreSnapshotResponse>, Status> {
        let _place = self.restores.take()?;
        let tally = Tally::of("/pykv.v1.AdminService/RestoreSnapshot");
        let mut begun = telemetry::message_begins();
        let options = validate::restore_options(next(&mut messages).await?)?;
        let begin = store.restore_snapshot(options).await;
        tally.count(begun, begin.as_ref().map(|_| 0));
        let mut restore = begin.map_err(|error| failed(&error))?;
        while let Some(message) = next(&mut messages).await? {
            begun = telemetry::message_begins();
            let Upload(chunk) = validate::upload(message)?;
            let bytes = chunk.len();
            let taken = restore.push(chunk).await;
            tally.count(begun, taken.as_ref().map(|_| bytes));
            taken.map_err(|error| failed(&error))?;
        }
        begun = telemetry::message_begins();
        let restored = restore.finish().await;
        tally.count(begun, restored.as_ref().map(|_| 0));
        let restored = restored.map_err(|error| failed(&error))?;
        Ok(Response::new(convert::restored(restored)))
    }
}

/// The next message of an upload; none at its end.
async fn next(
    messages: &mut Streaming<wire::RestoreSnapshotRequest>,
) -> Result<Option<wire::RestoreSnapshotRequest>, Status> {
    match tokio::time::timeout(UPLOAD_SILENCE_MAX, messages.message()).await {
        Ok(message) => message,
        Err(_) => Err(status::upload_silent(UPLOAD_SILENCE_MAX)),
    }
}

/// Counts the messages of a stream.
struct Tally(Option<&'static telemetry::Method>);

impl Tally {
    /// The tally of the method at `path`; counts nothing where telemetry does not know it.
    fn of(path: &str) -> Tally {
        Tally(telemetry::find(path))
    }

    /// Counts a message that was begun then, by the bytes it carried or by why it failed.
    fn count(&self, begun: Instant, outcome: Result<usize, &Error>) {
        let Some(method) = self.0 else { return };
        let failure = outcome.err().map(failed);
        method.answered(begun, Instant::now(), failure.as_ref(), || outcome.unwrap_or(0));
    }
}

fn piece_bytes(piece: &Piece) -> usize {
    match piece {
        Piece::Bytes(chunk) => chunk.len(),
        Piece::End(_) => 0,
    }
}

fn failed(error: &Error) -> Status {
    status::of_error(error, "").into_status()
}

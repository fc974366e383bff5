//! ExportSnapshot and RestoreSnapshot: a file of any size in messages of a bounded one.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::access::Pass;
use super::opening::counted;
use super::places::{Place, Places};
use super::validate::Upload;
use super::{Role, convert, status, validate};
use crate::store::{Error, Export, Piece, Restore, RestoreOptions, Store};
use crate::telemetry;
use crate::wire::v1 as wire;

/// Most exports at a time: each has a thread, and may have a file on the disk.
const EXPORTS_MAX: usize = 4;
/// Most restores at a time: each has a thread and some tens of megabytes.
const RESTORES_MAX: usize = 2;

/// Longest pause between two messages of an upload: nobody keeps a place without using it.
const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Longest pause between two pieces that the caller of an export takes, for the same reason.
const EXPORT_SILENCE_MAX: Duration = Duration::from_secs(60);

const EXPORT: &str = "/pykv.v1.AdminService/ExportSnapshot";
const RESTORE: &str = "/pykv.v1.AdminService/RestoreSnapshot";

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
        pass: &Pass,
    ) -> Result<Response<Exported>, Status> {
        let begun = telemetry::message_begins();
        let opened = self.open_export(store, &request, pass).await;
        let (place, export) = counted(EXPORT, begun, opened)?;
        let mut pieces = handed_on(export, place, EXPORT_SILENCE_MAX);
        let messages = async_stream::stream! {
            let tally = Tally::of(EXPORT);
            loop {
                let begun = telemetry::message_begins();
                let piece = match pieces.recv().await {
                    Some(piece) => piece.map_err(|error| failed(&error)),
                    None => Err(status::export_left(EXPORT_SILENCE_MAX)),
                };
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
                    Err(status) => {
                        yield Err(status);
                        break;
                    }
                }
            }
        };
        Ok(Response::new(Box::pin(messages)))
    }

    async fn open_export<S: Store>(
        &self,
        store: &S,
        request: &wire::ExportSnapshotRequest,
        pass: &Pass,
    ) -> Result<(Place, S::Export), Status> {
        let names = validate::export_snapshot(request)?;
        if names.is_empty() {
            pass.check_on_server(Role::Owner)?;
        }
        names.iter().try_for_each(|name| pass.check(Role::Owner, name.as_str()))?;
        let place = self.exports.take()?;
        let export = store.export_snapshot(&names).await.map_err(|error| failed(&error))?;
        Ok((place, export))
    }

    pub(super) async fn restore<S: Store>(
        &self,
        store: &S,
        mut messages: Streaming<wire::RestoreSnapshotRequest>,
        pass: &Pass,
    ) -> Result<Response<wire::RestoreSnapshotResponse>, Status> {
        let mut begun = telemetry::message_begins();
        let _place = counted(RESTORE, begun, self.restores.take())?;
        let tally = Tally::of(RESTORE);
        let first = next(&mut messages).await?;
        begun = telemetry::message_begins();
        let options = counted(RESTORE, begun, validate::restore_options(first))?;
        counted(RESTORE, begun, may_restore(store, &options, pass).await)?;
        let begin = store.restore_snapshot(options).await.map_err(|error| failed(&error));
        tally.count(begun, begin.as_ref().map(|_| 0));
        let mut restore = begin?;
        while let Some(message) = next(&mut messages).await? {
            begun = telemetry::message_begins();
            let Upload(chunk) = counted(RESTORE, begun, validate::upload(message))?;
            let bytes = chunk.len();
            let taken = restore.push(chunk).await.map_err(|error| failed(&error));
            tally.count(begun, taken.as_ref().map(|()| bytes));
            taken?;
        }
        begun = telemetry::message_begins();
        let restored = restore.finish().await.map_err(|error| failed(&error));
        tally.count(begun, restored.as_ref().map(|_| 0));
        Ok(Response::new(convert::restored(restored?)))
    }
}

/// Whether a caller may restore into every namespace there will be something in. One that does not exist
/// is created with the policy in the file, which is not for its owner to choose.
async fn may_restore(
    store: &impl Store,
    options: &RestoreOptions,
    pass: &Pass,
) -> Result<(), Status> {
    if options.namespaces.is_empty() {
        // Which there are in the file is known only when it is read.
        return pass.check_on_server(Role::Admin);
    }
    for name in &options.namespaces {
        let target = options.renames.get(name).unwrap_or(name);
        pass.check(Role::Owner, target.as_str())?;
        if let Err(Error::NamespaceNotFound(_)) = store.namespace(target).await {
            pass.check_on_server(Role::Admin)?;
        }
    }
    Ok(())
}

/// The pieces of `export`, as they are taken. Where none is taken for `silence_max`, the export and its
/// `place` are given up, and no end comes: a stream is not asked while its caller takes nothing, so
/// this is not for the stream to see.
fn handed_on(
    mut export: impl Export,
    place: Place,
    silence_max: Duration,
) -> mpsc::Receiver<Result<Piece, Error>> {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        loop {
            let piece = tokio::select! {
                biased;
                () = sender.closed() => return,
                piece = export.next() => piece,
            };
            let is_last = !matches!(piece, Ok(Piece::Bytes(_)));
            match timeout(silence_max, sender.send(piece)).await {
                Ok(Ok(())) if !is_last => {}
                Ok(Ok(()) | Err(_)) => return,
                Err(_) => return tracing::info!("nobody takes a snapshot any more"),
            }
        }
    });
    pieces
}

/// The next message of an upload; none at its end. An upload that breaks off is counted.
async fn next(
    messages: &mut Streaming<wire::RestoreSnapshotRequest>,
) -> Result<Option<wire::RestoreSnapshotRequest>, Status> {
    let message = match timeout(UPLOAD_SILENCE_MAX, messages.message()).await {
        Ok(message) => message.map_err(status::of_broken_stream),
        Err(_) => Err(status::upload_silent(UPLOAD_SILENCE_MAX)),
    };
    counted(RESTORE, telemetry::message_begins(), message)
}

/// Counts the messages of a stream.
struct Tally(Option<&'static telemetry::Method>);

impl Tally {
    /// The tally of the method at `path`; counts nothing where telemetry does not know it.
    fn of(path: &str) -> Tally {
        Tally(telemetry::find(path))
    }

    /// Counts a message that was begun then, by the bytes it carried or by why it failed.
    fn count(&self, begun: Instant, outcome: Result<usize, &Status>) {
        let Some(method) = self.0 else { return };
        method.answered(begun, Instant::now(), outcome.err(), || outcome.unwrap_or(0));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// So many pieces, and then no end.
    struct Endless(usize);

    impl Export for Endless {
        async fn next(&mut self) -> Result<Piece, Error> {
            if self.0 == 0 {
                std::future::pending().await
            }
            self.0 -= 1;
            Ok(Piece::Bytes(bytes::Bytes::from_static(b"piece")))
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    /// Waits until the place is free.
    async fn await_place(places: &Places) {
        while places.take().is_err() {
            yield_now().await;
        }
    }

    #[test]
    fn an_export_that_nobody_takes_gives_its_place_up() {
        block_on(async {
            let places = Places::new(1);
            let mut pieces = handed_on(Endless(9), places.take().unwrap(), Duration::ZERO);
            await_place(&places).await;
            assert!(matches!(pieces.recv().await, Some(Ok(Piece::Bytes(_)))), "it was there");
            assert!(pieces.recv().await.is_none());
        });
    }

    #[test]
    fn an_export_that_is_taken_goes_on_until_its_caller_is_gone() {
        block_on(async {
            let places = Places::new(1);
            let mut pieces = handed_on(Endless(9), places.take().unwrap(), EXPORT_SILENCE_MAX);
            for _ in 0..9 {
                assert!(matches!(pieces.recv().await, Some(Ok(Piece::Bytes(_)))));
            }
            assert!(places.take().is_err());
            drop(pieces);
            await_place(&places).await;
        });
    }
}

//! `snapshot restore`: from a file into a server.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::args::Restore;
use super::inspect::{cannot_read, open};
use super::{Progress, counted, summary_json};
use crate::cli::Session;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::json::long;
use crate::cli::output::{self, Output};
use crate::wire::v1 as wire;
use crate::wire::v1::restore_snapshot_request::Payload;

/// Bytes in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages read ahead.
const CHUNKS_AHEAD: usize = 4;

pub(super) async fn restore(session: &Session, args: Restore) -> Outcome {
    let is_dry = args.dry_run;
    let options = wire::RestoreSnapshotOptions {
        mode: wire::RestoreMode::from(args.mode).into(),
        namespaces: args.namespaces,
        rename_namespaces: args.rename.into_iter().collect(),
        validate_only: is_dry,
    };
    let (source, total) = open(&args.file)?;
    let client = session.dial().await?;
    let (complain, mut complaints) = mpsc::channel(1);
    let pace = Arc::<Pace>::default();
    let upload = Upload {
        options: Some(options),
        chunks: read_ahead(source)?,
        complain,
        is_broken: false,
        pace: Arc::clone(&pace),
        progress: Progress::of_bytes(session.output, total),
    };
    let mut admin = client.admin();
    let answer = tokio::select! {
        answer = admin.restore_snapshot(upload) => answer?.into_inner(),
        Some(error) = complaints.recv() => return Err(cannot_read(&args.file, &error)),
        () = pace.stands_still(session.timeout) => return Err(session.silent()),
    };
    match session.output {
        Output::Json => output::json(&json!({
            "summary": answer.summary.as_ref().map(summary_json),
            "restoredCount": long(answer.restored_count),
            "skippedCount": long(answer.skipped_count),
            "expiredCount": long(answer.expired_count),
        })),
        Output::Text => output::line(&told(&answer, is_dry)),
    }
}

fn told(answer: &wire::RestoreSnapshotResponse, is_dry: bool) -> String {
    let entries = counted(answer.restored_count, "entry", "entries");
    let mut text = match is_dry {
        true => format!("the snapshot is whole; {entries} would be restored"),
        false => format!("{entries} restored"),
    };
    if answer.skipped_count > 0 {
        text += &format!(", {} skipped because they exist", answer.skipped_count);
    }
    if answer.expired_count > 0 {
        text += &format!(", {} left out because they expired", answer.expired_count);
    }
    text
}

/// Reads `source` on a thread of its own: a pipe may be slow.
fn read_ahead(mut source: Box<dyn Read + Send>) -> Outcome<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let read = move || {
        loop {
            let chunk = next_chunk(&mut *source);
            let is_broken = chunk.is_err();
            let is_over = chunk.as_ref().is_ok_and(Bytes::is_empty);
            if is_over || sender.blocking_send(chunk).is_err() || is_broken {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("read".into()).spawn(read);
    thread.map_err(|error| Failure::caused(Exit::Temporary, "cannot start a thread", &error))?;
    Ok(chunks)
}

/// Up to [`CHUNK_BYTES`]; none at the end.
fn next_chunk(source: &mut dyn Read) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    source.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

/// The messages of an upload.
struct Upload {
    options: Option<wire::RestoreSnapshotOptions>,
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// Told why the source cannot be read. Then the upload does not end: nobody shall take a part of
    /// it for the whole.
    complain: mpsc::Sender<io::Error>,
    is_broken: bool,
    pace: Arc<Pace>,
    progress: Progress,
}

impl Stream for Upload {
    type Item = wire::RestoreSnapshotRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let message = |payload| Some(wire::RestoreSnapshotRequest { payload: Some(payload) });
        this.pace.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(options) = this.options.take() {
            return Poll::Ready(message(Payload::Options(options)));
        }
        if this.is_broken {
            return Poll::Pending;
        }
        this.pace.is_waiting.store(true, Ordering::Relaxed);
        let chunk = ready!(this.chunks.poll_recv(cx));
        this.pace.is_waiting.store(false, Ordering::Relaxed);
        match chunk {
            Some(Ok(chunk)) => {
                this.progress.add(chunk.len());
                Poll::Ready(message(Payload::Chunk(chunk)))
            }
            Some(Err(error)) => {
                // There is room for one, and there is only one.
                let _ = this.complain.try_send(error);
                this.is_broken = true;
                Poll::Pending
            }
            None => {
                this.pace.is_over.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            }
        }
    }
}

/// Whether the server takes what is sent.
#[derive(Debug, Default)]
struct Pace {
    /// How often the next message was asked for.
    asked: AtomicU64,
    /// Whether there is none yet.
    is_waiting: AtomicBool,
    /// Whether all was taken. How long the server then works is its own affair; that it is still
    /// there the connection watches.
    is_over: AtomicBool,
}

impl Pace {
    /// Resolves when nothing was asked for in all of `longest` although there was something.
    async fn stands_still(&self, longest: Duration) {
        let mut before = None;
        while !self.has_stood_still(&mut before) {
            tokio::time::sleep(longest).await;
        }
    }

    /// Whether it stands still since it was looked at `before`.
    fn has_stood_still(&self, before: &mut Option<u64>) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        let has_waited =
            self.is_waiting.load(Ordering::Relaxed) || self.is_over.load(Ordering::Relaxed);
        before.replace(asked) == Some(asked) && !has_waited
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn upload(
        source: impl Read + Send + 'static,
    ) -> (Upload, mpsc::Receiver<io::Error>, Arc<Pace>) {
        let (complain, complaints) = mpsc::channel(1);
        let pace = Arc::<Pace>::default();
        let upload = Upload {
            options: Some(wire::RestoreSnapshotOptions::default()),
            chunks: read_ahead(Box::new(source)).unwrap(),
            complain,
            is_broken: false,
            pace: Arc::clone(&pace),
            progress: Progress::of_bytes(Output::Json, None),
        };
        (upload, complaints, pace)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn an_upload_is_the_options_and_then_the_file_in_chunks() {
        let (upload, _complaints, _pace) = upload(io::repeat(7).take(600_000));
        let sizes: Vec<usize> = block_on(
            upload
                .map(|message| match message.payload {
                    Some(Payload::Chunk(chunk)) => chunk.len(),
                    Some(Payload::Options(_)) => 0,
                    None => panic!("an empty message"),
                })
                .collect(),
        );
        assert_eq!(sizes, [0, 262_144, 262_144, 75_712]);
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_not_taken_for_a_whole_one() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no more"))
            }
        }
        let (mut upload, mut complaints, pace) = upload(Broken);
        block_on(async {
            assert!(upload.next().await.is_some());
            tokio::select! {
                message = upload.next() => panic!("{message:?}"),
                error = complaints.recv() => assert_eq!(error.unwrap().to_string(), "no more"),
            }
            assert!(!pace.is_over.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn only_a_server_that_takes_nothing_is_called_silent() {
        let (mut upload, _complaints, pace) = upload(io::repeat(7).take(300_000));
        let mut before = None;
        assert!(!pace.has_stood_still(&mut before), "it has not been watched yet");
        assert!(block_on(upload.next()).is_some());
        assert!(!pace.has_stood_still(&mut before), "it has asked meanwhile");
        assert!(pace.has_stood_still(&mut before));
        pace.is_waiting.store(true, Ordering::Relaxed);
        assert!(!pace.has_stood_still(&mut before), "it has asked, and there is nothing");
        while block_on(upload.next()).is_some() {}
        before = Some(pace.asked.load(Ordering::Relaxed));
        assert!(!pace.has_stood_still(&mut before), "it has everything");
    }
}

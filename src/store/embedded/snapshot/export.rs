//! An export: the cut over all its namespaces, and the walk.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::outlet::{Closed, Outlet, Told};
use super::pace::Pace;
use super::pipe::{Receiver, pipe};
use crate::engine::{CutId, Rest};
use crate::model::{Change, Definition, Mutation, NamespaceId, NamespaceName, UnixMillis};
use crate::store::embedded::commit::Ticket;
use crate::store::embedded::namespace::{Namespace, Turn};
use crate::store::embedded::shared::Shared;
use crate::store::{Error, Export, Piece, SnapshotSummary};
use crate::wal::archive::{Entry, Writer};
use crate::wal::{Kind, Lsn};

/// Bytes on their way out; what the caller is further behind goes through the disk.
const PIPE_BYTES_MAX: usize = 4 << 20;

/// Bytes of entries shown in one turn: some tens of microseconds, which is what a small call may have
/// to wait longer because of an export.
const SLICE_BYTES: usize = 32 << 10;

/// Bytes gathered before they are sent on.
const GATHERED_BYTES: usize = 64 << 10;

/// So often, in slices, what was saved in namespaces that are still to be walked is fetched: some
/// megabytes of walking, in which little can pile up.
const SLICES_PER_ROUND: usize = 64;

/// An export under way.
#[derive(Debug)]
pub struct EmbeddedExport(Receiver<Told>);

impl Export for EmbeddedExport {
    async fn next(&mut self) -> Result<Piece, Error> {
        // The walk always says how it ended, unless the store was closed.
        self.0.recv().await.unwrap_or(Err(Error::Stopped))
    }
}

/// Begins an export of `names`, or of everything.
pub(in crate::store::embedded) async fn export(
    shared: &Arc<Shared>,
    names: &[NamespaceName],
) -> Result<EmbeddedExport, Error> {
    let (sender, receiver) = pipe(PIPE_BYTES_MAX);
    let (begun, beginning) = oneshot::channel();
    let (names, stopper) = (names.to_vec(), sender.pipe());
    let work = move |shared: &Shared| {
        let outlet = Outlet::new(&shared.log, sender);
        match shared.cut(&names) {
            Ok((cut, lsn)) => {
                // A caller who is gone already has dropped the other end, which the walk sees.
                let _ = begun.send(Ok(lsn));
                Walk::new(shared, cut, outlet).run();
            }
            Err(error) => drop(begun.send(Err(error))),
        }
    };
    shared.snapshots.start(shared, move || stopper.stop(), work)?;
    let lsn = beginning.await.unwrap_or(Err(Error::Stopped))?;
    // Nothing leaves that a power failure could still undo.
    shared.commit.wait_read(Ticket::Durable(lsn)).await?;
    Ok(EmbeddedExport(receiver))
}

/// Namespaces as they were at one moment.
struct Cut {
    moment: UnixMillis,
    spaces: Vec<Space>,
}

/// One of them.
struct Space {
    namespace: Arc<Namespace>,
    definition: Definition,
    /// Until nothing is left of it.
    cut: Option<CutId>,
    /// Its number in the archive, once it has one.
    number: NamespaceId,
}

impl Shared {
    /// Places a cut in each of these namespaces at one moment: whoever was answered before it is in it,
    /// whoever asks after it is not. Returns how far the log was then.
    fn cut(&self, names: &[NamespaceName]) -> Result<(Cut, Lsn), Error> {
        self.registry.at_rest(|registry| {
            let mut namespaces: Vec<_> = match names {
                [] => registry.all(),
                names => names.iter().map(|name| self.existing(name)).collect::<Result<_, _>>()?,
            };
            // Always in this order. Nobody else holds two turns, and nobody who holds one waits.
            namespaces.sort_by_key(|namespace| namespace.id);
            namespaces.dedup_by_key(|namespace| namespace.id);
            let there = "nothing is dropped while namespaces are at rest";
            let mut turns: Vec<Turn<'_>> =
                namespaces.iter().map(|namespace| namespace.enter().expect(there)).collect();
            let (moment, lsn) = (self.clock.now(), self.log.appended());
            let spaces = namespaces.iter().zip(&mut turns).map(|(namespace, turn)| Space {
                namespace: Arc::clone(namespace),
                definition: turn.definition().clone(),
                cut: Some(turn.state.engine.cut(moment)),
                number: NamespaceId(0),
            });
            Ok((Cut { moment, spaces: spaces.collect() }, lsn))
        })
    }
}

/// The walk over a cut.
struct Walk<'s> {
    shared: &'s Shared,
    spaces: Vec<Space>,
    writer: Writer,
    outlet: Outlet<'s>,
    pace: Pace,
    slices: usize,
}

impl<'s> Walk<'s> {
    fn new(shared: &'s Shared, cut: Cut, outlet: Outlet<'s>) -> Walk<'s> {
        let writer = shared.log.archive(cut.moment);
        Walk { shared, spaces: cut.spaces, writer, outlet, pace: Pace::new(), slices: 0 }
    }

    fn run(mut self) {
        let begun = Instant::now();
        let walked = self.walk();
        self.forget();
        let Walk { writer, mut outlet, .. } = self;
        let sent = walked.and_then(|()| {
            let elapsed = begun.elapsed();
            let (bytes, archive) = writer.finish();
            outlet.push(bytes)?;
            let summary = SnapshotSummary {
                namespaces: archive.namespaces,
                entries: archive.entries,
                bytes: archive.bytes,
                moment: archive.moment,
            };
            outlet.finish(summary)?;
            let (entries, bytes) = (summary.entries, summary.bytes);
            tracing::info!(entries, bytes, walked = ?elapsed, "a snapshot was exported");
            Ok(())
        });
        match sent {
            Ok(()) => {}
            Err(Closed::Gone) => tracing::info!("nobody waits any more for a snapshot"),
            Err(Closed::NoRoom(error)) => {
                tracing::warn!(%error, "an export was given up");
                outlet.fail(if error.kind() == Kind::Full {
                    Error::DiskFull
                } else {
                    Error::LogFailed
                });
            }
        }
    }

    fn walk(&mut self) -> Result<(), Closed> {
        for at in 0..self.spaces.len() {
            self.spaces[at].number = self.writer.define(&self.spaces[at].definition);
            self.send_if_due()?;
        }
        for at in 0..self.spaces.len() {
            while self.slice(at)? {}
        }
        Ok(())
    }

    /// Shows a slice of one namespace; returns whether there is more.
    fn slice(&mut self, at: usize) -> Result<bool, Closed> {
        let space = &mut self.spaces[at];
        let (Some(cut), number) = (space.cut, space.number) else { return Ok(false) };
        let writer = &mut self.writer;
        // Also one that was dropped since: its cut is still there.
        let mut turn = space.namespace.enter_for_cut();
        let (saved, rest) =
            turn.state.engine.show(cut, SLICE_BYTES, &mut |shown| add(writer, number, shown));
        turn.leave_fairly();
        saved.show(&mut |shown| add(writer, number, shown));
        let is_over = match rest {
            Rest::More => false,
            Rest::Nothing => true,
            Rest::Elsewhere(mut heritage) => {
                space.cut = None;
                while !heritage.show(SLICE_BYTES, &mut |shown| add(&mut self.writer, number, shown))
                {
                    self.send_if_due()?;
                    self.pace.rest(self.outlet.waited());
                }
                true
            }
        };
        if is_over {
            self.spaces[at].cut = None;
        }
        self.send_if_due()?;
        self.slices += 1;
        if self.slices.is_multiple_of(SLICES_PER_ROUND) {
            self.fetch_saved(at + 1)?;
        }
        self.pace.rest(self.outlet.waited());
        Ok(!is_over)
    }

    /// Fetches what was saved meanwhile in the namespaces from `first` on.
    fn fetch_saved(&mut self, first: usize) -> Result<(), Closed> {
        for at in first..self.spaces.len() {
            let space = &self.spaces[at];
            let (Some(cut), number) = (space.cut, space.number) else { continue };
            let saved = space.namespace.enter_for_cut().state.engine.take_saved(cut);
            saved.show(&mut |shown| add(&mut self.writer, number, shown));
            self.send_if_due()?;
        }
        Ok(())
    }

    /// Errors: nobody listens, there is no room, or the store is closing.
    fn send_if_due(&mut self) -> Result<(), Closed> {
        if self.outlet.is_closed() || self.shared.is_stopping() {
            return Err(Closed::Gone);
        }
        if self.writer.gathered() >= GATHERED_BYTES {
            let bytes = self.writer.take();
            self.outlet.push(bytes)?;
        }
        Ok(())
    }

    /// Takes the cuts away that are left; what they held is dropped outside the turns.
    fn forget(&mut self) {
        for space in &mut self.spaces {
            if let Some(cut) = space.cut.take() {
                let held = space.namespace.enter_for_cut().state.engine.drop_cut(cut);
                drop(held);
            }
        }
    }
}

fn add(writer: &mut Writer, number: NamespaceId, shown: &Mutation<'_>) {
    if let Change::Set { key, value, deadline, written } = &shown.change {
        let (version, written, deadline) = (shown.version, *written, *deadline);
        writer.add(number, &Entry { key, value, version, written, deadline });
    }
}

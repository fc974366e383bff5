//! A restore: the file is gathered and verified as it arrives; only then anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::apply::Application;
use super::pipe::{Gone, Receiver, Sender, pipe};
use super::sorter::{Means, SortError, Sorter};
use crate::engine::Engine;
use crate::model::{Definition, NamespaceName, UnixMillis};
use crate::store::embedded::commit::Ticket;
use crate::store::embedded::shared::Shared;
use crate::store::{Error, Restore, RestoreOptions, Restored, SnapshotError, SnapshotSummary};
use crate::wal::archive::{self, Item, Reader};
use crate::wal::{self, Kind};

/// Bytes on their way in: little, so that the memory of one message serves another soon.
const PIPE_BYTES_MAX: usize = 1 << 20;

/// A restore under way.
#[derive(Debug)]
pub struct EmbeddedRestore {
    shared: Arc<Shared>,
    sender: Sender<Upload>,
    /// Until it was heard.
    verdict: Option<oneshot::Receiver<Verdict>>,
}

/// What came of a restore, and what its answer must wait for.
type Verdict = Result<(Restored, Ticket), Error>;

/// What a caller hands over.
#[derive(Debug)]
enum Upload {
    Bytes(Bytes),
    End,
}

impl Restore for EmbeddedRestore {
    async fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        let size = bytes.len();
        match self.sender.send(Upload::Bytes(bytes), size).await {
            Ok(()) => Ok(()),
            // It takes no more because it has come to a verdict, which can only be a bad one.
            Err(Gone) => Err(self.verdict().await.err().unwrap_or(Error::Stopped)),
        }
    }

    async fn finish(mut self) -> Result<Restored, Error> {
        // Where this is not taken there is a verdict already.
        let _ = self.sender.send(Upload::End, 0).await;
        let (restored, ticket) = self.verdict().await?;
        self.shared.commit.wait(ticket).await?;
        Ok(restored)
    }
}

impl EmbeddedRestore {
    /// What came of it; who asks again hears no more than that it is over.
    async fn verdict(&mut self) -> Verdict {
        match self.verdict.take() {
            Some(verdict) => verdict.await.unwrap_or(Err(Error::Stopped)),
            None => Err(Error::Stopped),
        }
    }
}

/// Begins a restore.
pub(in crate::store::embedded) fn restore(
    shared: &Arc<Shared>,
    options: RestoreOptions,
) -> Result<EmbeddedRestore, Error> {
    if !options.validate_only {
        // Nobody should send gigabytes to hear this.
        shared.may_write()?;
    }
    let (sender, receiver) = pipe(PIPE_BYTES_MAX);
    let (tell, verdict) = oneshot::channel();
    let stopper = sender.pipe();
    let work = move |shared: &Shared| {
        if let Some(came) = run(shared, &options, &receiver) {
            // Whoever is gone need not know.
            let _ = tell.send(came);
        }
    };
    shared.snapshots.start(shared, move || stopper.stop(), work)?;
    Ok(EmbeddedRestore { shared: Arc::clone(shared), sender, verdict: Some(verdict) })
}

/// From the first byte to the verdict; none where the caller went away.
fn run(shared: &Shared, options: &RestoreOptions, receiver: &Receiver<Upload>) -> Option<Verdict> {
    let is_abandoned = || shared.is_stopping() || receiver.is_closed();
    let means = Means { log: &shared.log, is_abandoned: &is_abandoned };
    let mut gathering = Gathering::new(options, shared.registry.namespaces_max());
    loop {
        match receiver.recv_blocking()? {
            Upload::End => break,
            Upload::Bytes(bytes) => {
                if let Err(error) = gathering.take(means, shared.clock.now(), &bytes) {
                    return Some(Err(error));
                }
            }
        }
    }
    let begun = Instant::now();
    let mut gathered = match gathering.finish() {
        Ok(gathered) => gathered,
        Err(error) => return Some(Err(error)),
    };
    let skipped = match shared.check(&mut gathered, options, &is_abandoned) {
        Ok(skipped) => skipped,
        Err(error) => return Some(Err(error)),
    };
    if options.validate_only {
        let restored = gathered.entries() - skipped;
        let (summary, expired) = (gathered.summary, gathered.expired);
        return Some(Ok((Restored { summary, restored, skipped, expired }, Ticket::Now)));
    }
    let applied = Application::new(shared, options.mode, &gathered.spaces, &is_abandoned)
        .run(&mut gathered.sorter);
    let (tally, ticket) = match applied {
        Ok(applied) => applied,
        Err(error) => {
            tracing::warn!(%error, "a restore ended before its end");
            return Some(Err(error));
        }
    };
    let elapsed = begun.elapsed();
    tracing::info!(entries = tally.restored, applied = ?elapsed, "a snapshot was restored");
    let expired = gathered.expired + tally.expired;
    let (restored, skipped) = (tally.restored, tally.skipped);
    Some(Ok((Restored { summary: gathered.summary, restored, skipped, expired }, ticket)))
}

/// A namespace of the file that is to be restored.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) definition: Definition,
    /// Where it goes.
    pub(super) target: NamespaceName,
    /// Entries that had not expired when they arrived.
    pub(super) entries: u64,
    /// What they will be charged.
    pub(super) charge: u64,
    /// The most that one of them will be.
    pub(super) charge_max: u64,
    /// The largest value.
    pub(super) value_bytes_max: usize,
    /// Bytes that they take in the file, and about as many in the log.
    pub(super) file_bytes: u64,
}

/// A file that is whole.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) summary: SnapshotSummary,
    /// By number in the file, from 1 on; none: not asked for.
    pub(super) spaces: Vec<Option<Space>>,
    pub(super) sorter: Sorter,
    /// Entries left out because they had expired on arrival.
    pub(super) expired: u64,
}

impl Gathered {
    /// The namespaces to be restored, with their numbers among `spaces`.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (u32, &Space)> {
        (0..).zip(&self.spaces).filter_map(|(at, space)| Some((at, space.as_ref()?)))
    }

    fn entries(&self) -> u64 {
        self.chosen().map(|(_, space)| space.entries).sum()
    }
}

/// A file on its way in.
struct Gathering<'o> {
    reader: Reader,
    heap: Heap<'o>,
}

/// What was gathered so far.
struct Heap<'o> {
    options: &'o RestoreOptions,
    /// Names that the caller has used and the file has not.
    missing: BTreeSet<NamespaceName>,
    /// Most namespaces there may be, and how many of the file were chosen.
    namespaces_max: usize,
    chosen: usize,
    spaces: Vec<Option<Space>>,
    sorter: Sorter,
    expired: u64,
}

impl<'o> Gathering<'o> {
    fn new(options: &'o RestoreOptions, namespaces_max: usize) -> Gathering<'o> {
        let missing = options.namespaces.iter().chain(options.renames.keys()).cloned().collect();
        let (spaces, sorter) = (Vec::new(), Sorter::new());
        let heap = Heap { options, missing, namespaces_max, chosen: 0, spaces, sorter, expired: 0 };
        Gathering { reader: Reader::new(), heap }
    }

    /// Errors: damage, no room, or more namespaces than there may be.
    fn take(&mut self, means: Means<'_>, now: UnixMillis, bytes: &[u8]) -> Result<(), Error> {
        let Gathering { reader, heap } = self;
        let mut taken = Ok(());
        reader.feed(bytes, &mut |item| {
            if taken.is_ok() {
                taken = heap.take(means, now, item);
            }
        })?;
        taken
    }

    /// Errors: the file is not whole, or does not go with the options.
    fn finish(self) -> Result<Gathered, Error> {
        let archive = self.reader.finish()?;
        let summary = SnapshotSummary {
            namespaces: archive.namespaces,
            entries: archive.entries,
            bytes: archive.bytes,
            moment: archive.moment,
        };
        let Heap { missing, spaces, sorter, expired, .. } = self.heap;
        if !missing.is_empty() {
            let names = missing.iter().map(|name| name.as_str().to_owned()).collect();
            return Err(Error::Snapshot(SnapshotError::NotInside(names)));
        }
        let gathered = Gathered { summary, spaces, sorter, expired };
        let mut sources: BTreeMap<&NamespaceName, Vec<String>> = BTreeMap::new();
        for (_, space) in gathered.chosen() {
            let name = space.definition.name.as_str().to_owned();
            sources.entry(&space.target).or_default().push(name);
        }
        sources.retain(|_, sources| sources.len() > 1);
        if !sources.is_empty() {
            let collision = |(target, sources): (&NamespaceName, &Vec<_>)| {
                (target.to_string(), sources.clone())
            };
            return Err(Error::Snapshot(SnapshotError::RenamesCollide(
                sources.iter().map(|(t, s)| collision((t, s))).collect(),
            )));
        }
        Ok(gathered)
    }
}

impl Heap<'_> {
    fn take(&mut self, means: Means<'_>, now: UnixMillis, item: Item<'_>) -> Result<(), Error> {
        match item {
            Item::Definition(definition) => self.define(definition)?,
            Item::Entry { namespace, entry, encoded } => {
                // The reader has checked that it is one of those defined, counted from 1.
                let at = namespace.0 - 1;
                let Some(space) = &mut self.spaces[at as usize] else { return Ok(()) };
                if entry.deadline.is_some_and(|deadline| deadline <= now) {
                    self.expired += 1;
                    return Ok(());
                }
                let charge = Engine::charge(entry.key.len(), entry.value.len());
                space.entries += 1;
                space.charge += charge;
                space.charge_max = space.charge_max.max(charge);
                space.value_bytes_max = space.value_bytes_max.max(entry.value.len());
                space.file_bytes += encoded.len() as u64;
                self.sorter.add(means, at, entry.version, encoded)?;
            }
        }
        Ok(())
    }

    /// Errors: nobody could restore as many, so they need not be kept until all are known.
    fn define(&mut self, definition: Definition) -> Result<(), Error> {
        let RestoreOptions { namespaces, renames, .. } = self.options;
        let name = &definition.name;
        self.missing.remove(name);
        let is_chosen = namespaces.is_empty() || namespaces.contains(name);
        self.chosen += usize::from(is_chosen);
        if self.chosen > self.namespaces_max {
            return Err(Error::TooManyNamespaces { limit: self.namespaces_max });
        }
        let target = renames.get(name).unwrap_or(name).clone();
        self.spaces.push(is_chosen.then_some(Space {
            definition,
            target,
            entries: 0,
            charge: 0,
            charge_max: 0,
            value_bytes_max: 0,
            file_bytes: 0,
        }));
        Ok(())
    }
}

impl From<archive::Error> for Error {
    fn from(error: archive::Error) -> Error {
        match error {
            archive::Error::Damaged { offset, wrong } => {
                Error::Snapshot(SnapshotError::Damaged { offset, expected: wrong.to_string() })
            }
            archive::Error::Newer { found, supported } => {
                Error::Snapshot(SnapshotError::Newer { found, supported })
            }
        }
    }
}

impl From<SortError> for Error {
    fn from(error: SortError) -> Error {
        match error {
            SortError::Spool(error) => no_room(&error),
            SortError::Abandoned => Error::Stopped,
            SortError::Damaged => {
                tracing::error!(%error, "a restore was given up");
                Error::LogFailed
            }
        }
    }
}

/// What it means that the disk does not take something beside the log.
pub(super) fn no_room(error: &wal::Error) -> Error {
    tracing::warn!(%error, "there is no room beside the log");
    if error.kind() == Kind::Full { Error::DiskFull } else { Error::LogFailed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::snapshots::{export, options};
    use crate::store::conformance::{many_in, one_in, set, space};
    use crate::store::embedded::Embedded;
    use crate::store::embedded::tests::{block_on, unstarted};
    use crate::store::{RestoreMode, Settings};

    fn started() -> (tempfile::TempDir, Embedded) {
        let dir = tempfile::tempdir().unwrap();
        let store = unstarted(dir.path());
        store.replay(&|settings: Settings, _| Ok(settings)).unwrap();
        (dir, store)
    }

    fn gather(
        shared: &Shared,
        options: &RestoreOptions,
        namespaces_max: usize,
        file: &[u8],
    ) -> Result<Gathered, Error> {
        let mut gathering = Gathering::new(options, namespaces_max);
        let means = Means { log: &shared.log, is_abandoned: &|| false };
        gathering.take(means, shared.clock.now(), file)?;
        gathering.finish()
    }

    #[test]
    fn a_check_ends_when_nobody_waits_for_it() {
        block_on(async {
            let (_dir, store) = started();
            let sets = (0..1_000).map(|n| set(&format!("k{n}"), "v")).collect();
            many_in(&store, "n", sets).await;
            let (file, _) = export(&store, &["n"]).await.unwrap();
            let options =
                RestoreOptions { validate_only: true, ..options(RestoreMode::SkipExisting) };
            let shared = store.0.shared.get().unwrap();
            for (is_abandoned, expected) in [(false, Ok(1_000)), (true, Err(Error::Stopped))] {
                let mut gathered = gather(shared, &options, 9, &file).unwrap();
                let checked = shared.check(&mut gathered, &options, &|| is_abandoned);
                assert_eq!(checked, expected);
            }
        });
    }

    #[test]
    fn a_file_with_more_namespaces_than_there_may_be_is_not_gathered_to_its_end() {
        block_on(async {
            let (_dir, store) = started();
            for n in 0..5 {
                one_in(&store, &format!("n{n}"), set("k", "v")).await;
            }
            let names = ["n0", "n1", "n2", "n3", "n4"];
            let (file, _) = export(&store, &names).await.unwrap();
            let all = options(RestoreMode::Overwrite);
            let shared = store.0.shared.get().unwrap();
            assert_eq!(gather(shared, &all, 5, &file).unwrap().chosen().count(), 5);
            // Its end is not needed to say so.
            let part = &file[..file.len() - 1];
            let error = gather(shared, &all, 4, part).unwrap_err();
            assert_eq!(error, Error::TooManyNamespaces { limit: 4 });
            let namespaces = names[..4].iter().map(|name| space(name));
            let some = RestoreOptions { namespaces: namespaces.collect(), ..all };
            assert_eq!(gather(shared, &some, 4, &file).unwrap().chosen().count(), 4);
        });
    }
}

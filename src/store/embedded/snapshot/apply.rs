//! The last part of a restore: entries become facts, a bounded turn at a time, while traffic goes on.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::check::refused;
use super::restore::{Space, no_room};
use super::sorter::{Merge, SortError, Sorter};
use crate::engine::{Engine, Quota, Refusal};
use crate::model::{Change, Eviction, Mutation, UnixMillis, Version};
use crate::store::embedded::commit::Ticket;
use crate::store::embedded::namespace::{Namespace, Turn};
use crate::store::embedded::shared::Shared;
use crate::store::{Error, NamespaceSpec, RestoreMode, SnapshotError};
use crate::wal::Lsn;
use crate::wal::archive::Entry;

/// Bytes of entries that one turn applies: a fraction of a millisecond.
const BATCH_BYTES: usize = 48 << 10;

/// Batches that wait for their turn.
const BATCHES_AHEAD: usize = 8;

/// Most bytes that may wait for the disk before the next turn: whoever else waits for a sync waits
/// for these too.
const UNSYNCED_BYTES_MAX: u64 = 16 << 20;

/// After so many bytes the log is asked to sync them, so that the disk works beside the turns.
const RING_BYTES: u64 = 4 << 20;

/// After so many bytes they are handed to the operating system, from here: a buffer of the log that
/// grew to megabytes, was given back and grew again would cost more than writing it.
const WRITE_BYTES: u64 = 1 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) restored: u64,
    pub(super) skipped: u64,
    pub(super) expired: u64,
}

/// A restore being applied.
pub(super) struct Application<'a> {
    shared: &'a Shared,
    mode: RestoreMode,
    spaces: &'a [Option<Space>],
    /// Whether the caller has gone.
    is_abandoned: &'a dyn Fn() -> bool,
    /// The namespaces that are ready to take entries.
    homes: Vec<Option<Arc<Namespace>>>,
    tally: Tally,
    ticket: Ticket,
    /// How far the log was last asked to go.
    rung: Lsn,
    /// Whether anything was changed.
    is_begun: bool,
}

/// Entries of one namespace that are applied together.
struct Batch {
    space: u32,
    bytes: Vec<u8>,
    entries: Vec<Range<usize>>,
}

/// Makes batches of everything that `merge` gives, until there is no more or nobody takes them.
fn send_batches(merge: &mut Merge<'_>, sender: &SyncSender<Result<Batch, SortError>>) {
    let new = |space| Batch {
        space,
        bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4),
        entries: Vec::new(),
    };
    let mut batch = new(0);
    loop {
        let next = merge.next();
        let is_full = match &next {
            Ok(Some((space, _))) => *space != batch.space || batch.bytes.len() >= BATCH_BYTES,
            Ok(None) | Err(_) => true,
        };
        if is_full && !batch.entries.is_empty() {
            let space = batch.space;
            if sender.send(Ok(std::mem::replace(&mut batch, new(space)))).is_err() {
                return;
            }
        }
        match next {
            Ok(Some((space, entry))) => {
                let start = batch.bytes.len();
                batch.space = space;
                batch.bytes.extend_from_slice(entry);
                batch.entries.push(start..batch.bytes.len());
            }
            Ok(None) => return,
            // Whoever takes no more need not know.
            Err(error) => return drop(sender.send(Err(error))),
        }
    }
}

impl<'a> Application<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        mode: RestoreMode,
        spaces: &'a [Option<Space>],
        is_abandoned: &'a dyn Fn() -> bool,
    ) -> Application<'a> {
        let homes = vec![None; spaces.len()];
        let (tally, ticket) = (Tally::default(), Ticket::Now);
        let rung = shared.log.appended();
        let is_begun = false;
        Application { shared, mode, spaces, is_abandoned, homes, tally, ticket, rung, is_begun }
    }

    /// Applies everything that `sorter` holds.
    ///
    /// Errors: [`SnapshotError::CutShort`] once something was changed.
    pub(super) fn run(mut self, sorter: &mut Sorter) -> Result<(Tally, Ticket), Error> {
        match self.apply(sorter) {
            Ok(()) => Ok((self.tally, self.ticket)),
            Err(cause) if self.is_begun => {
                let (restored, cause) = (self.tally.restored, Box::new(cause));
                Err(Error::Snapshot(SnapshotError::CutShort { restored, cause }))
            }
            Err(error) => Err(error),
        }
    }

    fn apply(&mut self, sorter: &mut Sorter) -> Result<(), Error> {
        let mut merge = sorter.merge()?;
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        thread::scope(|scope| {
            // Reading and merging takes as long as applying, and goes on beside it. It ends when
            // nobody takes the batches any more.
            scope.spawn(move || send_batches(&mut merge, &sender));
            batches.into_iter().try_for_each(|batch| self.take(&batch?))
        })?;
        // Those without entries are restored too.
        for at in 0..self.spaces.len() {
            self.home(at)?;
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) -> Result<(), Error> {
        let decode = |range: &Range<usize>| Entry::decode(&batch.bytes[range.clone()]);
        let entries: Vec<Entry<'_>> =
            batch.entries.iter().filter_map(decode).map(|(entry, _)| entry).collect();
        assert!(entries.len() == batch.entries.len(), "what was read once can be read again");
        let at = batch.space as usize;
        let Some((space, home)) = self.spaces[at].as_ref().zip(self.home(at)?) else {
            return Ok(());
        };
        let charge = entries.iter().map(charge).sum();
        if self.shared.budget.room() < charge {
            self.shared.make_room(&home, charge);
        }
        loop {
            self.check_caller()?;
            let missing = || Error::NamespaceNotFound(space.target.as_str().to_owned());
            let mut turn = home.enter().ok_or_else(missing)?;
            match turn.restore(self.shared, &entries, charge, self.mode) {
                Ok((tally, ticket)) => {
                    turn.leave_fairly();
                    self.note(tally, ticket);
                    break;
                }
                // Others have written more than the disk takes.
                Err(Refused::Error(Error::Overloaded { .. })) => {
                    drop(turn);
                    self.shared.commit.block_until_durable(self.shared.log.appended())?;
                }
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Refusal(refusal)) => return Err(refused(space, refusal)),
            }
        }
        self.shed(&home)?;
        self.pace()
    }

    /// Brings `home` below its limits again, a slice for each turn.
    fn shed(&self, home: &Namespace) -> Result<(), Error> {
        loop {
            self.check_caller()?;
            let Some(mut turn) = home.enter() else { return Ok(()) };
            if !turn.shed(self.shared) {
                return Ok(());
            }
            turn.leave_fairly();
        }
    }

    /// Where the namespace `at` goes: made or cleared, when it is first asked for.
    fn home(&mut self, at: usize) -> Result<Option<Arc<Namespace>>, Error> {
        if let (None, Some(space)) = (&self.homes[at], &self.spaces[at]) {
            self.check_caller()?;
            let home = self.ready(space)?;
            self.is_begun = true;
            self.homes[at] = Some(home);
        }
        Ok(self.homes[at].clone())
    }

    fn ready(&mut self, space: &Space) -> Result<Arc<Namespace>, Error> {
        let shared = self.shared;
        loop {
            if let Some(namespace) = shared.registry.find(&space.target) {
                if self.mode == RestoreMode::Replace {
                    let Some(mut turn) = namespace.enter() else { continue };
                    let (_, ticket) = turn.clear(shared)?;
                    drop(turn);
                    shared.keeper.wake();
                    self.ticket = self.ticket.and(ticket);
                }
                if let Some(mut turn) = namespace.enter() {
                    turn.state.engine.expect(space.entries);
                }
                return Ok(namespace);
            }
            let definition = &space.definition;
            let spec = NamespaceSpec {
                description: definition.description.clone(),
                labels: definition.labels.clone(),
                policy: definition.policy.clone(),
            };
            match shared.registry.create(shared, &space.target, spec) {
                // Found in the next round, as is one that another has made meanwhile.
                Ok((_, ticket)) => self.ticket = self.ticket.and(ticket),
                Err(Error::NamespaceExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn check_caller(&self) -> Result<(), Error> {
        if self.shared.is_stopping() || (self.is_abandoned)() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    fn note(&mut self, tally: Tally, ticket: Ticket) {
        self.tally.restored += tally.restored;
        self.tally.skipped += tally.skipped;
        self.tally.expired += tally.expired;
        self.ticket = self.ticket.and(ticket);
    }

    /// Lets the disk keep up.
    fn pace(&mut self) -> Result<(), Error> {
        let Shared { log, commit, .. } = self.shared;
        let appended = log.appended();
        if appended.saturating_sub(log.written()) > WRITE_BYTES {
            log.write_out().map_err(|error| no_room(&error))?;
        }
        if appended.saturating_sub(log.durable()) > UNSYNCED_BYTES_MAX {
            self.rung = appended;
            return commit.block_until_durable(appended - UNSYNCED_BYTES_MAX / 2);
        }
        if appended - self.rung > RING_BYTES {
            self.rung = appended;
            commit.ring();
        }
        Ok(())
    }
}

fn charge(entry: &Entry<'_>) -> u64 {
    Engine::charge(entry.key.len(), entry.value.len())
}

/// Why a batch was not applied; then none of it was.
pub(super) enum Refused {
    Error(Error),
    Refusal(Refusal),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Error(error)
    }
}

impl Turn<'_> {
    /// Writes `entries`, which are charged `charge` together, as one turn.
    fn restore(
        &mut self,
        shared: &Shared,
        entries: &[Entry<'_>],
        charge: u64,
        mode: RestoreMode,
    ) -> Result<(Tally, Ticket), Refused> {
        self.may_write(shared)?;
        let now = shared.clock.now();
        self.state.engine.ready();
        self.state.engine.warm_up_all(entries.iter().map(|entry| entry.key));
        let (mutations, tally) = self.facts(entries, now, mode).map_err(Refused::Refusal)?;
        self.make_way(shared, &mutations, charge, now).map_err(Refused::Refusal)?;
        // Versions go on behind what made way.
        let mutations = renumbered(mutations, self.state.engine.version());
        let ticket = self.carry_out(shared, &mutations);
        // As many as came; what more has to go for them goes in turns of its own.
        let evicted = self.state.engine.overflow(entries.len());
        self.carry_out(shared, &evicted);
        Ok((tally, ticket))
    }

    /// What `entries` come to here and now.
    fn facts<'e>(
        &self,
        entries: &[Entry<'e>],
        now: UnixMillis,
        mode: RestoreMode,
    ) -> Result<(Vec<Mutation<'e>>, Tally), Refusal> {
        let engine = &self.state.engine;
        let rules = engine.rules();
        let latest = rules.ttl_max.map(|ttl| now.checked_add(ttl).unwrap_or(UnixMillis::MAX));
        let mut mutations = Vec::with_capacity(entries.len());
        let mut tally = Tally::default();
        for entry in entries {
            if entry.deadline.is_some_and(|deadline| deadline <= now) {
                tally.expired += 1;
                continue;
            }
            if entry.value.len() > rules.value_bytes_max {
                let (limit_bytes, size_bytes) =
                    (rules.value_bytes_max as u64, entry.value.len() as u64);
                return Err(Refusal::ValueTooLarge { limit_bytes, size_bytes });
            }
            if mode == RestoreMode::SkipExisting
                && engine.standing(entry.key, now).is_some_and(|standing| standing.is_live)
            {
                tally.skipped += 1;
                continue;
            }
            // A longest time to live shortens what lives longer, as it does for every write.
            let deadline = match (entry.deadline, latest) {
                (Some(deadline), Some(latest)) => Some(deadline.min(latest)),
                (deadline, latest) => deadline.or(latest),
            };
            let change = Change::Set {
                key: Cow::Borrowed(entry.key),
                value: Cow::Borrowed(entry.value),
                deadline,
                // Nothing was written in the future, whatever a file says.
                written: entry.written.min(now),
            };
            mutations.push(Mutation { version: Version::default(), change });
        }
        tally.restored = mutations.len() as u64;
        Ok((mutations, tally))
    }

    /// Makes sure that `mutations`, charged at most `charge`, fit: others have paid what they had to.
    fn make_way(
        &mut self,
        shared: &Shared,
        mutations: &[Mutation<'_>],
        charge: u64,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (evicts, usage) =
            (self.state.engine.rules().eviction == Eviction::Lru, self.state.engine.usage());
        if evicts {
            // Above its own limits it is shed afterwards.
            while shared.budget.room() < charge {
                let lack = charge - shared.budget.room();
                if !self.relieve(shared, lack, mutations.len().max(1)) {
                    break;
                }
            }
            return Ok(());
        }
        let rules = self.state.engine.rules();
        let within = |limit: Option<u64>, used: u64| limit.is_none_or(|limit| used <= limit);
        let keys = mutations.len() as u64;
        if within(rules.keys_max, usage.keys + keys)
            && within(rules.bytes_max, usage.bytes + charge)
            && charge <= shared.budget.room()
        {
            return Ok(());
        }
        let (keys, bytes) = self.growth(mutations, now);
        let exceeds = |quota, limit: Option<u64>, used: u64| match limit {
            Some(limit) if used > limit => Err(Refusal::QuotaExceeded { quota, limit }),
            Some(_) | None => Ok(()),
        };
        exceeds(Quota::Keys, rules.keys_max, usage.keys + keys)?;
        exceeds(Quota::Bytes, rules.bytes_max, usage.bytes + bytes)?;
        if bytes > shared.budget.room() { Err(Refusal::MemoryExhausted) } else { Ok(()) }
    }

    /// By how many keys and bytes the namespace will grow.
    fn growth(&self, mutations: &[Mutation<'_>], now: UnixMillis) -> (u64, u64) {
        let (mut keys, mut bytes) = (0, 0);
        for mutation in mutations {
            if let Change::Set { key, value, .. } = &mutation.change {
                let charge = Engine::charge(key.len(), value.len());
                let standing = self.state.engine.standing(key, now);
                keys += u64::from(standing.is_none());
                bytes += charge.saturating_sub(standing.map_or(0, |standing| standing.charge));
            }
        }
        (keys, bytes)
    }
}

/// `mutations` with the versions behind `version`.
fn renumbered(mut mutations: Vec<Mutation<'_>>, mut version: Version) -> Vec<Mutation<'_>> {
    for mutation in &mut mutations {
        version = version.next();
        mutation.version = version;
    }
    mutations
}

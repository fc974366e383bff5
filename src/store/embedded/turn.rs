//! A turn: rule, log, apply; and what an answer must wait for.

use std::borrow::{Borrow, Cow};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::commit::Ticket;
use super::heat::{self, Access};
use super::namespace::{Turn, Unsynced};
use super::shared::{AbortOnPanic, Shared};
use super::watch::History;
use crate::engine::{Command, Entry, Found, Outcome, Refusal, Scan, View};
use crate::model::{Cause, Change, Durability, Fact, Key, Keys, Mutation, UnixMillis, Version};
use crate::store::{Error, VALUES_BYTES_MAX};
use crate::wal::Lsn;

/// Versions reserved at a time: at a million changes a second, a sync each 65 ms.
const RESERVE_VERSIONS: u64 = 1 << 16;

/// Most entries that one sweep removes; well below a millisecond, so that a mass expiry cannot
/// stall a turn.
const SWEEP_ENTRIES_MAX: usize = 256;

/// Entries put into the order of keys in one turn; about a millisecond.
const INDEX_ENTRIES_MAX: usize = 1024;

/// Bytes of entries logged in one turn when a namespace begins to be logged.
const IMAGE_BYTES: usize = 256 << 10;

/// When a touch may come back that met a namespace on its way into the log.
const IMAGE_RETRY: Duration = Duration::from_millis(100);

/// An entry that expires this soon may be gone before its write is on disk.
const SOON_MILLIS: u64 = 60_000;

/// What came of a turn.
#[derive(Debug)]
pub(super) struct Ruled {
    pub(super) outcomes: Vec<Result<Outcome, Refusal>>,
    pub(super) committed: bool,
    pub(super) ticket: Ticket,
}

/// Whether a reader may meet an absence that this change has caused.
fn removes(change: &Change<'_>, now: UnixMillis) -> bool {
    let soon = |deadline: &Option<UnixMillis>| {
        deadline.is_some_and(|deadline| deadline.millis_since(now) < SOON_MILLIS)
    };
    match change {
        // Gone it is anyway, whatever becomes of the word that it was removed.
        Change::Remove { cause: Cause::Expired, .. } => false,
        Change::Remove { .. } | Change::Clear => true,
        Change::Set { deadline, .. } | Change::Touch { deadline, .. } => soon(deadline),
    }
}

impl Turn<'_> {
    /// Rules on `commands`, if the rate allows them; logs and applies what came of them.
    pub(super) fn write(
        &mut self,
        shared: &Shared,
        commands: &[Command],
        atomic: bool,
    ) -> Result<Ruled, Error> {
        self.admit(commands.len())?;
        self.rule(shared, commands, atomic)
    }

    /// The same for part of a call that was admitted as a whole.
    pub(super) fn rule<C: Borrow<Command>>(
        &mut self,
        shared: &Shared,
        commands: &[C],
        atomic: bool,
    ) -> Result<Ruled, Error> {
        self.may_write(shared)?;
        let touches = |command: &C| matches!(command.borrow(), Command::Touch { .. });
        if !self.can_touch() && commands.iter().any(touches) {
            return Err(Error::Overloaded { retry_after: IMAGE_RETRY });
        }
        let now = shared.clock.now();
        let state = &mut *self.state;
        state.engine.ready();
        let decision = state.engine.decide(commands, atomic, now, shared.budget.room());
        let rejected = |refusal: &Refusal| {
            matches!(refusal, Refusal::QuotaExceeded { .. } | Refusal::MemoryExhausted)
        };
        let refusals = decision.outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        state.quota_rejections += refusals.filter(|refusal| rejected(refusal)).count() as u64;
        let ticket = self.carry_out(shared, &decision.mutations);
        let written = decision.mutations.iter().filter_map(heat::written);
        self.state.heat.note(Access::Write, written.clone().count(), written, now, &shared.gauges);
        Ok(Ruled { outcomes: decision.outcomes, committed: decision.committed, ticket })
    }

    /// Whether a deadline can be moved now: a touch is logged without its value, which is not in the
    /// log yet where the namespace has just begun to be logged.
    pub(super) fn can_touch(&self) -> bool {
        self.state.imaging.is_none()
    }

    /// Whether this namespace may be written to now.
    pub(super) fn may_write(&self, shared: &Shared) -> Result<(), Error> {
        shared.may_change()?;
        match self.durability() {
            Durability::Memory => Ok(()),
            Durability::Async | Durability::Sync => shared.may_log(),
        }
    }

    /// Empties the namespace; returns how many entries went.
    pub(super) fn clear(&mut self, shared: &Shared) -> Result<(u64, Ticket), Error> {
        self.may_write(shared)?;
        let keys = self.live_keys(shared);
        let version = self.state.engine.version().next();
        let ticket = self.carry_out(shared, &[Mutation { version, change: Change::Clear }]);
        Ok((keys, ticket))
    }

    /// Gives memory back for the sake of others: first what is remembered, then least recently used
    /// entries, unless that has to be logged and cannot be. Returns whether there was anything to give.
    pub(super) fn relieve(&mut self, shared: &Shared, bytes: u64, limit: usize) -> bool {
        if self.forget(shared, bytes) {
            return true;
        }
        if !self.may_tidy(shared) {
            return false;
        }
        let evicted = self.state.engine.evict(bytes, limit);
        self.carry_out(shared, &evicted);
        !evicted.is_empty()
    }

    /// Forgets what happened longest ago, about `bytes` of it; returns whether there was anything.
    pub(super) fn forget(&mut self, shared: &Shared, bytes: u64) -> bool {
        let forgotten = self.state.history.shed(bytes);
        self.settle(shared);
        forgotten > 0
    }

    /// Whether entries may be removed that nobody asked to remove: not where the log cannot take the
    /// word of it, since readers would then wait for that.
    fn may_tidy(&self, shared: &Shared) -> bool {
        self.durability() == Durability::Memory || shared.may_log().is_ok()
    }

    /// Removes entries beyond limits that were lowered, unless that has to be logged and cannot be;
    /// returns whether there may be more.
    pub(super) fn shed(&mut self, shared: &Shared) -> bool {
        if !self.may_tidy(shared) {
            return false;
        }
        let evicted = self.state.engine.overflow(SWEEP_ENTRIES_MAX);
        self.carry_out(shared, &evicted);
        !evicted.is_empty()
    }

    /// Removes entries that have expired; returns whether there may be more. Recovery would see the
    /// same deadlines; it is logged because whoever watches is told, and shall be told once. Where
    /// nothing can be logged they stay, invisible as they are.
    pub(super) fn sweep(&mut self, shared: &Shared) -> bool {
        let now = shared.clock.now();
        let due = |turn: &Self| turn.state.engine.next_deadline().is_some_and(|due| due <= now);
        if !due(self) || !self.may_tidy(shared) {
            return false;
        }
        let expired = self.state.engine.expire(now, SWEEP_ENTRIES_MAX);
        if expired.is_empty() {
            return due(self);
        }
        self.carry_out(shared, &expired);
        true
    }

    /// Logs and applies facts, in one step for everybody else.
    pub(super) fn carry_out(&mut self, shared: &Shared, mutations: &[Mutation<'_>]) -> Ticket {
        if mutations.is_empty() {
            return self.seen_all(shared);
        }
        let together = AbortOnPanic;
        let durability = self.durability();
        let lsn = match durability {
            Durability::Memory => None,
            Durability::Async | Durability::Sync => {
                let mutations = Cow::Borrowed(mutations);
                Some(shared.append(&Fact::Changed { namespace: self.home.id, mutations }))
            }
        };
        for mutation in mutations {
            self.state.engine.apply(mutation);
        }
        drop(together);
        let ticket = self.ticket(shared, mutations, lsn);
        self.remember(mutations, shared.clock.now(), ticket);
        self.settle(shared);
        ticket
    }

    /// What the answer to a turn must wait for that has made `mutations`, up to `lsn` in the log.
    fn ticket(&mut self, shared: &Shared, mutations: &[Mutation<'_>], lsn: Option<Lsn>) -> Ticket {
        let Some(last) = mutations.last() else { return Ticket::Now };
        match (self.durability(), lsn) {
            (Durability::Sync, Some(lsn)) => {
                if mutations.iter().any(|mutation| removes(&mutation.change, shared.clock.now())) {
                    self.state.removal = lsn;
                }
                let first = mutations[0].version;
                // Here, too: where nobody reads, nobody else lets go of what is on disk by now.
                self.forget_synced(shared.log.durable());
                self.state.unsynced.push_back(Unsynced { first, last: last.version, lsn });
                Ticket::Durable(lsn)
            }
            (_, lsn) => match (self.reserve(shared, last.version), lsn) {
                (Some(reserved), lsn) => Ticket::Durable(reserved.max(lsn.unwrap_or(0))),
                (None, Some(lsn)) if self.is_ahead(shared, mutations, lsn) => Ticket::Durable(lsn),
                (None, Some(lsn)) => Ticket::Written(lsn),
                (None, None) => Ticket::Now,
            },
        }
    }

    /// Whether the namespace brings more than the disk takes.
    fn is_ahead(&mut self, shared: &Shared, mutations: &[Mutation<'_>], lsn: Lsn) -> bool {
        let bytes = mutations.iter().map(|mutation| mutation.change.bytes()).sum();
        self.state.window.append(bytes, lsn, shared.log.durable())
    }

    /// Tells the budget what the namespace holds now.
    pub(super) fn settle(&mut self, shared: &Shared) {
        let remembered = self.state.history.bytes();
        self.home.remembered.store(remembered, Ordering::Relaxed);
        let bytes = self.state.engine.usage().bytes + remembered;
        shared.budget.settle(&self.home.charged, bytes);
    }

    /// Makes sure that `version` is covered by a reservation. Returns how far the log must be on
    /// disk before anybody may hear of it; `None`: it is.
    fn reserve(&mut self, shared: &Shared, version: Version) -> Option<Lsn> {
        let reserve = &mut self.state.reserve;
        if let Some((through, lsn)) = reserve.coming
            && shared.log.durable() >= lsn
        {
            reserve.through = reserve.through.max(through);
            reserve.coming = None;
        }
        let covered = reserve.coming.map_or(reserve.through, |(through, _)| through);
        let running_low = covered.0 < version.0 + RESERVE_VERSIONS / 2;
        // One under way is given up only when passed: it covers less, but sooner.
        if covered < version || (running_low && reserve.coming.is_none()) {
            let through = Version(version.0 + RESERVE_VERSIONS);
            let lsn = shared.append(&Fact::Reserved { namespace: self.home.id, through });
            reserve.coming = Some((through, lsn));
        }
        let coming = reserve.coming.map_or(0, |(_, lsn)| lsn);
        (version > reserve.through).then_some(coming)
    }

    /// What an answer must wait for that tells of an entry with `version`.
    fn seen(&mut self, shared: &Shared, version: Version) -> Ticket {
        let durable = shared.log.durable();
        let reserve = self.state.reserve;
        if let Some((_, lsn)) = reserve.coming
            && self.durability() != Durability::Sync
            && version > reserve.through
            && lsn > durable
        {
            return Ticket::Durable(lsn);
        }
        self.forget_synced(durable);
        let unsynced = &self.state.unsynced;
        let turn = unsynced.partition_point(|turn| turn.last < version);
        let turn = unsynced.get(turn).filter(|turn| turn.first <= version);
        turn.map_or(Ticket::Now, |turn| Ticket::Durable(turn.lsn))
    }

    fn forget_synced(&mut self, durable: Lsn) {
        let unsynced = &mut self.state.unsynced;
        while unsynced.front().is_some_and(|turn| turn.lsn <= durable) {
            unsynced.pop_front();
        }
    }

    /// Whether nothing in the namespace waits for the disk.
    fn is_settled(&self) -> bool {
        self.state.unsynced.is_empty() && self.state.reserve.coming.is_none()
    }

    /// What an answer must wait for that tells of an absence.
    fn missed(&self, shared: &Shared) -> Ticket {
        let removal = self.state.removal;
        if removal > shared.log.durable() { Ticket::Durable(removal) } else { Ticket::Now }
    }

    /// What an answer must wait for that tells of the whole namespace.
    pub(super) fn seen_all(&mut self, shared: &Shared) -> Ticket {
        let last = self.state.unsynced.back().map(|turn| turn.last);
        self.seen(shared, last.unwrap_or(self.state.engine.version()))
    }

    pub(super) fn get(
        &mut self,
        shared: &Shared,
        key: &Key,
        view: View,
    ) -> Result<(Option<Entry>, Ticket), Error> {
        self.admit(1)?;
        let now = shared.clock.now();
        let found = self.state.engine.get(key.as_str(), view, now);
        let used = std::iter::once(key.as_str());
        self.state.heat.note(Access::Read, 1, used, now, &shared.gauges);
        let ticket = match &found {
            Some(_) if self.is_settled() => Ticket::Now,
            Some(entry) => self.seen(shared, entry.version),
            None => self.missed(shared),
        };
        Ok((found, ticket))
    }

    /// The entry of `key`, without using it.
    pub(super) fn look(&self, shared: &Shared, key: &Key, view: View) -> Option<Entry> {
        self.state.engine.look(key.as_str(), view, shared.clock.now())
    }

    pub(super) fn get_many(
        &mut self,
        shared: &Shared,
        keys: &Keys,
        view: View,
    ) -> Result<(Found, Ticket), Error> {
        self.admit(keys.len())?;
        self.find_many(shared, keys, view)
    }

    /// The same for part of a call that was admitted as a whole.
    pub(super) fn find_many(
        &mut self,
        shared: &Shared,
        keys: &Keys,
        view: View,
    ) -> Result<(Found, Ticket), Error> {
        let (found, ticket) = self.find(shared, keys.iter().map(|key| (key, view)));
        match found.len() == keys.len() {
            true => Ok((found, ticket)),
            false => Err(Error::TooMuch { limit_bytes: VALUES_BYTES_MAX }),
        }
    }

    /// Looks up keys until their values are as many bytes as an answer carries.
    pub(super) fn find<'k>(
        &mut self,
        shared: &Shared,
        keys: impl Iterator<Item = (&'k str, View)> + Clone,
    ) -> (Found, Ticket) {
        let now = shared.clock.now();
        let found = self.state.engine.get_many(keys.clone(), now, VALUES_BYTES_MAX);
        let used = keys.map(|(key, _)| key);
        self.state.heat.note(Access::Read, found.len(), used, now, &shared.gauges);
        if self.is_settled() {
            return (found, Ticket::Now);
        }
        let newest = found.iter().flatten().map(|entry| entry.version).max();
        let seen = newest.map_or(Ticket::Now, |version| self.seen(shared, version));
        let complete = found.iter().all(|entry| entry.is_some());
        let ticket = if complete { seen } else { seen.and(self.missed(shared)) };
        (found, ticket)
    }

    /// Puts a few more entries into the order of keys; true when it is complete.
    pub(super) fn index(&mut self) -> bool {
        let engine = &mut self.state.engine;
        if !engine.index_ready() {
            engine.index_step(INDEX_ENTRIES_MAX);
        }
        engine.index_ready()
    }

    /// A page by key order; the index must be complete.
    pub(super) fn scan(
        &mut self,
        shared: &Shared,
        scan: &Scan,
    ) -> (Vec<(Key, Entry)>, bool, Ticket) {
        let (entries, more) = self.state.engine.scan(scan, shared.clock.now());
        let ticket = self.seen_all(shared);
        (entries, more, ticket)
    }

    /// How many entries start with `prefix`; the index must be complete unless that is empty.
    pub(super) fn count(&mut self, shared: &Shared, prefix: &str) -> (u64, Ticket) {
        let count = self.state.engine.count(prefix, shared.clock.now());
        let ticket = self.seen_all(shared);
        (count, ticket)
    }

    /// From now on nothing is logged: what was logged must not come back as if it were current.
    pub(super) fn leave_the_log(&mut self, shared: &Shared) {
        self.state.imaging = None;
        let version = self.state.engine.version().next();
        self.state.engine.raise_version(version);
        let mutations = [Mutation { version, change: Change::Clear }];
        let mutations = Cow::Borrowed(&mutations[..]);
        let lsn = shared.append(&Fact::Changed { namespace: self.home.id, mutations });
        self.state.history.pass(version, Ticket::Durable(lsn));
    }

    /// At the start: a namespace that is not logged begins empty, whatever the log still has of it
    /// from earlier times.
    pub(super) fn forget_unlogged(&mut self, shared: &Shared) {
        self.state.imaging = None;
        if self.durability() != Durability::Memory {
            return;
        }
        let keys = self.state.engine.usage().keys;
        if keys > 0 {
            let namespace = self.home.name.as_str();
            tracing::warn!(namespace, keys, "a namespace with durability MEMORY begins empty");
            self.leave_the_log(shared);
            let version = self.state.engine.version();
            self.state.engine.apply(&Mutation { version, change: Change::Clear });
        }
        self.state.history = History::new(self.state.engine.version());
    }

    /// Logs a few more of the entries that were written while nothing was logged; returns whether
    /// there are more.
    pub(super) fn log_image(&mut self, shared: &Shared) -> bool {
        let Some(cursor) = self.state.imaging else { return false };
        let (namespace, now) = (self.home.id, shared.clock.now());
        let next = self.image(cursor, IMAGE_BYTES, now, &mut |mutation| {
            let mutations = Cow::Borrowed(std::slice::from_ref(mutation));
            shared.append(&Fact::Changed { namespace, mutations });
        });
        self.state.imaging = next;
        if next.is_none() {
            shared.append(&self.reached());
        }
        next.is_some()
    }

    /// The fact that says how far this namespace's versions have come.
    pub(super) fn reached(&self) -> Fact<'static> {
        Fact::Reached { namespace: self.home.id, version: self.state.engine.version() }
    }

    /// Shows the entries from `cursor` on; see [`Engine::image`](crate::engine::Engine::image).
    pub(super) fn image(
        &self,
        cursor: crate::engine::ImageCursor,
        bytes: usize,
        now: UnixMillis,
        show: &mut dyn FnMut(&Mutation<'_>),
    ) -> Option<crate::engine::ImageCursor> {
        self.state.engine.image(cursor, bytes, now, show)
    }

    /// The fact by which a snapshot keeps versions from going back.
    pub(super) fn reservation(&self) -> Fact<'static> {
        let reserve = self.state.reserve;
        let coming = reserve.coming.map_or(reserve.through, |(through, _)| through);
        let through = self.state.engine.version().max(reserve.through).max(coming);
        Fact::Reserved { namespace: self.home.id, through }
    }
}

//! The verbs of the door, by turns and tickets.

use std::sync::Arc;

use tokio::task::yield_now;

use super::Embedded;
use super::commit::Ticket;
use super::deletion::Deletion;
use super::namespace::{Namespace, Turn};
use super::reach::{defined, in_turn, nothing, ordered, told, with_existing};
use super::run;
use super::shared::Shared;
use super::snapshot::{self, EmbeddedExport, EmbeddedRestore};
use super::turn::Ruled;
use super::watch::Watcher;
use crate::engine::Engine;
use crate::model::{Key, Keys, NamespaceName};
use crate::store::{
    Answer, Batch, Capabilities, Command, Compacted, Entry, Error, Found, HotKeys, NamespaceInfo,
    NamespaceSpec, NamespaceStats, Outcome, Page, Refusal, RestoreOptions, Scan, Settings, Step,
    Store, StoreStats, View, WatchOrder, Written,
};

/// Bytes charged for an entry besides its key and value, and for the text of a counter.
const ENTRY_BYTES: usize = 64;
const COUNTER_BYTES: usize = 24;

impl Store for Embedded {
    type Watching = Watcher;

    type Export = EmbeddedExport;
    type Restore = EmbeddedRestore;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "embedded",
            ordered_scan: true,
            resumable_watch: true,
            atomic_batch: true,
            exact_counts: true,
            namespace_eviction: true,
            ordered_versions: true,
            constant_time_clear: true,
            sync_durability: true,
        }
    }

    async fn get(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        view: View,
    ) -> Result<Option<Entry>, Error> {
        let shared = self.shared()?;
        let read = |turn: &mut Turn<'_>| turn.get(shared, key, view);
        match in_turn(shared, namespace, read) {
            Ok(Some((found, ticket))) => {
                shared.commit.wait_read(ticket).await?;
                Ok(found)
            }
            Ok(None) => nothing(shared, None).await,
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn get_many(
        &self,
        namespace: &NamespaceName,
        keys: &Keys,
        view: View,
    ) -> Result<Found, Error> {
        let shared = self.shared()?;
        let read = |turn: &mut Turn<'_>| turn.get_many(shared, keys, view);
        match in_turn(shared, namespace, read) {
            Ok(Some((found, ticket))) => {
                shared.commit.wait_read(ticket).await?;
                Ok(found)
            }
            Ok(None) => nothing(shared, Found::nothing(keys.len())).await,
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn write(&self, namespace: &NamespaceName, batch: Batch) -> Result<Written, Error> {
        let shared = self.shared()?;
        let ruled = match rule(shared, namespace, &batch) {
            Ok(ruled) => ruled,
            Err(error) => return Err(told(shared, error).await),
        };
        shared.commit.wait(ruled.ticket).await?;
        if let Some(error) = refused_for(batch.atomic, &ruled.outcomes) {
            return Err(error);
        }
        let Ruled { outcomes, committed, .. } = ruled;
        Ok(Written { commands: batch.commands, outcomes, committed })
    }

    async fn run(&self, steps: &mut [Step]) -> Vec<Result<Answer, Error>> {
        match self.shared() {
            Ok(shared) => run::run(shared, steps).await,
            Err(error) => steps.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn scan(&self, namespace: &NamespaceName, scan: Scan) -> Result<Page, Error> {
        let shared = self.shared()?;
        let read = |turn: &mut Turn<'_>| turn.scan(shared, &scan);
        match ordered(shared, namespace, read).await? {
            None => nothing(shared, Page::default()).await,
            Some((entries, more, ticket)) => {
                shared.commit.wait_read(ticket).await?;
                Ok(Page { entries, more })
            }
        }
    }

    async fn count(&self, namespace: &NamespaceName, prefix: &str) -> Result<u64, Error> {
        let shared = self.shared()?;
        let read = |turn: &mut Turn<'_>| turn.count(shared, prefix);
        let counted = match prefix {
            "" => {
                let read = |turn: &mut Turn<'_>| turn.admit(1).map(|()| read(turn));
                in_turn(shared, namespace, read)
            }
            _ => ordered(shared, namespace, read).await,
        };
        match counted {
            Ok(Some((count, ticket))) => {
                shared.commit.wait_read(ticket).await?;
                Ok(count)
            }
            Ok(None) => nothing(shared, 0).await,
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn watch(&self, namespace: &NamespaceName, order: WatchOrder) -> Result<Watcher, Error> {
        let shared = self.shared()?;
        match Watcher::open(shared, namespace, order) {
            Ok(mut watcher) => watcher.settle().await.map(|()| watcher),
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn delete_prefix(&self, namespace: &NamespaceName, prefix: &str) -> Result<u64, Error> {
        let shared = self.shared()?;
        if let Err(error) = in_turn(shared, namespace, |turn| turn.admit(1)) {
            return Err(told(shared, error).await);
        }
        let mut deletion = Deletion::new(prefix);
        let mut slice = |turn: &mut Turn<'_>| {
            if turn.index() { deletion.slice(shared, turn) } else { Ok(true) }
        };
        loop {
            match in_turn(shared, namespace, &mut slice) {
                Ok(Some(true)) => yield_now().await,
                Ok(Some(false) | None) => break,
                Err(error) if deletion.deleted == 0 => return Err(told(shared, error).await),
                // Part of it was executed, which no other error says.
                Err(_) => return Err(Error::OutcomeUnknown),
            }
        }
        shared.commit.wait(deletion.ticket).await?;
        Ok(deletion.deleted)
    }

    async fn create_namespace(
        &self,
        name: &NamespaceName,
        spec: NamespaceSpec,
    ) -> Result<NamespaceInfo, Error> {
        let shared = self.shared()?;
        let (info, ticket) = match shared.registry.create(shared, name, spec) {
            Ok(created) => created,
            Err(error) => return Err(told(shared, error).await),
        };
        shared.commit.wait(ticket).await?;
        Ok(info)
    }

    async fn update_namespace(
        &self,
        name: &NamespaceName,
        etag: Option<&str>,
        allow_missing: bool,
        edit: impl Fn(&mut NamespaceSpec) + Send,
    ) -> Result<NamespaceInfo, Error> {
        let shared = self.shared()?;
        let updated = match shared.registry.find(name) {
            Some(namespace) => shared.update(&namespace, etag, edit),
            None if allow_missing && etag.is_some() => Err(Error::EtagMismatch),
            None if allow_missing => {
                let mut spec = NamespaceSpec::default();
                edit(&mut spec);
                shared.registry.create(shared, name, spec)
            }
            None => Err(Error::NamespaceNotFound(name.as_str().to_owned())),
        };
        let (info, ticket) = match updated {
            Ok(updated) => updated,
            Err(error) => return Err(told(shared, error).await),
        };
        shared.commit.wait(ticket).await?;
        self.settle_update(shared, name).await?;
        Ok(info)
    }

    async fn namespace(&self, name: &NamespaceName) -> Result<NamespaceInfo, Error> {
        let shared = self.shared()?;
        match with_existing(shared, name, |turn| (turn.info(), turn.seen_all(shared))) {
            Ok((info, ticket)) => {
                shared.commit.wait_read(ticket.and(defined(shared))).await?;
                Ok(info)
            }
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn namespaces(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NamespaceInfo>, Error> {
        let shared = self.shared()?;
        let found = shared.registry.list(prefix, after, limit);
        let mut ticket = defined(shared);
        let mut infos = Vec::with_capacity(found.len());
        for namespace in found {
            if let Some(mut turn) = namespace.enter() {
                ticket = ticket.and(turn.seen_all(shared));
                infos.push(turn.info());
            }
        }
        shared.commit.wait_read(ticket).await?;
        Ok(infos)
    }

    async fn delete_namespace(&self, name: &NamespaceName, force: bool) -> Result<u64, Error> {
        let shared = self.shared()?;
        let (deleted, ticket) = match shared.registry.drop_namespace(shared, name, force) {
            Ok(dropped) => dropped,
            Err(error) => return Err(told(shared, error).await),
        };
        shared.commit.wait(ticket).await?;
        Ok(deleted)
    }

    async fn clear_namespace(&self, name: &NamespaceName) -> Result<u64, Error> {
        let shared = self.shared()?;
        let cleared = with_existing(shared, name, |turn| turn.clear(shared));
        let (cleared, ticket) = match cleared.and_then(|cleared| cleared) {
            Ok(cleared) => cleared,
            Err(error) => return Err(told(shared, error).await),
        };
        shared.keeper.wake();
        shared.commit.wait(ticket).await?;
        Ok(cleared)
    }

    async fn namespace_stats(&self, name: &NamespaceName) -> Result<NamespaceStats, Error> {
        let shared = self.shared()?;
        match with_existing(shared, name, |turn| turn.stats()) {
            Ok(stats) => Ok(stats),
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn hot_keys(&self, name: &NamespaceName, most: usize) -> Result<HotKeys, Error> {
        let shared = self.shared()?;
        let now = shared.clock.now();
        match with_existing(shared, name, |turn| turn.state.heat.hottest(most, now)) {
            Ok(hottest) => Ok(hottest),
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        let shared = self.shared()?;
        let namespaces = shared.registry.list("", None, usize::MAX);
        let stats = |namespace: &Arc<Namespace>| Some(namespace.enter()?.stats());
        let namespaces = namespaces.iter().filter_map(stats).collect();
        Ok(StoreStats { log: shared.log_info(), namespaces })
    }

    async fn compact(&self, wait: bool) -> Result<Compacted, Error> {
        let shared = self.shared()?;
        let (started, mut ended) = shared.compactor.start(shared);
        if wait && (started || shared.compactor.is_running()) {
            // The sender lives in the store, which this call holds.
            let _ = ended.changed().await;
            if !ended.borrow().well {
                shared.may_log()?;
                return Err(Error::LogFailed);
            }
        }
        Ok(Compacted { started, log: shared.log_info() })
    }

    async fn export_snapshot(&self, namespaces: &[NamespaceName]) -> Result<EmbeddedExport, Error> {
        let shared = self.shared()?;
        match snapshot::export(shared, namespaces).await {
            Ok(export) => Ok(export),
            Err(error) => Err(told(shared, error).await),
        }
    }

    async fn restore_snapshot(&self, options: RestoreOptions) -> Result<EmbeddedRestore, Error> {
        snapshot::restore(self.shared()?, options)
    }

    fn settings(&self) -> Settings {
        match self.0.shared.get() {
            Some(shared) => shared.settings.read().clone(),
            None => self.0.settings.read().clone(),
        }
    }

    fn apply_settings(&self, settings: Settings) {
        match self.0.shared.get() {
            Some(shared) => shared.apply_settings(settings),
            None => *self.0.settings.write() = settings,
        }
    }

    async fn persist(&self, text: &[u8]) -> Result<(), Error> {
        let shared = self.shared()?;
        shared.may_log()?;
        let ticket = shared.persist(text);
        shared.commit.wait(ticket).await
    }

    fn persisted(&self) -> Option<Vec<u8>> {
        self.0.shared.get().and_then(|shared| shared.persisted())
    }
}

impl Embedded {
    /// Puts a changed policy in force entirely: what is above its limits goes, and what was not
    /// logged before is.
    async fn settle_update(&self, shared: &Arc<Shared>, name: &NamespaceName) -> Result<(), Error> {
        let settle = |turn: &mut Turn<'_>| {
            let shed = turn.shed(shared);
            let logged = turn.log_image(shared);
            Ok((shed || logged, Ticket::Durable(shared.log.appended())))
        };
        loop {
            let Some((more, ticket)) = in_turn(shared, name, settle)? else { return Ok(()) };
            if !more {
                return shared.commit.wait(ticket).await;
            }
            yield_now().await;
        }
    }
}

/// Why nothing was changed: a command of an atomic batch was refused.
pub(super) fn refused_for(atomic: bool, outcomes: &[Result<Outcome, Refusal>]) -> Option<Error> {
    let mut outcomes = outcomes.iter().enumerate().filter(|_| atomic);
    outcomes.find_map(|(index, outcome)| {
        Some(Error::Refused { index, refusal: *outcome.as_ref().err()? })
    })
}

/// Takes the turn of a batch, after making its namespace and room for it if need be.
fn rule(shared: &Shared, name: &NamespaceName, batch: &Batch) -> Result<Ruled, Error> {
    let need = growth(&batch.commands);
    let mut is_admitted = false;
    loop {
        let namespace = match shared.find(name)? {
            Some(namespace) => namespace,
            None if need == 0 => return Ok(rule_on_nothing(shared, batch)),
            None => shared.find_or_make(name)?,
        };
        if shared.budget.room() < need {
            // Nobody pays for a write that is not let in.
            if let Some(mut turn) = namespace.enter().filter(|_| !is_admitted) {
                turn.may_write(shared)?;
                turn.admit(batch.commands.len())?;
                is_admitted = true;
            }
            shared.make_room(&namespace, need);
        }
        if let Some(mut turn) = namespace.enter() {
            return match is_admitted {
                true => turn.rule(shared, &batch.commands, batch.atomic),
                false => turn.write(shared, &batch.commands, batch.atomic),
            };
        }
        std::thread::yield_now();
    }
}

/// What comes of commands that cannot make an entry, where there is no namespace: nothing.
fn rule_on_nothing(shared: &Shared, batch: &Batch) -> Ruled {
    let engine = Engine::new(shared.settings.read().default_rules.clone());
    let decision = engine.decide(&batch.commands, batch.atomic, shared.clock.now(), 0);
    let (outcomes, committed) = (decision.outcomes, decision.committed);
    Ruled { outcomes, committed, ticket: Ticket::Now }
}

/// Most bytes by which `commands` can make a namespace grow.
pub(super) fn growth(commands: &[Command]) -> u64 {
    let bytes = |command: &Command| match command {
        Command::Set { key, value, .. } => ENTRY_BYTES + key.as_str().len() + value.len(),
        Command::Increment { key, .. } => ENTRY_BYTES + COUNTER_BYTES + key.as_str().len(),
        Command::Delete { .. } | Command::Touch { .. } | Command::Check { .. } => 0,
    };
    commands.iter().map(bytes).sum::<usize>() as u64
}

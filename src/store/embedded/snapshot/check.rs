//! What could stand against a restore, looked for before anything is changed.
//!
//! Traffic goes on, so what is found here may not hold a moment later; each turn checks again.

use super::restore::{Gathered, Space, no_room};
use super::sorter::Sorter;
use crate::engine::{Engine, Quota, Refusal, Usage};
use crate::model::{Durability, Eviction, NamespaceName, Rules};
use crate::store::embedded::shared::Shared;
use crate::store::{Error, RestoreMode, RestoreOptions, SnapshotError};
use crate::wal::archive::Entry;

/// Keys looked up in one turn; below a tenth of a millisecond.
const KEYS_PER_TURN: usize = 256;

/// Bytes of a fact in the log beside what stands in the file.
const FACT_BYTES: u64 = 16;

/// Where a namespace goes, as it is now.
struct Home {
    rules: Rules,
    /// What stays of what is there.
    kept: Usage,
    /// What goes first.
    cleared_bytes: u64,
    is_missing: bool,
    growth: Growth,
}

/// By how much a namespace will grow, at most.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    keys: u64,
    bytes: u64,
    skipped: u64,
}

impl Shared {
    /// Errors: why the restore would fail; `Stopped` where nobody waits any more. Returns how many entries it would skip, if it is only to be
    /// validated.
    pub(super) fn check(
        &self,
        gathered: &mut Gathered,
        options: &RestoreOptions,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<u64, Error> {
        let Gathered { spaces, sorter, .. } = gathered;
        let mut homes: Vec<Option<Home>> =
            spaces.iter().map(|space| Some(self.home(space.as_ref()?, options.mode))).collect();
        let wants_count = options.mode == RestoreMode::SkipExisting && options.validate_only;
        let needed = needed(&homes);
        let is_open = |(space, home): (&Space, &Home)| {
            home.kept.keys > 0 && (wants_count || self.quota(space, home, needed).is_some())
        };
        for (space, home) in pairs(spaces, &homes) {
            check_sizes(space, &home.rules).map_err(|refusal| refused(space, refusal))?;
        }
        if pairs(spaces, &homes).any(is_open) {
            let is_open: Vec<bool> = spaces
                .iter()
                .zip(&homes)
                .map(|(space, home)| space.as_ref().zip(home.as_ref()).is_some_and(is_open))
                .collect();
            self.look_closer(sorter, spaces, &is_open, &mut homes, options.mode, is_abandoned)?;
        }
        let needed = self::needed(&homes);
        for (space, home) in pairs(spaces, &homes) {
            if let Some(refusal) = self.quota(space, home, needed) {
                return Err(refused(space, refusal));
            }
        }
        let missing = pairs(spaces, &homes).filter(|(_, home)| home.is_missing).count();
        if missing > self.registry.vacancies() {
            return Err(Error::TooManyNamespaces { limit: self.registry.namespaces_max() });
        }
        if !options.validate_only {
            self.may_write()?;
            self.check_disk(spaces, &homes)?;
        }
        Ok(homes.iter().flatten().map(|home| home.growth.skipped).sum())
    }

    fn home(&self, space: &Space, mode: RestoreMode) -> Home {
        let growth = Growth { keys: space.entries, bytes: space.charge, skipped: 0 };
        let namespace = self.registry.find(&space.target);
        let Some(turn) = namespace.as_ref().and_then(|namespace| namespace.enter()) else {
            let rules = self.settings.read().default_rules.overridden_by(&space.definition.policy);
            let kept = Usage::default();
            return Home { rules, kept, cleared_bytes: 0, is_missing: true, growth };
        };
        let (rules, usage) = (turn.state.engine.rules().clone(), turn.state.engine.usage());
        let (kept, cleared_bytes) = match mode {
            RestoreMode::Replace => (Usage::default(), usage.bytes),
            RestoreMode::Overwrite | RestoreMode::SkipExisting => (usage, 0),
        };
        Home { rules, kept, cleared_bytes, is_missing: false, growth }
    }

    /// Why `space` would not fit, where all of them together need so many more bytes. A namespace
    /// that evicts makes room by itself.
    fn quota(&self, space: &Space, home: &Home, needed: u64) -> Option<Refusal> {
        if home.rules.eviction == Eviction::Lru {
            return None;
        }
        let Home { kept, growth, .. } = home;
        let (keys, bytes) = (kept.keys + growth.keys, kept.bytes + growth.bytes);
        let exceeds = |quota, limit: Option<u64>, would_be: u64| {
            let limit = limit.filter(|limit| would_be > *limit)?;
            Some(Refusal::QuotaExceeded { quota, limit })
        };
        exceeds(Quota::Keys, home.rules.keys_max, keys)
            .or_else(|| exceeds(Quota::Bytes, home.rules.bytes_max, bytes))
            .or_else(|| {
                let is_short = needed > self.obtainable(&space.target, bytes);
                is_short.then_some(Refusal::MemoryExhausted)
            })
    }

    /// What `target` can grow by until it holds `bytes`: others pay only while they hold more.
    fn obtainable(&self, target: &NamespaceName, bytes: u64) -> u64 {
        let others = self.registry.all();
        let payers = others.iter().filter(|other| other.evicts() && other.name != *target);
        let given: u64 = payers.map(|other| other.bytes().saturating_sub(bytes)).sum();
        self.budget.room().saturating_add(given)
    }

    /// Looks up every key of the namespaces marked in `is_open`: what is there already adds nothing.
    fn look_closer(
        &self,
        sorter: &mut Sorter,
        spaces: &[Option<Space>],
        is_open: &[bool],
        homes: &mut [Option<Home>],
        mode: RestoreMode,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut look = |batch: &mut Batch| {
            let at = batch.space as usize;
            if let (Some(space), Some(home)) = (&spaces[at], &mut homes[at]) {
                self.look_up(&space.target, batch, &mut home.growth, mode);
            }
            batch.keys.clear();
            batch.seen = 0;
        };
        let mut batch = Batch::default();
        let mut merge = sorter.merge()?;
        while let Some((space, entry)) = merge.next()? {
            if space != batch.space || batch.seen >= KEYS_PER_TURN {
                if is_abandoned() {
                    return Err(Error::Stopped);
                }
                look(&mut batch);
                batch.space = space;
            }
            batch.seen += 1;
            if is_open[space as usize]
                && let Some((entry, _)) = Entry::decode(entry)
            {
                let charge = Engine::charge(entry.key.len(), entry.value.len());
                batch.keys.push((entry.key.to_owned(), charge));
            }
        }
        look(&mut batch);
        Ok(())
    }

    fn look_up(
        &self,
        target: &NamespaceName,
        batch: &Batch,
        growth: &mut Growth,
        mode: RestoreMode,
    ) {
        let now = self.clock.now();
        let namespace = self.registry.find(target);
        let Some(turn) = namespace.as_ref().and_then(|namespace| namespace.enter()) else { return };
        for (key, charge) in &batch.keys {
            let Some(standing) = turn.state.engine.standing(key, now) else { continue };
            let is_skipped = mode == RestoreMode::SkipExisting && standing.is_live;
            growth.skipped += u64::from(is_skipped);
            // A file may name a key twice; then this counts too much, and never below zero.
            growth.keys = growth.keys.saturating_sub(1);
            let saved = if is_skipped { *charge } else { standing.charge.min(*charge) };
            growth.bytes = growth.bytes.saturating_sub(saved);
        }
    }

    /// Errors: the disk would be full before the end.
    fn check_disk(&self, spaces: &[Option<Space>], homes: &[Option<Home>]) -> Result<(), Error> {
        let logged = pairs(spaces, homes)
            .filter(|(_, home)| home.rules.durability != Durability::Memory)
            .map(|(space, _)| space.file_bytes + FACT_BYTES * space.entries);
        match self.log.has_room_for(logged.sum()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::DiskFull),
            Err(error) => Err(no_room(&error)),
        }
    }
}

/// Bytes by which the namespaces that do not evict will grow.
fn needed(homes: &[Option<Home>]) -> u64 {
    let keeps = homes.iter().flatten().filter(|home| home.rules.eviction == Eviction::None);
    keeps.map(|home| home.growth.bytes.saturating_sub(home.cleared_bytes)).sum()
}

/// Keys of one namespace, to be looked up together, with what their entries will be charged.
#[derive(Debug, Default)]
struct Batch {
    space: u32,
    keys: Vec<(String, u64)>,
    /// Entries passed, looked up or not.
    seen: usize,
}

fn pairs<'p>(
    spaces: &'p [Option<Space>],
    homes: &'p [Option<Home>],
) -> impl Iterator<Item = (&'p Space, &'p Home)> {
    spaces.iter().flatten().zip(homes.iter().flatten())
}

/// Errors: an entry is larger than its namespace allows any to be.
fn check_sizes(space: &Space, rules: &Rules) -> Result<(), Refusal> {
    let (limit, size) = (rules.value_bytes_max, space.value_bytes_max);
    if size > limit {
        return Err(Refusal::ValueTooLarge { limit_bytes: limit as u64, size_bytes: size as u64 });
    }
    match rules.bytes_max.filter(|limit| space.charge_max > *limit) {
        Some(limit) => Err(Refusal::QuotaExceeded { quota: Quota::Bytes, limit }),
        None => Ok(()),
    }
}

pub(super) fn refused(space: &Space, refusal: Refusal) -> Error {
    Error::Snapshot(SnapshotError::Refused { namespace: space.target.as_str().to_owned(), refusal })
}

//! One namespace: its engine, and what the store keeps beside it.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::{Mutex, MutexGuard};

use super::heat::Heat;
use super::loading::Resident;
use super::shared::Shared;
use super::watch::{Desk, History};
use super::window::Window;
use crate::engine::{Counters, Engine, ImageCursor};
use crate::model::{Definition, Durability, Eviction, NamespaceId, NamespaceName, Rules, Version};
use crate::store::{Error, NamespaceInfo, NamespaceStats, Usage};
use crate::wal::Lsn;

/// The shortest time after which a caller is told to come back.
const RETRY_MIN: Duration = Duration::from_millis(1);

/// A namespace. Whoever wants something of it [enters](Namespace::enter).
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    pub(super) name: NamespaceName,
    /// What the budget has been told.
    pub(super) charged: AtomicU64,
    /// Bytes of that which are only kept for watches.
    pub(super) remembered: AtomicU64,
    evicts: AtomicBool,
    is_logged: AtomicBool,
    /// How many watch it.
    pub(super) watchers: AtomicU64,
    state: Mutex<State>,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) definition: Definition,
    dropped: bool,
    limiter: Option<DefaultDirectRateLimiter>,
    pub(super) reserve: Reserve,
    /// The SYNC turns that are not known to be on disk, in order.
    pub(super) unsynced: VecDeque<Unsynced>,
    /// What is on its way to the disk of what nobody waits for.
    pub(super) window: Window,
    /// Where in the log the last SYNC turn ended that removed something.
    pub(super) removal: Lsn,
    /// How far entries written while nothing was logged have been logged since that changed.
    pub(super) imaging: Option<ImageCursor>,
    pub(super) history: History,
    pub(super) heat: Heat,
    /// Where those sit who watch.
    pub(super) desks: Vec<Arc<Desk>>,
    /// The engine's counters when the log was replayed.
    baseline: Counters,
    pub(super) quota_rejections: u64,
    rate_limit_rejections: u64,
}

/// A turn on its way to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsynced {
    /// The versions of its changes.
    pub(super) first: Version,
    pub(super) last: Version,
    /// Where in the log it ends.
    pub(super) lsn: Lsn,
}

/// Versions that may be handed out although the change is not on disk: after a crash the
/// namespace goes on behind them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reserve {
    /// The last version covered on disk.
    pub(super) through: Version,
    /// The last version covered once the log is on disk up to there.
    pub(super) coming: Option<(Version, Lsn)>,
}

impl Namespace {
    pub(super) fn new(shared: &Shared, resident: Resident) -> Arc<Namespace> {
        let Resident { mut engine, definition, reserved, mut history } = resident;
        let rules = rules(shared, &definition);
        engine.set_rules(rules.clone());
        engine.raise_version(definition.version_floor);
        if reserved > engine.version() {
            // Some of those reserved may have been told and be lost; this one was told to nobody.
            engine.raise_version(reserved.next());
        }
        history.leap_to(engine.version());
        engine.order_by_version();
        let namespace = Arc::new(Namespace {
            id: definition.id,
            name: definition.name.clone(),
            charged: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            evicts: AtomicBool::new(rules.eviction == Eviction::Lru),
            is_logged: AtomicBool::new(rules.durability != Durability::Memory),
            watchers: AtomicU64::new(0),
            state: Mutex::new(State {
                baseline: engine.counters(),
                engine,
                definition,
                dropped: false,
                limiter: limiter(&rules),
                reserve: Reserve { through: reserved, coming: None },
                unsynced: VecDeque::new(),
                window: Window::default(),
                removal: 0,
                imaging: None,
                history,
                heat: Heat::default(),
                desks: Vec::new(),
                quota_rejections: 0,
                rate_limit_rejections: 0,
            }),
        });
        if let Some(mut turn) = namespace.enter() {
            turn.forget_unlogged(shared);
            turn.settle(shared);
        }
        namespace
    }

    /// Begins a turn; none if the namespace was dropped.
    pub(super) fn enter(&self) -> Option<Turn<'_>> {
        let state = self.state.lock();
        (!state.dropped).then_some(Turn { home: self, state })
    }

    /// Begins a turn also in a namespace that was dropped: for cuts, which outlive it.
    pub(super) fn enter_for_cut(&self) -> Turn<'_> {
        Turn { home: self, state: self.state.lock() }
    }

    /// Bytes it holds, as of its last turn.
    pub(super) fn bytes(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// How many watch it.
    pub(super) fn watched(&self) -> u64 {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Whether it gives entries away when memory is short.
    pub(super) fn evicts(&self) -> bool {
        self.evicts.load(Ordering::Relaxed)
    }

    /// Bytes that it keeps for watches, as of its last turn.
    pub(super) fn remembered(&self) -> u64 {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Whether what changes in it goes to the log.
    pub(super) fn is_logged(&self) -> bool {
        self.is_logged.load(Ordering::Relaxed)
    }
}

/// The right to a namespace's state, for as long as it lasts. Nothing waits in a turn.
pub(super) struct Turn<'n> {
    pub(super) home: &'n Namespace,
    pub(super) state: MutexGuard<'n, State>,
}

impl Turn<'_> {
    /// Ends the turn and hands it to whoever waits, instead of to whoever is quicker: for one who comes
    /// back again and again.
    pub(super) fn leave_fairly(self) {
        MutexGuard::unlock_fair(self.state);
    }

    pub(super) fn definition(&self) -> &Definition {
        &self.state.definition
    }

    pub(super) fn durability(&self) -> Durability {
        self.state.engine.rules().durability
    }

    /// Changes with every update, and with every namespace of the same name.
    pub(super) fn etag(&self) -> String {
        let Definition { id, revision, .. } = self.definition();
        format!("{:x}-{revision:x}", id.0)
    }

    pub(super) fn usage(&self) -> Usage {
        let usage = self.state.engine.usage();
        let version = self.state.engine.version();
        Usage { keys: usage.keys, bytes: usage.bytes, version }
    }

    pub(super) fn info(&self) -> NamespaceInfo {
        let definition = self.definition().clone();
        NamespaceInfo { definition, etag: self.etag(), usage: self.usage() }
    }

    pub(super) fn stats(&self) -> NamespaceStats {
        let state = &*self.state;
        let (now, then) = (state.engine.counters(), state.baseline);
        NamespaceStats {
            namespace: self.home.name.as_str().to_owned(),
            usage: self.usage(),
            hits: now.hits - then.hits,
            misses: now.misses - then.misses,
            sets: now.sets - then.sets,
            deletes: now.deletes - then.deletes,
            expirations: now.expirations - then.expirations,
            evictions: now.evictions - then.evictions,
            quota_rejections: state.quota_rejections,
            rate_limit_rejections: state.rate_limit_rejections,
            active_watches: self.home.watched(),
        }
    }

    /// Entries that can be read now.
    pub(super) fn live_keys(&mut self, shared: &Shared) -> u64 {
        self.state.engine.count("", shared.clock.now())
    }

    /// Puts another definition in force; it is already in the log.
    pub(super) fn define(&mut self, shared: &Shared, definition: Definition) {
        self.state.definition = definition;
        self.refresh_rules(shared);
    }

    /// Follows the definition and the settings.
    pub(super) fn refresh_rules(&mut self, shared: &Shared) {
        let rules = rules(shared, self.definition());
        let before = self.state.engine.rules().clone();
        self.home.evicts.store(rules.eviction == Eviction::Lru, Ordering::Relaxed);
        self.home.is_logged.store(rules.durability != Durability::Memory, Ordering::Relaxed);
        if before.operations_per_second_max != rules.operations_per_second_max {
            self.state.limiter = limiter(&rules);
        }
        let (from, to) = (before.durability, rules.durability);
        self.state.engine.set_rules(rules);
        match (from == Durability::Memory, to == Durability::Memory) {
            (false, true) => self.leave_the_log(shared),
            (true, false) => self.state.imaging = Some(ImageCursor::default()),
            (true, true) | (false, false) => {}
        }
    }

    /// Takes `operations` from what the rate allows.
    pub(super) fn admit(&mut self, operations: usize) -> Result<(), Error> {
        let state = &mut *self.state;
        let Some(limiter) = &state.limiter else { return Ok(()) };
        let most = state.engine.rules().operations_per_second_max.map_or(u64::MAX, u64::from);
        // A batch above the rate takes a whole second's worth; else it could never pass.
        let operations = (operations as u64).min(most);
        let count = u32::try_from(operations).ok().and_then(NonZeroU32::new);
        let Some(count) = count else { return Ok(()) };
        let retry_after = match limiter.check_n(count) {
            Ok(Ok(())) => return Ok(()),
            // Who comes back at once would only be refused again.
            Ok(Err(until)) => until.wait_time_from(DefaultClock::default().now()).max(RETRY_MIN),
            Err(_too_many) => Duration::from_secs(1),
        };
        state.rate_limit_rejections += 1;
        Err(Error::RateLimited { retry_after })
    }

    /// Ends the namespace: nobody enters again. Returns where its versions end.
    pub(super) fn end(&mut self, shared: &Shared) -> Version {
        self.state.dropped = true;
        let coming = self.state.reserve.coming.map_or_else(Version::default, |(end, _)| end);
        let version = self.state.engine.version().max(self.state.reserve.through).max(coming);
        shared.budget.settle(&self.home.charged, 0);
        self.state.history = History::new(version);
        self.state.heat = Heat::default();
        self.state.desks.drain(..).for_each(|desk| desk.ring());
        // Freeing may take long.
        let mut heir = Engine::new(Rules::default());
        heir.adopt_cuts(&mut self.state.engine);
        let engine = std::mem::replace(&mut self.state.engine, heir);
        shared.keeper.discard(engine);
        version
    }
}

fn rules(shared: &Shared, definition: &Definition) -> Rules {
    shared.settings.read().default_rules.overridden_by(&definition.policy)
}

fn limiter(rules: &Rules) -> Option<DefaultDirectRateLimiter> {
    let rate = rules.operations_per_second_max?.get();
    // Four billion a second is no limit.
    let rate = u32::try_from(rate).ok().and_then(NonZeroU32::new)?;
    Some(RateLimiter::direct(Quota::per_second(rate)))
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("engine", &self.engine).finish_non_exhaustive()
    }
}

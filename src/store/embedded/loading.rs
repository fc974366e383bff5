//! From the log to engines: what a start finds.

use std::borrow::Cow;
use std::collections::HashMap;

use super::watch::{History, Keep};
use crate::engine::Engine;
use crate::model::{Definition, Fact, NamespaceId, Rules, UnixMillis, Version};
use crate::wal;

/// A namespace as the log has it.
#[derive(Debug)]
pub(super) struct Resident {
    pub(super) engine: Engine,
    pub(super) definition: Definition,
    /// The last version that may have been handed out.
    pub(super) reserved: Version,
    /// What happened lately.
    pub(super) history: History,
}

/// Everything that the log remembers.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) namespaces: Vec<Resident>,
    pub(super) next_id: u32,
    pub(super) last_dropped: Option<(NamespaceId, Version)>,
    pub(super) persisted: Option<Vec<u8>>,
}

impl Resident {
    /// A namespace without entries.
    pub(super) fn new(definition: Definition) -> Resident {
        let history = History::new(definition.version_floor);
        let engine = Engine::new(Rules::default());
        Resident { engine, definition, reserved: Version(0), history }
    }
}

/// Replays the log, all of it, and opens it for writing. Of what happened to a namespace whose policy
/// does not say how much to remember, `history_events` are remembered.
pub(super) fn load(
    mut recovery: wal::Recovery,
    history_events: u32,
    mut progress: impl FnMut(f32),
) -> Result<(Loaded, wal::Log, wal::Report), wal::Error> {
    let mut loading = Loading { history_events, ..Loading::default() };
    recovery.replay(&mut |fact, wall| loading.take(fact, wall), &mut progress)?;
    let (log, report) = recovery.finish()?;
    Ok((loading.into_loaded(), log, report))
}

#[derive(Default)]
struct Loading {
    namespaces: HashMap<NamespaceId, Resident, ahash::RandomState>,
    loaded: Loaded,
    history_events: u32,
}

impl Loading {
    /// Takes one fact. A fact about a namespace that is not there is about one that was dropped
    /// later: a snapshot begun before the drop does not have it any more.
    fn take(&mut self, fact: Fact<'_>, wall: UnixMillis) {
        match fact {
            Fact::Changed { namespace, mutations } => {
                if let Some(resident) = self.namespaces.get_mut(&namespace) {
                    for mutation in mutations.iter() {
                        resident.engine.apply(mutation);
                    }
                    let kept = resident.definition.policy.watch_history_events;
                    let events = kept.unwrap_or(self.history_events) as usize;
                    let keep = Keep { events, is_watched: false };
                    let reserved = resident.reserved;
                    resident.history.replay(&mutations, wall, keep, reserved);
                }
            }
            Fact::Defined(definition) => self.define(definition),
            Fact::Dropped { namespace, version } => {
                self.count(namespace);
                self.namespaces.remove(&namespace);
                let (id, floor) = self.loaded.last_dropped.unwrap_or((namespace, version));
                self.loaded.last_dropped = Some((id.max(namespace), floor.max(version)));
            }
            Fact::Reserved { namespace, through } => {
                if let Some(resident) = self.namespaces.get_mut(&namespace) {
                    resident.reserved = resident.reserved.max(through);
                }
            }
            Fact::Reached { namespace, version } => {
                if let Some(resident) = self.namespaces.get_mut(&namespace) {
                    resident.engine.raise_version(version);
                    resident.history = History::new(version);
                }
            }
            Fact::Settings(text) => self.loaded.persisted = Some(text.into_owned()),
        }
    }

    fn define(&mut self, definition: Cow<'_, Definition>) {
        self.count(definition.id);
        let definition = definition.into_owned();
        match self.namespaces.get_mut(&definition.id) {
            // A snapshot may be newer than a record behind it.
            Some(resident) if resident.definition.revision > definition.revision => {}
            Some(resident) => resident.definition = definition,
            None => {
                self.namespaces.insert(definition.id, Resident::new(definition));
            }
        }
    }

    fn count(&mut self, namespace: NamespaceId) {
        self.loaded.next_id = self.loaded.next_id.max(namespace.0.saturating_add(1));
    }

    fn into_loaded(self) -> Loaded {
        let namespaces = self.namespaces.into_values().collect();
        Loaded { namespaces, ..self.loaded }
    }
}

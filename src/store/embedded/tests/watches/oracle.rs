//! What happened, as the log has it: read from its files, by none of the code that watches.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::model::{Cause, Change, Fact, NamespaceId, UnixMillis, Version};
use crate::store::{EventKind, Filter};
use crate::wal;

/// One change as a watcher should hear of it; a touch has no kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) kind: Option<EventKind>,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) version: Version,
    pub(super) deadline: Option<UnixMillis>,
    /// Which turn it was part of.
    pub(super) turn: usize,
}

/// An entry at some version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stands {
    pub(super) value: Vec<u8>,
    pub(super) version: Version,
    pub(super) deadline: Option<UnixMillis>,
}

/// Everything that happened to one namespace.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) changes: Vec<Happened>,
    turns: usize,
    names: HashMap<NamespaceId, String>,
}

impl Oracle {
    /// Reads on in the log below `dir`, which nobody writes to meanwhile.
    pub(super) fn read(&mut self, dir: &Path, namespace: &str) {
        wal::dump(dir, &mut |item| match item.fact {
            Fact::Defined(definition) => {
                self.names.insert(definition.id, definition.name.as_str().to_owned());
            }
            Fact::Changed { namespace: id, mutations } if !item.in_snapshot => {
                if self.names.get(&id).is_some_and(|name| name == namespace) {
                    self.take(&mutations);
                }
            }
            Fact::Changed { .. }
            | Fact::Dropped { .. }
            | Fact::Reserved { .. }
            | Fact::Reached { .. }
            | Fact::Settings(_) => {}
        })
        .unwrap();
    }

    fn take(&mut self, mutations: &[crate::model::Mutation<'_>]) {
        if mutations.first().is_some_and(|first| first.version <= self.last()) {
            return;
        }
        self.turns += 1;
        for mutation in mutations {
            let (kind, key, value, deadline) = match &mutation.change {
                Change::Set { key, value, deadline, .. } => {
                    (Some(EventKind::Set), key.as_ref(), value.to_vec(), *deadline)
                }
                Change::Touch { key, deadline } => (None, key.as_ref(), Vec::new(), *deadline),
                Change::Remove { key, cause } => {
                    let kind = match cause {
                        Cause::Deleted => EventKind::Deleted,
                        Cause::Expired => EventKind::Expired,
                        Cause::Evicted => EventKind::Evicted,
                    };
                    (Some(kind), key.as_ref(), Vec::new(), None)
                }
                Change::Clear => (Some(EventKind::Cleared), "", Vec::new(), None),
            };
            let (key, version, turn) = (key.to_owned(), mutation.version, self.turns);
            self.changes.push(Happened { kind, key, value, version, deadline, turn });
        }
    }

    pub(super) fn last(&self) -> Version {
        self.changes.last().map_or(Version(0), |change| change.version)
    }

    /// What a watcher should hear of what happened after `from`, up to `through`.
    pub(super) fn told(&self, filter: &Filter, from: Version, through: Version) -> Vec<&Happened> {
        let within = |change: &&Happened| change.version > from && change.version <= through;
        let asked = |change: &&Happened| {
            change.kind.is_some() && (change.key.is_empty() || filter.matches(&change.key))
        };
        self.changes.iter().filter(within).filter(asked).collect()
    }

    /// Events, of all keys, of the turns that ended after `version`: a turn is kept or forgotten whole.
    pub(super) fn events_after(&self, version: Version) -> usize {
        let first = self.changes.iter().find(|change| change.version > version);
        let turn = first.map_or(usize::MAX, |change| change.turn);
        self.changes.iter().filter(|c| c.turn >= turn && c.kind.is_some()).count()
    }

    /// What stood at `version`.
    pub(super) fn state_at(&self, version: Version) -> BTreeMap<String, Stands> {
        let mut state: BTreeMap<String, Stands> = BTreeMap::new();
        for change in self.changes.iter().take_while(|change| change.version <= version) {
            let Happened { key, value, version, deadline, .. } = change.clone();
            match change.kind {
                Some(EventKind::Set) => {
                    state.insert(key, Stands { value, version, deadline });
                }
                None => {
                    let entry = state.get_mut(&key).expect("only what stands is touched");
                    (entry.version, entry.deadline) = (version, deadline);
                }
                Some(EventKind::Cleared) => state.clear(),
                Some(_) => {
                    state.remove(&key);
                }
            }
        }
        state
    }

    /// Whether `key` was written or removed after `from`, up to `through`.
    pub(super) fn is_changed(&self, key: &str, from: Version, through: Version) -> bool {
        let within = |c: &&Happened| c.version > from && c.version <= through;
        let concerns = |c: &Happened| c.kind.is_some() && (c.key == key || c.key.is_empty());
        self.changes.iter().filter(within).any(concerns)
    }
}

//! Which namespaces there are: names, numbers, coming and going.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::commit::Ticket;
use super::loading::Resident;
use super::namespace::{Namespace, Turn};
use super::shared::Shared;
use crate::model::{Definition, Fact, NamespaceId, NamespaceName, Version};
use crate::store::{Error, NamespaceInfo, NamespaceSpec};

/// The namespaces of the store.
#[derive(Debug)]
pub(super) struct Registry {
    names: RwLock<HashMap<NamespaceName, Arc<Namespace>, ahash::RandomState>>,
    /// Held while namespaces come and go; guards what they are numbered by.
    numbers: Mutex<Numbers>,
    namespaces_max: usize,
    /// Tells of every namespace that comes into being.
    births: watch::Sender<()>,
    /// Where in the log namespaces last came, went or were changed.
    pub(super) changed: AtomicU64,
}

#[derive(Debug)]
struct Numbers {
    next: u32,
    /// The highest number dropped, and the highest version any dropped namespace had reached.
    last_dropped: Option<(NamespaceId, Version)>,
}

impl Registry {
    pub(super) fn new(
        namespaces_max: usize,
        next: u32,
        last_dropped: Option<(NamespaceId, Version)>,
    ) -> Registry {
        let numbers = Mutex::new(Numbers { next, last_dropped });
        let (births, changed) = (watch::Sender::new(()), AtomicU64::new(0));
        Registry { names: RwLock::default(), numbers, namespaces_max, births, changed }
    }

    /// Takes over a namespace that was found in the log.
    pub(super) fn adopt(&self, shared: &Shared, resident: Resident) {
        let name = resident.definition.name.clone();
        let namespace = Namespace::new(shared, resident);
        self.names.write().insert(name, namespace);
    }

    /// Makes the namespace that always exists, at the first start.
    pub(super) fn ensure_default(&self, shared: &Shared) {
        let name = NamespaceName::default();
        if self.find(&name).is_none() {
            self.insert(shared, &mut self.numbers.lock(), &name, NamespaceSpec::default(), false);
        }
    }

    pub(super) fn find(&self, name: &NamespaceName) -> Option<Arc<Namespace>> {
        self.names.read().get(name).cloned()
    }

    /// The namespace of this name, once it is there.
    pub(super) async fn born(&self, name: &NamespaceName) -> Arc<Namespace> {
        let mut births = self.births.subscribe();
        loop {
            if let Some(namespace) = self.find(name) {
                return namespace;
            }
            if births.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// All namespaces, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Namespace>> {
        self.names.read().values().cloned().collect()
    }

    /// Names that start with `prefix` and come after `after`, in order, at most `limit`.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<Namespace>> {
        let wanted = |name: &NamespaceName| {
            name.as_str().starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
        };
        let names = self.names.read();
        let mut found: Vec<_> = names.iter().filter(|(name, _)| wanted(name)).collect();
        found.sort_unstable_by_key(|(name, _)| *name);
        found.into_iter().take(limit).map(|(_, namespace)| Arc::clone(namespace)).collect()
    }

    /// Makes a namespace because something is written to it; another may have been quicker.
    pub(super) fn create_on_write(
        &self,
        shared: &Shared,
        name: &NamespaceName,
    ) -> Result<Arc<Namespace>, Error> {
        let mut numbers = self.numbers.lock();
        if let Some(namespace) = self.find(name) {
            return Ok(namespace);
        }
        self.check_count()?;
        shared.may_write()?;
        Ok(self.insert(shared, &mut numbers, name, NamespaceSpec::default(), true).0)
    }

    /// Makes a namespace; the answer must wait for the ticket.
    pub(super) fn create(
        &self,
        shared: &Shared,
        name: &NamespaceName,
        spec: NamespaceSpec,
    ) -> Result<(NamespaceInfo, Ticket), Error> {
        let mut numbers = self.numbers.lock();
        if self.find(name).is_some() {
            return Err(Error::NamespaceExists(name.as_str().to_owned()));
        }
        self.check_count()?;
        shared.may_write()?;
        let (namespace, ticket) = self.insert(shared, &mut numbers, name, spec, false);
        // Nobody can drop it: that needs the numbers, too.
        let turn = namespace.enter().expect("a new namespace is there");
        Ok((turn.info(), ticket))
    }

    fn check_count(&self) -> Result<(), Error> {
        let limit = self.namespaces_max;
        if self.names.read().len() < limit {
            Ok(())
        } else {
            Err(Error::TooManyNamespaces { limit })
        }
    }

    fn insert(
        &self,
        shared: &Shared,
        numbers: &mut Numbers,
        name: &NamespaceName,
        spec: NamespaceSpec,
        auto_created: bool,
    ) -> (Arc<Namespace>, Ticket) {
        let now = shared.clock.now();
        let floor = numbers.last_dropped.map_or_else(Version::default, |(_, version)| version);
        let definition = Definition {
            id: NamespaceId(numbers.next),
            name: name.clone(),
            description: spec.description,
            labels: spec.labels,
            policy: spec.policy,
            auto_created,
            created: now,
            updated: now,
            revision: 1,
            version_floor: floor,
        };
        numbers.next = numbers.next.checked_add(1).expect("four billion namespaces suffice");
        let lsn = shared.append(&Fact::Defined(std::borrow::Cow::Borrowed(&definition)));
        self.changed.fetch_max(lsn, Ordering::AcqRel);
        let namespace = Namespace::new(shared, Resident::new(definition));
        self.names.write().insert(name.clone(), Arc::clone(&namespace));
        self.births.send_replace(());
        (namespace, Ticket::Durable(lsn))
    }

    /// Removes a namespace with everything in it; returns how many entries that were.
    pub(super) fn drop_namespace(
        &self,
        shared: &Shared,
        name: &NamespaceName,
        force: bool,
    ) -> Result<(u64, Ticket), Error> {
        if name.is_default() {
            return Err(Error::NamespaceProtected);
        }
        let mut numbers = self.numbers.lock();
        let missing = || Error::NamespaceNotFound(name.as_str().to_owned());
        let namespace = self.find(name).ok_or_else(missing)?;
        shared.may_write()?;
        let mut turn = namespace.enter().ok_or_else(missing)?;
        let keys = turn.live_keys(shared);
        if keys > 0 && !force {
            return Err(Error::NamespaceNotEmpty(name.as_str().to_owned()));
        }
        let version = turn.end(shared);
        let lsn = shared.append(&Fact::Dropped { namespace: namespace.id, version });
        self.changed.fetch_max(lsn, Ordering::AcqRel);
        let (id, floor) = numbers.last_dropped.unwrap_or((namespace.id, version));
        numbers.last_dropped = Some((id.max(namespace.id), floor.max(version)));
        self.names.write().remove(name);
        Ok((keys, Ticket::Durable(lsn)))
    }

    /// Runs `f` while no namespace comes or goes.
    pub(super) fn at_rest<T>(&self, f: impl FnOnce(&Registry) -> T) -> T {
        let _numbers = self.numbers.lock();
        f(self)
    }

    /// How many more namespaces there may be.
    pub(super) fn vacancies(&self) -> usize {
        self.namespaces_max.saturating_sub(self.names.read().len())
    }

    pub(super) fn namespaces_max(&self) -> usize {
        self.namespaces_max
    }

    /// The fact that stands for everything dropped so far, and the namespaces there are: seen at
    /// one moment, with their definitions appended.
    pub(super) fn image(&self) -> (Option<Fact<'static>>, Vec<Arc<Namespace>>) {
        let numbers = self.numbers.lock();
        let dropped =
            numbers.last_dropped.map(|(namespace, version)| Fact::Dropped { namespace, version });
        (dropped, self.all())
    }
}

impl Shared {
    /// Changes a namespace by `edit`; with a given `etag` only if that is the current one.
    pub(super) fn update(
        &self,
        namespace: &Namespace,
        etag: Option<&str>,
        edit: impl Fn(&mut NamespaceSpec),
    ) -> Result<(NamespaceInfo, Ticket), Error> {
        self.may_write()?;
        let gone = || Error::NamespaceNotFound(namespace.name.as_str().to_owned());
        let mut turn = namespace.enter().ok_or_else(gone)?;
        if etag.is_some_and(|etag| etag != turn.etag()) {
            return Err(Error::EtagMismatch);
        }
        let ticket = redefine(self, &mut turn, edit);
        Ok((turn.info(), ticket))
    }
}

fn redefine(shared: &Shared, turn: &mut Turn<'_>, edit: impl Fn(&mut NamespaceSpec)) -> Ticket {
    let before = turn.definition();
    let mut spec = NamespaceSpec {
        description: before.description.clone(),
        labels: before.labels.clone(),
        policy: before.policy.clone(),
    };
    edit(&mut spec);
    let definition = Definition {
        description: spec.description,
        labels: spec.labels,
        policy: spec.policy,
        updated: shared.clock.now(),
        revision: before.revision + 1,
        ..before.clone()
    };
    let lsn = shared.append(&Fact::Defined(std::borrow::Cow::Borrowed(&definition)));
    shared.registry.changed.fetch_max(lsn, Ordering::AcqRel);
    turn.define(shared, definition);
    Ticket::Durable(lsn.max(shared.log.appended()))
}

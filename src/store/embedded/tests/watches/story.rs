//! One case: a namespace, what is done to it, and those who watch.

use std::collections::BTreeSet;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tempfile::TempDir;

use super::Counts;
use super::oracle::Oracle;
use crate::model::{Bound, Durability, NamespaceName, Policy, UnixMillis, Version};
use crate::store::conformance::{World, key, make, space, ttl};
use crate::store::embedded::tests::{Home, NOW, copy_dir, settings};
use crate::store::embedded::{Clock, Config, Embedded, Watcher};
use crate::store::{
    Batch, Command, Condition, Delivery, Error, EventKind, Expiration, Filter, Start, Store,
    Values, View, WatchError, WatchOrder, Watching,
};
use crate::wal;

const NAME: &str = "n";
const KEYS: [&str; 9] = ["a", "aa", "ab", "b", "ba", "c", "d/1", "d/2", "ü"];

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn key(&mut self) -> &'static str {
        KEYS[usize::try_from(self.below(KEYS.len() as u64)).unwrap()]
    }
}

/// Kind, key, value and version of an event.
type Told = (EventKind, String, Vec<u8>, Version);

/// One who watches, over as many connections as it takes.
struct Session {
    filter: Filter,
    values: Values,
    watcher: Option<Watcher>,
    /// Where its events begin, and up to where they have come; none before initial entries are
    /// complete.
    from: Option<Version>,
    through: Version,
    /// By delivery.
    told: Vec<Vec<Told>>,
    initial: Vec<(String, Vec<u8>, Version)>,
}

pub(super) struct Story {
    dice: Dice,
    home: Home,
    oracle: Oracle,
    sessions: Vec<Session>,
    events_kept: usize,
    /// The version of the last compaction; after a restart nothing before is known.
    compacted: Version,
    forgotten: Version,
    counts: Counts,
}

/// A directory in memory where there is one: syncing to a disk is not what is tested.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(dir: TempDir, now: UnixMillis) -> Home {
    let clock = Clock::manual(now);
    let log = wal::Config { segment_bytes: 8 << 10, ..wal::Config::new(dir.path().join("log")) };
    let config = Config { log, namespaces_max: 10, settings: settings() };
    let store = Embedded::open(config, clock.clone()).unwrap();
    store.replay(&|settings, _| Ok(settings)).unwrap();
    Home { store, clock, dir }
}

impl Story {
    pub(super) fn new(seed: u64) -> Story {
        Story {
            dice: Dice(seed),
            home: open(scratch(), NOW),
            oracle: Oracle::default(),
            sessions: Vec::new(),
            events_kept: 0,
            compacted: Version(0),
            forgotten: Version(0),
            counts: Counts::default(),
        }
    }

    fn name(&self) -> NamespaceName {
        space(NAME)
    }

    pub(super) async fn tell(mut self) -> Counts {
        self.begin().await;
        for _ in 0..20 + self.dice.below(60) {
            self.step().await;
        }
        self.read_all().await;
        self.read_log();
        let sessions = std::mem::take(&mut self.sessions);
        sessions.iter().for_each(|session| self.check(session));
        self.counts.cases = 1;
        self.counts
    }

    async fn begin(&mut self) {
        self.events_kept = [0, 30, 10_000][usize::try_from(self.dice.below(3)).unwrap()];
        let keys_max = self.dice.one_in(2).then(|| Bound::AtMost(5.try_into().unwrap()));
        let durability = if self.dice.one_in(2) { Durability::Sync } else { Durability::Async };
        let watch_history_events = Some(u32::try_from(self.events_kept).unwrap());
        let durability = Some(durability);
        let policy = Policy { keys_max, durability, watch_history_events, ..Policy::default() };
        make(self.home.store(), NAME, policy).await;
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..48 => self.write().await,
            48..54 => self.home.advance(self.dice.0 % 1500),
            54..60 => self.home.keep(),
            60..62 => drop(self.home.store().clear_namespace(&self.name()).await.unwrap()),
            62..64 => drop(self.home.store().delete_prefix(&self.name(), "a").await.unwrap()),
            64..74 => self.begin_session().await,
            74..90 => self.read_some().await,
            90..94 => self.reconnect().await,
            94..96 => self.compact().await,
            _ => self.restart().await,
        }
    }

    async fn write(&mut self) {
        let mut commands = Vec::new();
        for _ in 0..1 + self.dice.below(4) * self.dice.below(2) {
            commands.push(self.command());
        }
        let atomic = self.dice.one_in(2);
        // An atomic batch may fail for any of its commands; that is no business of a watch.
        let _ = self.home.store().write(&self.name(), Batch { commands, atomic }).await;
    }

    fn command(&mut self) -> Command {
        let name = key(self.dice.key());
        let expiration = match self.dice.below(4) {
            0 => Expiration::After(ttl(1 + self.dice.below(3_000))),
            1 => Expiration::Keep,
            2 => Expiration::Never,
            _ => Expiration::Default,
        };
        let condition = match self.dice.below(8) {
            0 => Some(Condition::Present),
            _ => None,
        };
        match self.dice.below(10) {
            0..6 => {
                let value = Bytes::from(self.dice.below(1_000).to_string());
                Command::Set { key: name, value, expiration, condition, return_previous: false }
            }
            6..8 => Command::Delete { key: name, condition, return_previous: false },
            8 => Command::Touch { key: name, expiration, condition, view: View::Key },
            _ => Command::Increment {
                key: name,
                delta: 1,
                initial: 0,
                lower_bound: None,
                upper_bound: None,
                expiration,
                refresh_expiration: true,
            },
        }
    }

    async fn begin_session(&mut self) {
        let keys = if self.dice.one_in(3) { vec![key(self.dice.key())] } else { Vec::new() };
        let prefixes = match self.dice.below(4) {
            0 => vec!["a".to_owned()],
            1 => vec!["d/".to_owned(), "b".to_owned()],
            _ => Vec::new(),
        };
        let filter = Filter::new(keys, prefixes);
        let values = if self.dice.one_in(3) { Values::Omitted } else { Values::Included };
        let now = self.version().await;
        let (start, from) = match self.dice.below(3) {
            0 => (Start::Now, Some(now)),
            1 => (Start::Entries, None),
            _ => {
                let version = Version(self.dice.below(now.0 + 1));
                (Start::After(version), Some(version))
            }
        };
        let through = from.unwrap_or_default();
        let (told, initial) = (Vec::new(), Vec::new());
        let session = Session { filter, values, watcher: None, from, through, told, initial };
        self.connect(session, start).await;
    }

    /// Opens a watch for a session, or finds that it rightly cannot go on.
    async fn connect(&mut self, mut session: Session, start: Start) {
        let Session { filter, values, .. } = &session;
        let order = WatchOrder { filter: filter.clone(), start, values: *values };
        match self.home.store().watch(&self.name(), order).await {
            Ok(watcher) => {
                session.watcher = Some(watcher);
                self.counts.resumed += u64::from(matches!(start, Start::After(_)));
                self.sessions.push(session);
            }
            Err(Error::Watch(WatchError::HistoryLost { .. })) => {
                self.read_log();
                let Start::After(version) = start else { panic!("only history can be lost") };
                assert!(
                    self.may_be_lost(version),
                    "{version:?} is not so long ago: forgotten {:?}, kept {}, after {:?}",
                    self.forgotten,
                    self.events_kept,
                    self.oracle.told(&Filter::default(), Version(0), self.oracle.last())
                );
                self.counts.lost += 1;
                self.check(&session);
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Whether what happened after `version` may be forgotten by now. A version that nothing has is
    /// one that a start has leapt over.
    fn may_be_lost(&self, version: Version) -> bool {
        let is_known = version == Version(0)
            || self.oracle.changes.iter().any(|change| change.version == version);
        let kept = if self.events_kept == 0 { 0 } else { self.events_kept };
        self.oracle.events_after(version) > kept
            || (kept == 0 && version < self.oracle.last())
            || version < self.forgotten
            || !is_known
    }

    async fn version(&self) -> Version {
        self.home.store().namespace(&self.name()).await.unwrap().usage.version
    }

    async fn read_some(&mut self) {
        let at = self.pick();
        let Some(mut session) = at.map(|at| self.sessions.swap_remove(at)) else { return };
        for _ in 0..self.dice.below(30) {
            let Some(watcher) = &mut session.watcher else { break };
            match poll_once(watcher.next()) {
                Poll::Ready(delivery) => self.take(&mut session, delivery),
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
        self.sessions.push(session);
    }

    /// Reads every watch up to the present.
    async fn read_all(&mut self) {
        let now = self.version().await;
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            while let Some(watcher) = &mut session.watcher
                && (watcher.position() < now || session.from.is_none())
            {
                match poll_once(watcher.next()) {
                    Poll::Ready(delivery) => self.take(session, delivery),
                    Poll::Pending => tokio::task::yield_now().await,
                }
            }
            if let Some(watcher) = &session.watcher {
                session.through = watcher.position();
            }
        }
        self.sessions = sessions;
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.sessions.len() as u64;
        (count > 0).then(|| usize::try_from(self.dice.below(count)).unwrap())
    }

    fn take(&mut self, session: &mut Session, delivery: Result<Delivery, Error>) {
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(Error::Watch(WatchError::Lagging { last })) => {
                self.read_log();
                let last = last.unwrap_or(session.through);
                // Those who watch are kept a thousand events, whatever the policy says.
                assert!(
                    self.oracle.events_after(last) > 1_000.max(self.events_kept),
                    "{last:?} is not that far behind {:?}",
                    self.oracle.last()
                );
                session.watcher = None;
                return;
            }
            Err(other) => panic!("{other}"),
        };
        let Delivery { events, version, initial_complete } = delivery;
        if session.from.is_none() {
            for event in events {
                assert_eq!(event.kind, EventKind::Initial);
                let Entry { value, version, .. } = event.entry;
                session.initial.push((event.key, value.to_vec(), version));
                self.counts.initial += 1;
            }
            if initial_complete {
                (session.from, session.through) = (Some(version), version);
                self.read_log();
                self.check_initial(session, version);
            }
            return;
        }
        assert!(!events.is_empty() && version > session.through && !initial_complete);
        let mut told = Vec::new();
        for event in events {
            assert!(event.entry.version > session.through && event.entry.version <= version);
            let kinds =
                [EventKind::Set, EventKind::Deleted, EventKind::Expired, EventKind::Evicted];
            let kind = kinds.iter().position(|kind| *kind == event.kind).unwrap_or(4);
            self.counts.kinds[kind] += 1;
            self.counts.events += 1;
            told.push((event.kind, event.key, event.entry.value.to_vec(), event.entry.version));
        }
        session.told.push(told);
        session.through = version;
    }

    /// Everything that stood when the watch began and was not changed since is told, as it was.
    fn check_initial(&self, session: &Session, begun: Version) {
        let (oracle, now) = (&self.oracle, self.home.clock.now());
        let stood = oracle.state_at(begun);
        let mut keys = BTreeSet::new();
        for (key, value, version) in &session.initial {
            assert!(session.filter.matches(key) && keys.insert(key.clone()), "{key} twice");
            let was = stood.get(key).expect("it stood when the watch began");
            let expected = if session.values == Values::Included { &was.value[..] } else { b"" };
            assert_eq!(value, expected, "{key}");
            assert!(*version == was.version || *version > begun, "{key} is of {version:?}");
        }
        // A touch may have moved a deadline since.
        let stands = oracle.state_at(oracle.last());
        for key in stood.keys() {
            let deadline = stands.get(key).and_then(|entry| entry.deadline);
            let is_live = deadline.is_none_or(|deadline| deadline > now);
            let is_changed = oracle.is_changed(key, begun, oracle.last());
            if session.filter.matches(key) && is_live && !is_changed {
                assert!(keys.contains(key), "{key} was not told");
            }
        }
    }

    async fn reconnect(&mut self) {
        let Some(at) = self.pick() else { return };
        let mut session = self.sessions.swap_remove(at);
        let is_complete = session.from.is_some();
        if let Some(watcher) = session.watcher.take() {
            // A progress message may have told it more.
            if is_complete && self.dice.one_in(2) {
                session.through = watcher.position().max(session.through);
            }
        }
        if is_complete {
            let start = Start::After(session.through);
            self.connect(session, start).await;
        }
    }

    async fn compact(&mut self) {
        self.read_log();
        self.home.store().compact(true).await.unwrap();
        self.compacted = self.version().await;
    }

    async fn restart(&mut self) {
        self.counts.restarts += 1;
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            if let (Some(watcher), Some(_)) = (session.watcher.take(), session.from) {
                session.through = watcher.position().max(session.through);
            }
        }
        let now = self.home.clock.now();
        if self.dice.one_in(2) {
            self.home.store.close().unwrap();
        }
        // Closed or not: what a start finds is what the files hold.
        let dir = scratch();
        copy_dir(self.home.dir.path(), dir.path());
        self.oracle.read(&dir.path().join("log"), NAME);
        self.forgotten = self.compacted;
        self.home = open(dir, now);
        for session in sessions {
            if session.from.is_some() {
                let start = Start::After(session.through);
                self.connect(session, start).await;
            }
        }
    }

    /// Brings the oracle up to the present.
    fn read_log(&mut self) {
        let shared = self.home.store.0.shared.get().unwrap();
        shared.log.write_out().unwrap();
        let copy = scratch();
        copy_dir(self.home.dir.path(), copy.path());
        self.oracle.read(&copy.path().join("log"), NAME);
    }

    /// What a session was told is what happened.
    fn check(&self, session: &Session) {
        let Some(from) = session.from else { return };
        let expected = self.oracle.told(&session.filter, from, session.through);
        let value = |value: &Vec<u8>| match session.values {
            Values::Included => value.clone(),
            Values::Omitted => Vec::new(),
        };
        let wanted: Vec<_> = expected
            .iter()
            .map(|h| (h.kind.unwrap(), h.key.clone(), value(&h.value), h.version))
            .collect();
        let told: Vec<_> = session.told.iter().flatten().cloned().collect();
        assert_eq!(told, wanted, "from {from:?} through {:?}", session.through);
        let turn = |version| expected.iter().find(|h| h.version == version).unwrap().turn;
        let mut before = None;
        for delivery in &session.told {
            let first = delivery.first().map(|told| turn(told.3));
            assert!(first > before, "a turn is in two deliveries");
            before = delivery.last().map(|told| turn(told.3));
        }
    }
}

use crate::store::Entry;

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    // Woken or not, it is asked again.
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

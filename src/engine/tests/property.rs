//! The engine beside its model, through any sequence of what can happen to it.

use proptest::prelude::*;

use super::cuts::Cuts;
use super::model::{Model, charge};
use super::steps::{Step, rules, steps};
use super::*;
use crate::engine::{ImageCursor, Outcome, Reading, Refusal, Scan};
use crate::model::{Cause, Change, Eviction, Mutation, Rules};

/// Cases in every run; about a minute.
const CASES: u32 = 20_000;
const STEPS_MAX: usize = 200;

/// A snapshot being written while changes go on.
struct Snapshot {
    entries: Vec<Mutation<'static>>,
    /// `None`: it is complete.
    cursor: Option<ImageCursor>,
    /// Where in the log it began.
    log_from: usize,
}

/// Engine and model side by side, and what a log would hold.
struct Pair {
    engine: Engine,
    model: Model,
    log: Vec<Mutation<'static>>,
    snapshot: Option<Snapshot>,
    cuts: Cuts,
}

pub(super) fn owned(mutation: &Mutation<'_>) -> Mutation<'static> {
    let change = match mutation.change.clone() {
        Change::Set { key, value, deadline, written } => Change::Set {
            key: key.into_owned().into(),
            value: value.into_owned().into(),
            deadline,
            written,
        },
        Change::Touch { key, deadline } => Change::Touch { key: key.into_owned().into(), deadline },
        Change::Remove { key, cause } => Change::Remove { key: key.into_owned().into(), cause },
        Change::Clear => Change::Clear,
    };
    Mutation { version: mutation.version, change }
}

impl Pair {
    fn new(rules: Rules) -> Pair {
        let model = Model::new(rules.clone(), NOW);
        Pair {
            engine: Engine::new(rules),
            model,
            log: Vec::new(),
            snapshot: None,
            cuts: Cuts::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { commands, atomic, room } => self.write(commands, *atomic, *room),
            Step::Get { key, view } => {
                let got = self.engine.get(key.as_str(), *view, self.model.now);
                assert_eq!(got, self.model.get(key.as_str(), *view));
            }
            Step::GetMany { keys, view } => {
                let texts = keys.iter().map(Key::as_str);
                let asked = texts.clone().map(|key| (key, *view));
                let got = self.engine.get_many(asked, self.model.now, usize::MAX);
                let expected: Vec<_> = texts.map(|key| self.model.get(key, *view)).collect();
                assert_eq!(got.entries().collect::<Vec<_>>(), expected);
            }
            Step::Pass { millis } => {
                self.model.now = UnixMillis::from_millis(self.model.now.as_millis() + millis);
            }
            Step::Expire { limit } => self.expire(*limit),
            Step::Evict { bytes, limit } => {
                let facts = self.engine.evict(*bytes, *limit);
                self.expect_oldest(&facts, 0, *bytes, *limit);
            }
            Step::Rules(rules) => {
                self.engine.set_rules(rules.clone());
                self.model.rules = rules.clone();
            }
            Step::Overflow { limit } => self.overflow(*limit),
            Step::Scan(scan) => self.scan(scan),
            Step::Count { prefix } => {
                self.finish_index();
                let counted = self.engine.count(prefix, self.model.now);
                let keys = self.model.entries.keys();
                let live = keys.filter(|key| self.model.live(key).is_some());
                assert_eq!(counted, live.filter(|key| key.starts_with(prefix)).count() as u64);
            }
            Step::BuildIndex => self.engine.index_step(2),
            Step::Ready => self.engine.ready(),
            Step::Defragment => {
                self.engine.defragment(300);
            }
            Step::Clear => {
                self.model.version = self.model.version.next();
                self.model.entries.clear();
                self.model.order.clear();
                let clear = Mutation { version: self.model.version, change: Change::Clear };
                self.engine.apply(&clear);
                self.log.push(clear);
            }
            Step::Snapshot { bytes } => self.image_step(*bytes),
            Step::Restart { twice } => self.restart(*twice),
            Step::Cut => self.cuts.begin(&mut self.engine, &self.model),
            Step::Show { which, bytes } => self.cuts.show(&mut self.engine, *which, *bytes),
            Step::DropCut { which } => self.cuts.forget(&mut self.engine, *which),
        }
    }

    fn write(&mut self, commands: &[Command], atomic: bool, room: Option<u64>) {
        let room = room.unwrap_or(u64::MAX);
        let decision = self.engine.decide(commands, atomic, self.model.now, room);
        if decision.committed {
            let expected = self.model.decide(commands, atomic, room, &decision.mutations);
            assert_eq!(decision.outcomes, expected);
            let all_hold = expected.iter().all(|outcome| matches!(outcome, Ok(o) if o.holds()));
            assert!(!atomic || all_hold, "an atomic batch is committed only if all holds");
            for mutation in &decision.mutations {
                self.engine.apply(mutation);
                self.log.push(owned(mutation));
            }
            return;
        }
        assert!(atomic && decision.mutations.is_empty());
        let failed = |outcome: &Result<Outcome, Refusal>| !matches!(outcome, Ok(o) if o.holds());
        assert!(decision.outcomes.iter().any(failed), "something stood against it");
        // What a batch that fails counts as reads is compared to nothing.
        let good = decision.outcomes.iter().take_while(|outcome| !failed(outcome)).count();
        let shorter = self.engine.decide(&commands[..good], true, self.model.now, room);
        assert!(shorter.committed, "what came before the first failure holds by itself");
        let counters = self.engine.counters();
        (self.model.counters.hits, self.model.counters.misses) = (counters.hits, counters.misses);
    }

    fn expire(&mut self, limit: usize) {
        let facts = self.engine.expire(self.model.now, limit);
        assert!(facts.len() <= limit);
        for fact in &facts {
            self.model.version = self.model.version.next();
            assert_eq!(fact.version, self.model.version);
            let Change::Remove { key, cause: Cause::Expired } = &fact.change else {
                panic!("{fact:?}");
            };
            assert!(self.model.live(key).is_none());
            self.model.remove(key, Cause::Expired);
            self.engine.apply(fact);
        }
        let is_expired = |key: &&String| self.model.live(key).is_none();
        let left = self.model.entries.keys().filter(is_expired).count();
        let next = self.engine.next_deadline();
        assert!(left == 0 || next.is_some_and(|next| next <= self.model.now));
        let first = self.model.entries.values().filter_map(|known| known.deadline).min();
        assert!(first.is_none() || next.is_some_and(|next| Some(next) <= first));
    }

    fn overflow(&mut self, limit: usize) {
        let facts = self.engine.overflow(limit);
        let usage = self.model.usage();
        let above = |used: u64, max: Option<u64>| used.saturating_sub(max.unwrap_or(u64::MAX));
        let (keys, bytes) = match self.model.rules.eviction {
            Eviction::None => (0, 0),
            Eviction::Lru => (
                above(usage.keys, self.model.rules.keys_max),
                above(usage.bytes, self.model.rules.bytes_max),
            ),
        };
        self.expect_oldest(&facts, keys, bytes, limit);
    }

    fn expect_oldest(&mut self, facts: &[Mutation<'_>], keys: u64, bytes: u64, limit: usize) {
        let (mut removed, mut freed) = (0_usize, 0);
        let mut facts = facts.iter();
        while removed < limit && ((removed as u64) < keys || freed < bytes) {
            let Some(key) = self.model.order.first().cloned() else { break };
            let fact = facts.next().expect("the least recently used entry goes");
            let expected = Change::Remove { key: key.clone().into(), cause: Cause::Evicted };
            self.model.version = self.model.version.next();
            assert_eq!((fact.version, &fact.change), (self.model.version, &expected));
            freed += charge(&key, &self.model.remove(&key, Cause::Evicted).value);
            removed += 1;
            self.engine.apply(fact);
            self.log.push(owned(fact));
        }
        assert_eq!(facts.next(), None, "nothing goes without need");
    }

    fn finish_index(&mut self) {
        while !self.engine.index_ready() {
            self.engine.index_step(3);
        }
    }

    fn scan(&mut self, scan: &Scan) {
        self.finish_index();
        let (found, more) = self.engine.scan(scan, self.model.now);
        let after = scan.start_after.clone().unwrap_or_default();
        let matching: Vec<(String, u64)> = self
            .model
            .entries
            .iter()
            .filter(|(key, _)| key.starts_with(&scan.prefix) && **key > after)
            .filter(|(key, _)| self.model.live(key).is_some())
            .map(|(key, known)| {
                let value_bytes = if scan.view.is_use() { known.value.len() } else { 0 };
                (key.clone(), (key.len() + value_bytes) as u64)
            })
            .collect();
        let mut bytes = 0;
        let fit = matching
            .iter()
            .take(scan.entries_max.max(1))
            .take_while(|(_, size)| {
                bytes += size;
                bytes <= scan.bytes_max as u64
            })
            .count();
        let fit = fit.max(1).min(matching.len());
        assert_eq!((found.len(), more), (fit, fit < matching.len()));
        for ((key, entry), (expected, _)) in found.into_iter().zip(matching) {
            assert_eq!(key.as_str(), expected);
            let known = match scan.reading {
                Reading::Use => self.model.get(&expected, scan.view),
                Reading::Look => self.model.look(&expected, scan.view),
            };
            assert_eq!(Some(entry), known);
        }
    }

    fn image_step(&mut self, bytes: usize) {
        let log_from = self.log.len();
        let snapshot = self.snapshot.get_or_insert_with(|| Snapshot {
            entries: Vec::new(),
            cursor: Some(ImageCursor::default()),
            log_from,
        });
        if let Some(cursor) = snapshot.cursor {
            let mut keep = |mutation: &Mutation<'_>| snapshot.entries.push(owned(mutation));
            snapshot.cursor = self.engine.image(cursor, bytes, self.model.now, &mut keep);
        }
    }

    /// A new engine from the snapshot, if one is complete, else from a new one; then the log since.
    fn restart(&mut self, twice: bool) {
        while self.snapshot.as_ref().is_none_or(|snapshot| snapshot.cursor.is_some()) {
            self.image_step(1);
        }
        let snapshot = self.snapshot.take().unwrap();
        let mut engine = Engine::new(self.model.rules.clone());
        let tail = &self.log[snapshot.log_from..];
        let again = if twice { tail } else { &[] };
        for mutation in snapshot.entries.iter().chain(tail).chain(again) {
            engine.apply(mutation);
        }
        engine.raise_version(self.model.version);
        engine.order_by_version();
        // As when a namespace is dropped: its cuts outlive it.
        engine.adopt_cuts(&mut self.engine);
        self.engine = engine;
        self.model.order.sort_by_key(|key| self.model.entries[key].version);
        self.forget_expired();
        self.model.counters = self.engine.counters();
    }

    /// Expiry is not logged, so after a restart what had expired may be there, and go, again.
    fn forget_expired(&mut self) {
        loop {
            let facts = self.engine.expire(self.model.now, 100);
            for fact in &facts {
                self.engine.apply(fact);
            }
            if self.engine.next_deadline().is_none_or(|next| next > self.model.now) {
                break;
            }
        }
        let keys: Vec<String> = self.model.entries.keys().cloned().collect();
        for key in keys {
            if self.model.live(&key).is_none() {
                self.model.remove(&key, Cause::Expired);
            }
        }
        self.model.version = self.engine.version();
    }

    /// Everything that can be seen from outside without changing it.
    fn compare(&self) {
        assert_eq!(self.engine.usage(), self.model.usage());
        assert_eq!(self.engine.version(), self.model.version);
        assert_eq!(self.engine.counters(), self.model.counters);
        let mut shown = 0;
        let end = self.engine.image(ImageCursor::default(), usize::MAX, self.model.now, &mut |m| {
            let Change::Set { key, value, deadline, written } = &m.change else { panic!("{m:?}") };
            let known = self.model.live(key).expect("only live entries are shown");
            assert_eq!(value, &known.value);
            assert_eq!((deadline, written), (&known.deadline, &known.written));
            assert_eq!(m.version, known.version);
            shown += 1;
        });
        assert_eq!(end, None);
        let live = self.model.entries.keys().filter(|key| self.model.live(key).is_some());
        assert_eq!(shown, live.count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn the_engine_does_what_its_model_does(
        rules in rules(),
        steps in prop::collection::vec(steps(), 1..STEPS_MAX),
    ) {
        let mut pair = Pair::new(rules);
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        pair.cuts.finish(&mut pair.engine);
    }
}

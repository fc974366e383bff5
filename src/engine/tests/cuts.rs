//! Cuts beside changes: what is shown is what was there, each entry once.

use std::collections::BTreeMap;

use super::model::{Known, Model};
use super::property::owned;
use super::*;
use crate::engine::{CutId, Rest, Saved};
use crate::model::{Change, Mutation, Rules};

/// Most cuts at a time.
const CUTS_MAX: usize = 3;

/// Cuts under way, each with what the model held when it was made.
#[derive(Default)]
pub(super) struct Cuts(Vec<Expected>);

struct Expected {
    cut: CutId,
    entries: BTreeMap<String, Known>,
    shown: BTreeMap<String, Known>,
}

impl Expected {
    fn take(&mut self, mutation: &Mutation<'_>) {
        let mutation = owned(mutation);
        let Change::Set { key, value, deadline, written } = mutation.change else {
            panic!("{mutation:?}")
        };
        let (value, version) = (value.into_owned(), mutation.version);
        let known = Known { value, version, deadline, written };
        let before = self.shown.insert(key.clone().into_owned(), known);
        assert_eq!(before, None, "{key} is shown twice");
    }

    fn take_saved(&mut self, saved: &Saved) {
        saved.show(&mut |mutation| self.take(mutation));
    }

    /// Shows a bit; whether that was the end.
    fn show(&mut self, engine: &mut Engine, bytes: usize) -> bool {
        let (saved, rest) = engine.show(self.cut, bytes, &mut |mutation| self.take(mutation));
        self.take_saved(&saved);
        match rest {
            Rest::More => return false,
            Rest::Nothing => {}
            Rest::Elsewhere(mut heritage) => {
                while !heritage.show(bytes, &mut |mutation| self.take(mutation)) {}
            }
        }
        assert_eq!(self.shown, self.entries, "a cut shows what was there when it was made");
        true
    }
}

impl Cuts {
    pub(super) fn begin(&mut self, engine: &mut Engine, model: &Model) {
        if self.0.len() == CUTS_MAX {
            return;
        }
        let live = model.entries.iter().filter(|(key, _)| model.live(key).is_some());
        let entries = live.map(|(key, known)| (key.clone(), known.clone())).collect();
        let cut = engine.cut(model.now);
        self.0.push(Expected { cut, entries, shown: BTreeMap::new() });
    }

    pub(super) fn show(&mut self, engine: &mut Engine, which: usize, bytes: usize) {
        let Some(expected) = self.0.get_mut(which) else { return };
        // An empty budget shows nothing; what piles up is taken all the same.
        let saved = engine.take_saved(expected.cut);
        expected.take_saved(&saved);
        if expected.show(engine, bytes.max(1)) {
            let over = self.0.remove(which);
            assert_eq!(engine.take_saved(over.cut).bytes(), 0);
        }
    }

    pub(super) fn forget(&mut self, engine: &mut Engine, which: usize) {
        if which < self.0.len() {
            drop(engine.drop_cut(self.0.remove(which).cut));
        }
    }

    pub(super) fn finish(&mut self, engine: &mut Engine) {
        for expected in &mut self.0 {
            while !expected.show(engine, 100) {}
        }
    }
}

#[test]
fn a_cut_holds_on_to_nothing_when_it_is_over_or_forgotten() {
    let mut engine = Engine::new(Rules::default());
    for n in 0..100 {
        run(&mut engine, &[set(&format!("k{n}"), b"old")], false);
    }
    let forgotten = engine.cut(NOW);
    let shown = engine.cut(NOW);
    run(&mut engine, &[set("k0", b"new")], false);
    assert!(engine.take_saved(forgotten).bytes() > 0);
    drop(engine.drop_cut(forgotten));
    let mut count = 0;
    let (saved, rest) = engine.show(shown, usize::MAX, &mut |_| count += 1);
    assert!(matches!(rest, Rest::Nothing));
    saved.show(&mut |_| count += 1);
    assert_eq!(count, 100);
    for n in 0..100 {
        run(&mut engine, &[set(&format!("k{n}"), b"newer")], false);
    }
    for cut in [forgotten, shown] {
        assert_eq!(engine.take_saved(cut).bytes(), 0, "nobody saves for a cut that is over");
    }
}

#[test]
fn slots_that_show_nothing_are_passed_in_steps_too() {
    let mut engine = Engine::new(Rules::default());
    for n in 0..1000 {
        run(&mut engine, &[set(&format!("k{n}"), b"old")], false);
    }
    let cut = engine.cut(NOW);
    for n in 0..1000 {
        run(&mut engine, &[set(&format!("k{n}"), b"new")], false);
    }
    let mut steps = 0;
    loop {
        let (_, rest) = engine.show(cut, 160, &mut |_| panic!("all of it was saved"));
        steps += 1;
        if !matches!(rest, Rest::More) {
            break;
        }
    }
    assert_eq!(steps, 100);
}

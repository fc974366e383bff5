//! Ruling on commands: what each comes to, one behind the other, without changing anything.

use std::borrow::Borrow;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::ledger::{Ledger, Live, Scope, Standing};
use super::moment::{Fate, resolve};
use super::{Command, Condition, Decision, Engine, Entry, Expiration, Outcome, Refusal, View};
use crate::model::{Rules, UnixMillis};

impl Engine {
    /// Rules on `commands` in order; later ones see what earlier ones did. Changes nothing.
    ///
    /// `room` is by how many bytes this namespace may grow for the sake of the process; what is
    /// missing is evicted here, or the command is refused with [`Refusal::MemoryExhausted`]. If
    /// `atomic`, either all mutations are there or none. What was evicted for a write comes before
    /// it; each mutation takes the next version. Of the outcomes of a batch that was not committed
    /// those that held say only that: they carry no entries.
    #[must_use]
    pub fn decide<'c, C: Borrow<Command>>(
        &self,
        commands: &'c [C],
        atomic: bool,
        now: UnixMillis,
        room: u64,
    ) -> Decision<'c> {
        let scope = match (commands.len(), atomic) {
            (0 | 1, _) => Scope::Single,
            (_, false) => Scope::Independent,
            (_, true) => Scope::Atomic,
        };
        if commands.len() > 1 {
            self.warm_up_all(commands.iter().map(|command| command.borrow().key().as_str()));
        }
        let ledger = Ledger::new(&self.entries, &self.rules, self.version, now, scope, room);
        let mut ruling = Ruling { rules: &self.rules, now, ledger };
        let mut outcomes: Vec<_> =
            commands.iter().map(|command| ruling.rule(command.borrow())).collect();
        self.count_uses(commands, &outcomes);
        let holds = |outcome: &Result<Outcome, Refusal>| outcome.as_ref().is_ok_and(Outcome::holds);
        if atomic && !outcomes.iter().all(holds) {
            outcomes.iter_mut().filter(|outcome| holds(outcome)).for_each(forget_entries);
            return Decision { mutations: Vec::new(), outcomes, committed: false };
        }
        Decision { mutations: ruling.ledger.mutations, outcomes, committed: true }
    }

    /// A touch that returns the value is a read, too.
    fn count_uses<C: Borrow<Command>>(
        &self,
        commands: &[C],
        outcomes: &[Result<Outcome, Refusal>],
    ) {
        for (command, outcome) in commands.iter().zip(outcomes) {
            if let (Command::Touch { view, .. }, Ok(Outcome::Touch { entry, .. })) =
                (command.borrow(), outcome)
                && view.is_use()
            {
                let tally = if entry.is_some() { &self.hits } else { &self.misses };
                tally.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Entries of an outcome that never came to be.
fn forget_entries(outcome: &mut Result<Outcome, Refusal>) {
    let Ok(outcome) = outcome else { return };
    match outcome {
        Outcome::Set { entry, previous, .. } | Outcome::Delete { entry, previous, .. } => {
            (*entry, *previous) = (None, None);
        }
        Outcome::Touch { entry, .. }
        | Outcome::Increment { entry, .. }
        | Outcome::Check { entry, .. } => *entry = None,
    }
}

/// A [`Command::Increment`], its bounds wide enough for any sum where there are none.
struct Addition<'c> {
    key: &'c str,
    delta: i64,
    initial: i64,
    lower_bound: i128,
    upper_bound: i128,
    expiration: Expiration,
    refresh_expiration: bool,
}

struct Ruling<'e, 'c> {
    rules: &'e Rules,
    now: UnixMillis,
    ledger: Ledger<'e, 'c>,
}

impl<'e, 'c> Ruling<'e, 'c> {
    fn rule(&mut self, command: &'c Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Set { key, value, expiration, condition, return_previous } => {
                self.set(key.as_str(), value, *expiration, *condition, *return_previous)
            }
            Command::Delete { key, condition, return_previous } => {
                Ok(self.delete(key.as_str(), *condition, *return_previous))
            }
            Command::Touch { key, expiration, condition, view } => {
                self.touch(key.as_str(), *expiration, *condition, *view)
            }
            Command::Increment {
                key,
                delta,
                initial,
                lower_bound,
                upper_bound,
                expiration,
                refresh_expiration,
            } => self.increment(&Addition {
                key: key.as_str(),
                delta: *delta,
                initial: *initial,
                lower_bound: lower_bound.map_or(i128::MIN, i128::from),
                upper_bound: upper_bound.map_or(i128::MAX, i128::from),
                expiration: *expiration,
                refresh_expiration: *refresh_expiration,
            }),
            Command::Check { key, condition } => {
                let live = self.ledger.look_up(key.as_str()).live;
                let held = holds(Some(*condition), live.as_ref());
                Ok(Outcome::Check { held, entry: metadata(live.as_ref()) })
            }
        }
    }

    fn check_length(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.rules.value_bytes_max;
        if bytes <= limit {
            return Ok(());
        }
        Err(Refusal::ValueTooLarge { limit_bytes: limit as u64, size_bytes: bytes as u64 })
    }

    fn fate(&self, wish: Expiration, live: Option<&Live<'e>>) -> Result<Fate, Refusal> {
        resolve(wish, self.rules, live.map(|live| live.deadline), self.now)
    }

    fn set(
        &mut self,
        key: &'c str,
        value: &'c Bytes,
        expiration: Expiration,
        condition: Option<Condition>,
        previous: bool,
    ) -> Result<Outcome, Refusal> {
        self.check_length(value.len())?;
        let standing = self.ledger.look_up(key);
        let live = standing.live.as_ref();
        let fate = self.fate(expiration, live)?;
        if !holds(condition, live) {
            let entry = metadata(live);
            return Ok(Outcome::Set { applied: false, entry, previous: None });
        }
        let previous = live.filter(|_| previous).map(|live| view_of(live, View::Full));
        let entry = match fate {
            Fate::Until(deadline) => {
                let live = self.ledger.set(key, &standing, value, deadline)?;
                Some(view_of(&live, View::Metadata))
            }
            Fate::Gone => {
                self.remove_if_live(key, &standing);
                None
            }
        };
        Ok(Outcome::Set { applied: true, entry, previous })
    }

    fn delete(&mut self, key: &'c str, condition: Option<Condition>, previous: bool) -> Outcome {
        let standing = self.ledger.look_up(key);
        let live = standing.live.as_ref();
        if live.is_none() || !holds(condition, live) {
            return Outcome::Delete { deleted: false, entry: metadata(live), previous: None };
        }
        let previous = live.filter(|_| previous).map(|live| view_of(live, View::Full));
        self.ledger.remove(key, &standing);
        Outcome::Delete { deleted: true, entry: None, previous }
    }

    fn touch(
        &mut self,
        key: &'c str,
        expiration: Expiration,
        condition: Option<Condition>,
        view: View,
    ) -> Result<Outcome, Refusal> {
        let standing = self.ledger.look_up(key);
        let fate = self.fate(expiration, standing.live.as_ref())?;
        let Some(live) = &standing.live else {
            return Ok(Outcome::Touch { applied: false, entry: None });
        };
        if !holds(condition, Some(live)) {
            return Ok(Outcome::Touch { applied: false, entry: Some(view_of(live, view)) });
        }
        let entry = match fate {
            Fate::Until(deadline) => {
                let live = self.ledger.touch(key, &standing, live, deadline);
                Some(view_of(&live, view))
            }
            Fate::Gone => {
                self.ledger.remove(key, &standing);
                None
            }
        };
        Ok(Outcome::Touch { applied: true, entry })
    }

    fn increment(&mut self, addition: &Addition<'c>) -> Result<Outcome, Refusal> {
        let Addition { key, delta, initial, .. } = *addition;
        let standing = self.ledger.look_up(key);
        let live = standing.live.as_ref();
        let is_new = live.is_none();
        let wish = if is_new || addition.refresh_expiration {
            addition.expiration
        } else {
            Expiration::Keep
        };
        let fate = self.fate(wish, live)?;
        let value = live.map_or(Ok(initial), |live| integer(live.value.bytes()))?;
        // Bounds are looked at before the width: a sum beyond a bound is only not applied.
        let sum = i128::from(value) + i128::from(delta);
        let is_beyond = sum < addition.lower_bound || sum > addition.upper_bound;
        if is_beyond || delta == 0 {
            let entry = metadata(live);
            return Ok(Outcome::Increment { value, applied: !is_beyond, created: false, entry });
        }
        let sum = i64::try_from(sum).map_err(|_| Refusal::CounterOverflow)?;
        let entry = match fate {
            Fate::Until(deadline) => {
                let text = sum.to_string();
                self.check_length(text.len())?;
                let live = self.ledger.set_text(key, &standing, text, deadline)?;
                Some(view_of(&live, View::Metadata))
            }
            Fate::Gone => {
                self.remove_if_live(key, &standing);
                None
            }
        };
        let created = is_new && entry.is_some();
        Ok(Outcome::Increment { value: sum, applied: true, created, entry })
    }

    fn remove_if_live(&mut self, key: &'c str, standing: &Standing<'e>) {
        if standing.live.is_some() {
            self.ledger.remove(key, standing);
        }
    }
}

fn holds(condition: Option<Condition>, live: Option<&Live<'_>>) -> bool {
    match condition {
        None => true,
        Some(Condition::Absent) => live.is_none(),
        Some(Condition::Present) => live.is_some(),
        Some(Condition::Version(version)) => live.is_some_and(|live| live.version == version),
    }
}

fn integer(value: &[u8]) -> Result<i64, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::ValueNotInteger)?;
    text.parse().map_err(|_| Refusal::ValueNotInteger)
}

fn metadata(live: Option<&Live<'_>>) -> Option<Entry> {
    live.map(|live| view_of(live, View::Metadata))
}

fn view_of(live: &Live<'_>, view: View) -> Entry {
    Entry::seen(view, live.value.bytes(), live.version, live.deadline, live.written)
}

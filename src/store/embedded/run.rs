//! Many steps in one turn: what streams of requests bring.
//!
//! Steps are done in their order. Those that follow each other in one namespace share a turn; in it,
//! single reads that follow each other are looked up together, and single writes that follow each
//! other are ruled upon together and are one record of the log. Then everybody waits once.

use std::sync::Arc;

use super::commit::Ticket;
use super::door::{growth, refused_for};
use super::namespace::{Namespace, Turn};
use super::reach::{defined, tells_of_namespaces};
use super::shared::Shared;
use crate::engine::{Command, Engine, Outcome, Refusal};
use crate::model::NamespaceName;
use crate::store::{Answer, Batch, Error, Operation, Step, VALUES_BYTES_MAX};

/// Most bytes by which the writes of one record may let a namespace grow: as much as a batch brings.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// Most single writes that become one record: as many as a batch may have.
const RECORD_COMMANDS_MAX: usize = 1000;

/// Does `steps`, and answers when what was done is as safe as its namespace asks. See
/// [`Store::run`](crate::store::Store::run).
pub(super) async fn run(shared: &Arc<Shared>, steps: &mut [Step]) -> Vec<Result<Answer, Error>> {
    let mut run = Run::new(shared, steps.len());
    while run.done.len() < steps.len() && run.values_bytes < VALUES_BYTES_MAX {
        run.go_on(steps);
    }
    run.settle().await
}

/// How far it has come.
struct Run<'s> {
    shared: &'s Arc<Shared>,
    /// One for each step done, with what its answer must wait for.
    done: Vec<(Result<Answer, Error>, Ticket)>,
    /// Bytes of values in these answers.
    values_bytes: usize,
    /// The step for which others have already made room: it is not asked of them twice.
    room_made_for: Option<usize>,
}

/// Why a turn ends before the steps do.
enum Ended {
    /// Other steps are for somebody else, or there are none.
    Done,
    /// Others have to make room for this many bytes first, without anybody holding a turn.
    Cramped(u64),
}

impl<'s> Run<'s> {
    fn new(shared: &'s Arc<Shared>, steps: usize) -> Run<'s> {
        let done = Vec::with_capacity(steps);
        Run { shared, done, values_bytes: 0, room_made_for: None }
    }

    /// Does the next step, and those behind it that need no other turn.
    fn go_on(&mut self, steps: &mut [Step]) {
        let next = &steps[self.done.len()];
        let namespace = match self.find(next) {
            Ok(Some(namespace)) => namespace,
            Ok(None) => return self.answer_nothing(next),
            Err(error) => return self.push(Err(error), Ticket::Now),
        };
        let Some(mut turn) = namespace.enter() else {
            // Dropped since it was found; it has left the registry by now.
            return std::thread::yield_now();
        };
        let ended = self.take_turn(&mut turn, steps);
        drop(turn);
        if let Ended::Cramped(need) = ended {
            self.room_made_for = Some(self.done.len());
            self.shared.make_room(&namespace, need);
        }
    }

    /// The namespace of a step, made if the step can make it grow.
    fn find(&self, step: &Step) -> Result<Option<Arc<Namespace>>, Error> {
        match self.shared.find(&step.namespace)? {
            None if growth_of(step) > 0 => {
                self.shared.registry.create_on_write(self.shared, &step.namespace).map(Some)
            }
            found => Ok(found),
        }
    }

    /// What a step hears where there is no namespace, and it cannot make one.
    fn answer_nothing(&mut self, step: &Step) {
        let rule = |commands: &[&Command], atomic| {
            let engine = Engine::new(self.shared.settings.read().default_rules.clone());
            let decision = engine.decide(commands, atomic, self.shared.clock.now(), 0);
            (decision.outcomes, decision.committed)
        };
        let answer = match &step.operation {
            Operation::Get { .. } => Ok(Answer::Get(None)),
            Operation::GetMany { keys, .. } => {
                Ok(Answer::GetMany(crate::engine::Found::nothing(keys.len())))
            }
            Operation::Write(command) => {
                let outcome = rule(&[command], false).0.pop();
                Ok(Answer::Write(outcome.expect("one outcome for one command")))
            }
            Operation::Batch(batch) => {
                let commands: Vec<_> = batch.commands.iter().collect();
                let (outcomes, committed) = rule(&commands, batch.atomic);
                answer_to(batch, outcomes, committed)
            }
        };
        self.push(answer, defined(self.shared));
    }

    fn take_turn(&mut self, turn: &mut Turn<'_>, steps: &mut [Step]) -> Ended {
        let is_ours = |step: &Step, name: &NamespaceName| step.namespace == *name;
        let name = steps[self.done.len()].namespace.clone();
        while self.values_bytes < VALUES_BYTES_MAX {
            let first = self.done.len();
            if !steps.get(first).is_some_and(|step| is_ours(step, &name)) {
                break;
            }
            if let Err(error) = admit(turn, &mut steps[first]) {
                self.push(Err(error), Ticket::Now);
                continue;
            }
            // What can be done together with it; the one that ends it may be refused.
            let mut end = first + 1;
            let mut refused = None;
            let mut growth = growth_of(&steps[first]);
            while end < steps.len()
                && end - first < RECORD_COMMANDS_MAX
                && is_ours(&steps[end], &name)
                && go_together(turn, &steps[first], &steps[end])
                && growth + growth_of(&steps[end]) <= RECORD_BYTES_MAX
            {
                if let Err(error) = admit(turn, &mut steps[end]) {
                    refused = Some(error);
                    break;
                }
                growth += growth_of(&steps[end]);
                end += 1;
            }
            if self.is_cramped(turn, growth) {
                return Ended::Cramped(growth);
            }
            self.do_together(turn, &steps[first..end]);
            if let (Some(error), true) = (refused, self.done.len() == end) {
                self.push(Err(error), Ticket::Now);
            }
        }
        Ended::Done
    }

    /// Whether others shall make room first. Nobody pays for a write that is not let in.
    fn is_cramped(&self, turn: &Turn<'_>, growth: u64) -> bool {
        self.shared.budget.room() < growth
            && self.room_made_for != Some(self.done.len())
            && turn.may_write(self.shared).is_ok()
    }

    /// Does steps of one kind that were let in.
    fn do_together(&mut self, turn: &mut Turn<'_>, steps: &[Step]) {
        match &steps[0].operation {
            Operation::Get { .. } => self.get(turn, steps),
            Operation::Write(_) => self.write(turn, steps),
            Operation::GetMany { keys, view } => match turn.find_many(self.shared, keys, *view) {
                Ok((found, ticket)) => {
                    self.values_bytes += found.values_bytes();
                    self.push(Ok(Answer::GetMany(found)), ticket);
                }
                Err(error) => self.push(Err(error), Ticket::Now),
            },
            Operation::Batch(batch) => {
                match turn.rule(self.shared, &batch.commands, batch.atomic) {
                    Ok(ruled) => {
                        self.values_bytes += ruled.outcomes.iter().map(values_bytes).sum::<usize>();
                        let answer = answer_to(batch, ruled.outcomes, ruled.committed);
                        self.push(answer, ruled.ticket);
                    }
                    Err(error) => self.push(Err(error), Ticket::Now),
                }
            }
        }
    }

    fn get(&mut self, turn: &mut Turn<'_>, steps: &[Step]) {
        let keys = steps.iter().filter_map(|step| match &step.operation {
            Operation::Get { key, view } => Some((key.as_str(), *view)),
            Operation::GetMany { .. } | Operation::Write(_) | Operation::Batch(_) => None,
        });
        let (found, ticket) = turn.find(self.shared, keys);
        self.values_bytes += found.values_bytes();
        if found.len() < steps.len() {
            // The rest would be too much for one answer, and comes again.
            self.values_bytes = self.values_bytes.max(VALUES_BYTES_MAX);
        }
        for entry in found.entries() {
            self.push(Ok(Answer::Get(entry)), ticket);
        }
    }

    fn write(&mut self, turn: &mut Turn<'_>, steps: &[Step]) {
        let commands = steps.iter().filter_map(|step| match &step.operation {
            Operation::Write(command) => Some(command),
            Operation::Get { .. } | Operation::GetMany { .. } | Operation::Batch(_) => None,
        });
        let commands: Vec<&Command> = commands.collect();
        match turn.rule(self.shared, &commands, false) {
            Ok(ruled) => {
                for outcome in ruled.outcomes {
                    self.values_bytes += values_bytes(&outcome);
                    self.push(Ok(Answer::Write(outcome)), ruled.ticket);
                }
            }
            Err(error) => {
                for _ in steps {
                    self.push(Err(error.clone()), Ticket::Now);
                }
            }
        }
    }

    fn push(&mut self, answer: Result<Answer, Error>, ticket: Ticket) {
        let ticket = match &answer {
            Err(error) if tells_of_namespaces(error) => ticket.and(defined(self.shared)),
            Err(_) | Ok(_) => ticket,
        };
        self.done.push((answer, ticket));
    }

    /// The answers, once all of them are safe; those that do not come to be safe say so.
    async fn settle(self) -> Vec<Result<Answer, Error>> {
        let commit = &self.shared.commit;
        let ticket = self.done.iter().fold(Ticket::Now, |all, (_, ticket)| all.and(*ticket));
        let Err(unknown) = commit.wait(ticket).await else {
            return self.done.into_iter().map(|(answer, _)| answer).collect();
        };
        let told = self.done.into_iter().map(|(answer, ticket)| match answer {
            _ if commit.is_good(ticket) => answer,
            Ok(Answer::Write(_) | Answer::Batch { .. }) => Err(unknown.clone()),
            Ok(Answer::Get(_) | Answer::GetMany(_)) | Err(_) => Err(commit.reading_failed()),
        });
        told.collect()
    }
}

/// Lets a step in, if the rate allows; once.
fn admit(turn: &mut Turn<'_>, step: &mut Step) -> Result<(), Error> {
    if !step.is_admitted {
        turn.admit(step.operations())?;
        step.is_admitted = true;
    }
    Ok(())
}

/// Whether two steps of one namespace are done in one go.
fn go_together(turn: &Turn<'_>, first: &Step, next: &Step) -> bool {
    // Values that are handed back are counted one by one, and what is refused as a whole for one
    // command that cannot be done now must not take others with it.
    let is_plain = |command: &Command| {
        !command.returns_value() && (turn.can_touch() || !matches!(command, Command::Touch { .. }))
    };
    match (&first.operation, &next.operation) {
        (Operation::Get { .. }, Operation::Get { .. }) => true,
        (Operation::Write(first), Operation::Write(next)) => is_plain(first) && is_plain(next),
        (
            Operation::Get { .. }
            | Operation::GetMany { .. }
            | Operation::Write(_)
            | Operation::Batch(_),
            _,
        ) => false,
    }
}

fn growth_of(step: &Step) -> u64 {
    match &step.operation {
        Operation::Get { .. } | Operation::GetMany { .. } => 0,
        Operation::Write(command) => growth(std::slice::from_ref(command)),
        Operation::Batch(batch) => growth(&batch.commands),
    }
}

fn answer_to(
    batch: &Batch,
    outcomes: Vec<Result<Outcome, Refusal>>,
    committed: bool,
) -> Result<Answer, Error> {
    match refused_for(batch.atomic, &outcomes) {
        Some(error) => Err(error),
        None => Ok(Answer::Batch { outcomes, committed }),
    }
}

/// Bytes of the values that an outcome carries.
fn values_bytes(outcome: &Result<Outcome, Refusal>) -> usize {
    let bytes =
        |entry: &Option<crate::engine::Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
    match outcome {
        Ok(Outcome::Set { previous, .. } | Outcome::Delete { previous, .. }) => bytes(previous),
        Ok(Outcome::Touch { entry, .. }) => bytes(entry),
        Ok(Outcome::Increment { .. } | Outcome::Check { .. }) | Err(_) => 0,
    }
}

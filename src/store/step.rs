//! What a stream of requests brings, and what it hears.

use super::{Batch, Command, Entry, Found, Outcome, Refusal, View};
use crate::model::{Key, Keys, NamespaceName};

/// One of many things to be done in order, for [`Store::run`](super::Store::run).
#[derive(Debug)]
pub struct Step {
    /// Where.
    pub namespace: NamespaceName,
    /// What.
    pub operation: Operation,
    /// Whether the namespace's rate has let it in: one that comes again is not counted again.
    pub(super) is_admitted: bool,
}

/// What one step does; each is the verb of that name.
#[derive(Debug)]
pub enum Operation {
    /// Reads one entry.
    Get {
        /// Its key.
        key: Key,
        /// How much of it.
        view: View,
    },
    /// Reads many, all seen at one moment.
    GetMany {
        /// Their keys.
        keys: Keys,
        /// How much of each.
        view: View,
    },
    /// Rules on one command.
    Write(Command),
    /// Rules on several at one moment.
    Batch(Batch),
}

/// What came of a [`Step`].
#[derive(Debug)]
pub enum Answer {
    /// The entry, if there is one.
    Get(Option<Entry>),
    /// One for each key.
    GetMany(Found),
    /// What came of the command.
    Write(Result<Outcome, Refusal>),
    /// What came of each command.
    Batch {
        /// One for each command, in order.
        outcomes: Vec<Result<Outcome, Refusal>>,
        /// False only where the batch was atomic and something stood against it.
        committed: bool,
    },
}

impl Step {
    /// A step that nobody has seen yet.
    #[must_use]
    pub fn new(namespace: NamespaceName, operation: Operation) -> Step {
        Step { namespace, operation, is_admitted: false }
    }

    /// How many operations it counts for: its keys or commands.
    #[must_use]
    pub fn operations(&self) -> usize {
        match &self.operation {
            Operation::Get { .. } | Operation::Write(_) => 1,
            Operation::GetMany { keys, .. } => keys.len(),
            Operation::Batch(batch) => batch.commands.len(),
        }
    }
}

impl Command {
    /// Whether its outcome can carry a value.
    #[must_use]
    pub fn returns_value(&self) -> bool {
        match self {
            Command::Set { return_previous, .. } | Command::Delete { return_previous, .. } => {
                *return_previous
            }
            Command::Touch { view, .. } => view.is_use(),
            Command::Increment { .. } | Command::Check { .. } => false,
        }
    }
}

//! What may be asked of a namespace, and what is heard back.

use bytes::Bytes;

use crate::model::{Key, Mutation, Ttl, UnixMillis, Version};

/// When an entry should expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// As the namespace says.
    Default,
    /// This long after the write.
    After(Ttl),
    /// At this moment; one already past removes the entry.
    At(UnixMillis),
    /// Not at all; refused where the namespace has a longest time to live.
    Never,
    /// When it expires now; for a new entry as [`Expiration::Default`].
    Keep,
}

/// A test against the live entry; test and write are one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no live entry.
    Absent,
    /// There is one.
    Present,
    /// There is one, and this is its version.
    Version(Version),
}

/// How much of an entry is returned. Only [`View::Value`] and [`View::Full`] are a use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The key.
    Key,
    /// Everything but the value.
    Metadata,
    /// The value and the version.
    Value,
    /// Everything.
    Full,
}

impl View {
    /// Whether reading with this view hands out the value, and so counts as a use of the entry.
    #[must_use]
    pub const fn is_use(self) -> bool {
        matches!(self, View::Value | View::Full)
    }
}

/// One wish. Its key and value limits of the model hold; the namespace's own are ruled upon here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write an entry, whole.
    Set {
        /// Which.
        key: Key,
        /// The new value.
        value: Bytes,
        /// When it expires.
        expiration: Expiration,
        /// What must hold.
        condition: Option<Condition>,
        /// Whether the outcome carries the replaced entry with its value.
        return_previous: bool,
    },
    /// Remove an entry.
    Delete {
        /// Which.
        key: Key,
        /// What must hold.
        condition: Option<Condition>,
        /// Whether the outcome carries the removed entry with its value.
        return_previous: bool,
    },
    /// Move a deadline.
    Touch {
        /// Which.
        key: Key,
        /// The new one.
        expiration: Expiration,
        /// What must hold.
        condition: Option<Condition>,
        /// How much of the entry the outcome carries.
        view: View,
    },
    /// Add to a counter, stored as decimal text.
    Increment {
        /// Which.
        key: Key,
        /// What to add; zero reads and never writes a value.
        delta: i64,
        /// What a missing counter starts from.
        initial: i64,
        /// Below this, nothing changes.
        lower_bound: Option<i64>,
        /// Above this, nothing changes.
        upper_bound: Option<i64>,
        /// When a counter created by this call expires.
        expiration: Expiration,
        /// Whether an existing counter takes `expiration` too.
        refresh_expiration: bool,
    },
    /// Write nothing; only require something.
    Check {
        /// Which.
        key: Key,
        /// What must hold.
        condition: Condition,
    },
}

impl Command {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Command::Set { key, .. }
            | Command::Delete { key, .. }
            | Command::Touch { key, .. }
            | Command::Increment { key, .. }
            | Command::Check { key, .. } => key,
        }
    }
}

/// What is known of an entry. Fields that the view leaves out are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes; empty unless the view includes them.
    pub value: Bytes,
    /// Bytes in the value, whether or not it is included.
    pub value_bytes: u32,
    /// Its last change.
    pub version: Version,
    /// When it stops being readable.
    pub deadline: Option<UnixMillis>,
    /// When its value was last written.
    pub written: UnixMillis,
}

/// What came of one command: data, also where nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a set.
    Set {
        /// Whether it was written.
        applied: bool,
        /// The entry as it now is, without value; `None`: there is none.
        entry: Option<Entry>,
        /// The entry it replaced, with its value, if asked for.
        previous: Option<Entry>,
    },
    /// Of a delete.
    Delete {
        /// Whether an entry went.
        deleted: bool,
        /// The entry that stays because the condition did not hold, without value.
        entry: Option<Entry>,
        /// The entry that went, with its value, if asked for.
        previous: Option<Entry>,
    },
    /// Of a touch.
    Touch {
        /// Whether the deadline was set.
        applied: bool,
        /// The entry as it now is, by the view asked for.
        entry: Option<Entry>,
    },
    /// Of an increment.
    Increment {
        /// The counter after the call; the initial value where there is none.
        value: i64,
        /// False where a bound stood against it.
        applied: bool,
        /// Whether this call made the counter.
        created: bool,
        /// The counter's entry without value.
        entry: Option<Entry>,
    },
    /// Of a check.
    Check {
        /// Whether the condition held.
        held: bool,
        /// The entry tested, without value.
        entry: Option<Entry>,
    },
}

impl Outcome {
    /// Whether everything that was required held. An atomic batch is committed only if this is
    /// true of each of its outcomes. A delete of nothing holds; an unmet condition does not.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self {
            Outcome::Set { applied, .. } | Outcome::Increment { applied, .. } => *applied,
            Outcome::Touch { applied, .. } => *applied,
            Outcome::Delete { deleted, entry, .. } => *deleted || entry.is_none(),
            Outcome::Check { held, .. } => *held,
        }
    }
}

/// Which limit of a namespace a write ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// The number of entries.
    Keys,
    /// The bytes charged.
    Bytes,
}

/// A lawful no: nothing was changed, and the same request would be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The value is longer than the namespace allows.
    #[error("the value has {size_bytes} bytes, at most {limit_bytes} are allowed here")]
    ValueTooLarge {
        /// The namespace's limit.
        limit_bytes: u64,
        /// What was sent.
        size_bytes: u64,
    },
    /// "Never" was asked for where the namespace has a longest time to live.
    #[error("entries of this namespace must expire")]
    ExpirationRequired,
    /// The deadline would be later than the year 9999.
    #[error("the entry would expire after the year 9999")]
    DeadlineTooFar,
    /// The namespace is full and does not evict, or eviction could not make room.
    #[error("the namespace is full: its limit is {limit}")]
    QuotaExceeded {
        /// Which limit.
        quota: Quota,
        /// Its value.
        limit: u64,
    },
    /// The process is full and this namespace has nothing to give.
    #[error("the server's memory is full")]
    MemoryExhausted,
    /// The value is not a decimal 64-bit integer.
    #[error("the value is not a decimal 64-bit integer")]
    ValueNotInteger,
    /// The sum does not fit 64 bits.
    #[error("the sum does not fit 64 bits")]
    CounterOverflow,
}

/// A ruling on a list of commands. No mutations: nothing changes, and that is an answer.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The facts to log and apply, in order; what was evicted to make room comes before the write
    /// that needed it.
    pub mutations: Vec<Mutation<'a>>,
    /// One for each command, in order.
    pub outcomes: Vec<Result<Outcome, Refusal>>,
    /// False only where the batch was atomic and something did not hold or was refused; then
    /// there are no mutations, and the outcomes say what stood against it.
    pub committed: bool,
}

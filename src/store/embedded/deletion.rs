//! Deleting what starts with a prefix, a slice at a time.

use super::commit::Ticket;
use super::namespace::Turn;
use super::shared::Shared;
use crate::store::{Command, Error, Reading, Scan, View};

/// Entries that one slice of a deletion by prefix removes; well below a millisecond.
const DELETE_SLICE: usize = 256;

/// A deletion by prefix under way.
pub(super) struct Deletion<'p> {
    prefix: &'p str,
    /// The last key looked at: what is written behind it meanwhile may stay, so that it ends.
    after: Option<String>,
    pub(super) deleted: u64,
    pub(super) ticket: Ticket,
}

impl<'p> Deletion<'p> {
    pub(super) fn new(prefix: &'p str) -> Deletion<'p> {
        Deletion { prefix, after: None, deleted: 0, ticket: Ticket::Now }
    }

    /// Deletes some entries; returns whether there are more.
    pub(super) fn slice(&mut self, shared: &Shared, turn: &mut Turn<'_>) -> Result<bool, Error> {
        let scan = Scan {
            prefix: self.prefix.to_owned(),
            start_after: self.after.take(),
            entries_max: DELETE_SLICE,
            bytes_max: usize::MAX,
            view: View::Key,
            reading: Reading::Use,
        };
        let (found, more, _) = turn.scan(shared, &scan);
        self.after = found.last().map(|(key, _)| key.as_str().to_owned());
        let delete = |key| Command::Delete { key, condition: None, return_previous: false };
        let commands: Vec<_> = found.into_iter().map(|(key, _)| delete(key)).collect();
        let ruled = turn.rule(shared, &commands, false)?;
        self.deleted += commands.len() as u64;
        self.ticket = self.ticket.and(ruled.ticket);
        Ok(more)
    }
}

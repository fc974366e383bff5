//! Watching a namespace of this store: from the history, then as it happens.
//!
//! # How it works
//! Each turn leaves what it changed in the namespace's [`History`]. A watcher that is behind reads
//! it there, page by page (`catching_up`); one that has caught up takes a seat at the [`Desk`] of
//! its worker, which reads the history once for everybody there and puts what concerns a watcher
//! into its outbox. An outbox that is full sends its watcher back to the history; only who is behind
//! that as well is cut off. Entries as they are come first where that is asked for (`initial`).
//!
//! # Why
//! A writer must not pay for watchers: it rings a bell at most. Ten thousand idle watchers must not
//! be woken for what does not concern them. And what a slow watcher holds must be bounded: it is its
//! small outbox, and a history that all share.
//!
//! # Invariants
//! Nothing is told before it is as safe as its namespace asks. What one turn did is never split.
//! Versions that were told of never come back with another meaning, not after a restart either.
//!
//! # Not here
//! Progress messages, filters as text: `service`.

mod desk;
mod history;
mod initial;
mod outbox;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) use desk::Desk;
pub(super) use history::{History, Keep};
pub use watcher::Watcher;

use super::commit::Ticket;
use super::namespace::{Namespace, Turn};
use super::shared::Shared;
use crate::model::{Mutation, UnixMillis};

impl Turn<'_> {
    /// Notes what this turn has changed, and tells whoever watches that there is news.
    pub(super) fn remember(&mut self, mutations: &[Mutation<'_>], at: UnixMillis, ticket: Ticket) {
        let keep = self.keep();
        self.state.history.push(mutations, at, ticket, keep);
        for desk in &self.state.desks {
            desk.ring();
        }
    }

    /// How much history this namespace keeps.
    fn keep(&self) -> Keep {
        let is_watched = self.home.watchers.load(Ordering::Relaxed) > 0;
        Keep { events: self.state.engine.rules().watch_history_events as usize, is_watched }
    }

    /// Has `desk` rung from now on.
    fn ring_from_now_on(&mut self, desk: &Arc<Desk>) {
        self.state.desks.retain(|desk| !desk.is_closed());
        self.state.desks.push(Arc::clone(desk));
    }
}

/// Counts a watcher for as long as it lives.
#[derive(Debug)]
struct Counted(Arc<Namespace>);

impl Counted {
    fn new(namespace: &Arc<Namespace>) -> Counted {
        namespace.watchers.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(namespace))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rings the desks of every namespace: those who watch shall hear that the store ends.
pub(super) fn ring_all(shared: &Shared) {
    for namespace in shared.registry.all() {
        if let Some(turn) = namespace.enter() {
            turn.state.desks.iter().for_each(|desk| desk.ring());
        }
    }
}

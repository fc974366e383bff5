//! The lane of a worker: where connections wait that want more than a turn.
//!
//! They go on one at a time. Between any two of them the thread looks for news and serves everybody
//! who came with less, so that these wait for one turn, however many connections are busy.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// The lane of one worker. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Lane(Arc<Door>);

#[derive(Default)]
struct Door(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Waker>,
    /// Whether somebody is on his way, or will be once the thread has looked for news.
    is_taken: bool,
}

impl Lane {
    /// Queues a task, which is to do nothing until it is woken, and then to [`Lane::leave`].
    pub(super) fn enter(&self, task: &Waker) {
        self.0.0.lock().waiting.push_back(task.clone());
        self.open();
    }

    /// Ends the turn of whoever was woken.
    pub(super) fn leave(&self) {
        self.0.0.lock().is_taken = false;
        self.open();
    }

    /// Lets the next one go, after a look for news.
    fn open(&self) {
        let mut state = self.0.0.lock();
        if state.is_taken || state.waiting.is_empty() {
            return;
        }
        state.is_taken = true;
        drop(state);
        let door = Waker::from(Arc::clone(&self.0));
        // What this is for happens as it is polled: the runtime wakes the door when it has looked.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&door));
    }
}

impl Wake for Door {
    fn wake(self: Arc<Self>) {
        let next = self.0.lock().waiting.pop_front();
        if let Some(task) = next {
            task.wake();
        }
    }
}

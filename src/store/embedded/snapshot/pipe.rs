//! A bounded queue between a thread that may block and a task that may not.
//!
//! Either end may be the sender, so each has verbs for both: those that block, and those of a thread
//! in general, tell the task, and the asynchronous ones tell the thread. When one end goes, the other learns of it at once, also while it
//! waits; [`Pipe::stop`] sends both away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// What both ends share.
#[derive(Debug)]
pub(super) struct Pipe<T> {
    state: Mutex<State<T>>,
    /// More bytes are not queued, but for one message that is larger by itself.
    bytes_max: usize,
    /// Tells the thread that something has changed.
    thread: Condvar,
    /// Tells the task.
    task: Notify,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
    has_sender: bool,
    has_receiver: bool,
}

/// The end that puts in.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Pipe<T>>);

/// The end that takes out.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Pipe<T>>);

/// The other end is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Why a message was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent<T> {
    /// There is no room now.
    Full(T),
    Gone,
}

/// A queue of at most `bytes_max`, and its ends.
pub(super) fn pipe<T>(bytes_max: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), bytes: 0, has_sender: true, has_receiver: true };
    let pipe = Arc::new(Pipe {
        state: Mutex::new(state),
        bytes_max,
        thread: Condvar::new(),
        task: Notify::new(),
    });
    (Sender(Arc::clone(&pipe)), Receiver(pipe))
}

impl<T> Pipe<T> {
    /// Ends the conversation for both.
    pub(super) fn stop(&self) {
        self.end(|state| (state.has_sender, state.has_receiver) = (false, false));
    }

    /// Ends it for one side or both; what is queued is kept only for a receiver that is there.
    fn end(&self, edit: impl FnOnce(&mut State<T>)) {
        let mut state = self.state.lock();
        edit(&mut state);
        let left = if state.has_receiver { VecDeque::new() } else { state.queue.split_off(0) };
        drop(state);
        drop(left);
        self.thread.notify_one();
        self.task.notify_one();
    }
}

impl<T> State<T> {
    fn put(&mut self, message: T, bytes: usize, bytes_max: usize) -> Result<(), Unsent<T>> {
        if !self.has_receiver {
            return Err(Unsent::Gone);
        }
        if !self.queue.is_empty() && self.bytes + bytes > bytes_max {
            return Err(Unsent::Full(message));
        }
        self.queue.push_back((message, bytes));
        self.bytes += bytes;
        Ok(())
    }

    /// The outer `None`: not yet. The inner: there is nothing more to come.
    #[expect(clippy::option_option, reason = "nothing yet and nothing more are different things")]
    fn take(&mut self) -> Option<Option<T>> {
        match self.queue.pop_front() {
            Some((message, bytes)) => {
                self.bytes -= bytes;
                Some(Some(message))
            }
            None if self.has_sender && self.has_receiver => None,
            None => Some(None),
        }
    }
}

impl<T> Sender<T> {
    /// The queue, for whoever must be able to stop it.
    pub(super) fn pipe(&self) -> Arc<Pipe<T>> {
        Arc::clone(&self.0)
    }

    /// Whether the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        !self.0.state.lock().has_receiver
    }

    /// Whether a message of `bytes` would be queued at once.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let state = self.0.state.lock();
        state.queue.is_empty() || state.bytes + bytes <= self.0.bytes_max
    }

    /// Queues a message of `bytes` from a thread, if there is room.
    pub(super) fn try_send(&self, message: T, bytes: usize) -> Result<(), Unsent<T>> {
        self.0.state.lock().put(message, bytes, self.0.bytes_max)?;
        self.0.task.notify_one();
        Ok(())
    }

    /// The same, and waits for room.
    pub(super) fn send_blocking(&self, message: T, bytes: usize) -> Result<(), Gone> {
        // Without a deadline it is never full.
        self.send_by(message, bytes, None).map_err(|_| Gone)
    }

    /// The same, and waits for room until `deadline`.
    pub(super) fn send_until(
        &self,
        message: T,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), Unsent<T>> {
        self.send_by(message, bytes, Some(deadline))
    }

    fn send_by(
        &self,
        message: T,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<(), Unsent<T>> {
        let mut state = self.0.state.lock();
        let mut message = message;
        loop {
            match state.put(message, bytes, self.0.bytes_max) {
                Ok(()) => break,
                Err(Unsent::Full(unsent)) => message = unsent,
                Err(Unsent::Gone) => return Err(Unsent::Gone),
            }
            match deadline {
                None => self.0.thread.wait(&mut state),
                Some(deadline) if self.0.thread.wait_until(&mut state, deadline).timed_out() => {
                    return Err(Unsent::Full(message));
                }
                Some(_) => {}
            }
        }
        drop(state);
        self.0.task.notify_one();
        Ok(())
    }

    /// The same from a task.
    pub(super) async fn send(&self, message: T, bytes: usize) -> Result<(), Gone> {
        let mut message = message;
        loop {
            let put = self.0.state.lock().put(message, bytes, self.0.bytes_max);
            match put {
                Ok(()) => {
                    self.0.thread.notify_one();
                    return Ok(());
                }
                Err(Unsent::Gone) => return Err(Gone),
                Err(Unsent::Full(unsent)) => message = unsent,
            }
            self.0.task.notified().await;
        }
    }
}

impl<T> Receiver<T> {
    /// Whether the sender is gone, whatever it has left behind.
    pub(super) fn is_closed(&self) -> bool {
        !self.0.state.lock().has_sender
    }

    /// The next message, for a thread, which waits for it; none: there will be no more.
    pub(super) fn recv_blocking(&self) -> Option<T> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(message) = state.take() {
                drop(state);
                self.0.task.notify_one();
                return message;
            }
            self.0.thread.wait(&mut state);
        }
    }

    /// The same for a task.
    pub(super) async fn recv(&self) -> Option<T> {
        loop {
            let taken = self.0.state.lock().take();
            if let Some(message) = taken {
                self.0.thread.notify_one();
                return message;
            }
            self.0.task.notified().await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.end(|state| state.has_sender = false);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.end(|state| state.has_receiver = false);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::store::embedded::tests::{block_on, waits};

    #[test]
    fn messages_arrive_in_order_however_far_the_ends_are_apart() {
        let (sender, receiver) = pipe(10);
        let thread = thread::spawn(move || {
            for number in 0..1000 {
                sender.send_blocking(number, number % 7).unwrap();
            }
        });
        block_on(async {
            for number in 0..1000 {
                assert_eq!(receiver.recv().await, Some(number));
            }
            assert_eq!(receiver.recv().await, None, "the sender is gone");
        });
        thread.join().unwrap();

        let (sender, receiver) = pipe(10);
        let thread = thread::spawn(move || {
            let received: Vec<usize> = std::iter::from_fn(|| receiver.recv_blocking()).collect();
            assert_eq!(received, (0..1000).collect::<Vec<_>>());
        });
        block_on(async {
            for number in 0..1000 {
                sender.send(number, number % 7).await.unwrap();
            }
        });
        drop(sender);
        thread.join().unwrap();
    }

    #[test]
    fn no_more_is_queued_than_there_is_room_for_but_one_that_is_larger_by_itself() {
        let (sender, receiver) = pipe(10);
        assert_eq!(sender.try_send('a', 100), Ok(()));
        assert_eq!(sender.try_send('b', 1), Err(Unsent::Full('b')));
        assert_eq!(receiver.recv_blocking(), Some('a'));
        for letter in ['c', 'd'] {
            assert!(sender.has_room(5));
            assert_eq!(sender.try_send(letter, 5), Ok(()));
        }
        assert!(!sender.has_room(1));
        block_on(async {
            let mut full = pin!(sender.send('e', 5));
            assert!(waits(&mut full).await);
            assert_eq!(receiver.recv_blocking(), Some('c'));
            assert_eq!(full.await, Ok(()));
        });
    }

    #[test]
    fn room_is_waited_for_until_a_deadline() {
        let (sender, receiver) = pipe(1);
        let (past, far) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        assert_eq!(sender.send_until('a', 1, past), Ok(()), "there is room");
        assert_eq!(sender.send_until('b', 1, past), Err(Unsent::Full('b')));
        let taking = thread::spawn(move || {
            block_on(async { (receiver.recv().await, receiver.recv().await) })
        });
        assert_eq!(sender.send_until('b', 1, far), Ok(()));
        assert_eq!(taking.join().unwrap(), (Some('a'), Some('b')));
        assert_eq!(sender.send_until('c', 1, far), Err(Unsent::Gone));
    }

    #[test]
    fn who_waits_learns_at_once_that_the_other_is_gone_or_both_are_sent_away() {
        for is_stopped in [false, true] {
            let (sender, receiver) = pipe(1);
            let shared = sender.pipe();
            sender.send_blocking(1, 1).unwrap();
            let waiting = thread::spawn(move || sender.send_blocking(2, 1));
            if is_stopped {
                shared.stop()
            } else {
                drop(receiver)
            }
            assert_eq!(waiting.join().unwrap(), Err(Gone));

            let (sender, receiver) = pipe::<u8>(1);
            let shared = sender.pipe();
            let waiting = thread::spawn(move || receiver.recv_blocking());
            if is_stopped {
                shared.stop()
            } else {
                drop(sender)
            }
            assert_eq!(waiting.join().unwrap(), None);
        }
    }

    #[test]
    fn what_nobody_takes_any_more_is_not_kept() {
        let (sender, receiver) = pipe(10);
        let message = Arc::new(());
        sender.try_send(Arc::clone(&message), 1).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
        assert!(sender.is_closed());
        assert_eq!(sender.try_send(message, 1), Err(Unsent::Gone));
        let (sender, receiver) = pipe(10);
        sender.try_send(7, 1).unwrap();
        drop(sender);
        assert!(receiver.is_closed(), "and yet what is there can be taken");
        assert_eq!(receiver.recv_blocking(), Some(7));
    }
}

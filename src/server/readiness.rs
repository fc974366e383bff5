//! Whether the server should be sent traffic, and how far it is on its way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::watch;

/// A worker whose loop has not turned for this long is stuck.
const TICK_AGE_MAX: Duration = Duration::from_secs(10);

/// How often a worker shows that its loop turns.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// The stages of a server's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Taking calls.
    Serving,
    /// Taking calls, but saying that it is not ready, so that callers go elsewhere.
    Leaving,
    /// Turning new calls away.
    Draining,
    /// Ending open streams.
    EndingStreams,
    /// Cutting connections.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) ready: bool,
    pub(super) phase: Phase,
}

impl State {
    /// Whether traffic should come.
    pub(super) fn is_ready(self) -> bool {
        self.ready && self.phase == Phase::Serving
    }
}

/// Flags shared by everybody who decides about traffic. A clone shares them. Not ready at first.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: watch::Sender<State>,
    beginning: Instant,
    /// Per worker, milliseconds since the beginning at the last turn of its loop.
    ticks: RwLock<Vec<Arc<AtomicU64>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Not ready, not draining.
    pub fn new() -> Self {
        let state = State { ready: false, phase: Phase::Serving };
        Self(Arc::new(Inner {
            state: watch::Sender::new(state),
            beginning: Instant::now(),
            ticks: RwLock::default(),
        }))
    }

    /// Says whether the data is there: the log is replayed.
    pub fn set_ready(&self, ready: bool) {
        self.change(|state| state.ready = ready);
    }

    /// Says for good that the server is leaving: not ready from now on.
    pub fn drain(&self) {
        self.enter(Phase::Leaving);
    }

    /// Ends every connection at once, without waiting for calls.
    pub fn stop(&self) {
        self.enter(Phase::Stopped);
    }

    /// Whether traffic should come: ready and not leaving. A full disk has no part in it: reads are
    /// served, and writes say what is wrong.
    pub fn is_ready(&self) -> bool {
        self.0.state.borrow().is_ready()
    }

    /// Whether the loop of every worker has turned lately. The disk and the log have no part in it.
    pub fn is_alive(&self) -> bool {
        let now = self.millis();
        let age_max = u64::try_from(TICK_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        self.0
            .ticks
            .read()
            .iter()
            .all(|tick| now.saturating_sub(tick.load(Ordering::Relaxed)) <= age_max)
    }

    /// Goes on to `phase`; never back.
    pub(super) fn enter(&self, phase: Phase) {
        self.change(|state| state.phase = state.phase.max(phase));
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.state.borrow().phase
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// Waits until `phase` or a later one.
    pub(super) async fn reached(&self, phase: Phase) {
        // This handle keeps the sender alive, so the wait can only end with the phase.
        let _ = self.subscribe().wait_for(|state| state.phase >= phase).await;
    }

    /// A place for a worker to show that its loop turns.
    pub(super) fn worker(&self) -> Pulse {
        let tick = Arc::new(AtomicU64::new(self.millis()));
        self.0.ticks.write().push(Arc::clone(&tick));
        Pulse { readiness: self.clone(), tick }
    }

    fn change(&self, edit: impl FnOnce(&mut State)) {
        self.0.state.send_if_modified(|state| {
            let before = *state;
            edit(state);
            *state != before
        });
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.beginning.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A worker's place in [`Readiness`]; gone when dropped, so a worker that has ended is not missed.
#[derive(Debug)]
pub(super) struct Pulse {
    readiness: Readiness,
    tick: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn beat(&self) {
        self.tick.store(self.readiness.millis(), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.readiness.0.ticks.write().retain(|tick| !Arc::ptr_eq(tick, &self.tick));
    }
}

//! Group commit: from "in the log's buffer" to "written" and "on disk", many callers at a time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::store::Error;
use crate::telemetry::{self, StorageWait};
use crate::wal::{Log, Lsn};

/// After this long without a sync, writes that need not wait for one wait for it all the same:
/// what a power failure can take back is bounded by this, not only hoped to be.
const UNSYNCED_MILLIS_MAX: u64 = 2_000;

/// So many callers of one worker do not wait for the rest of what it has read.
const CROWD: usize = 64;

/// How far a write must have come before its caller may hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    /// It may be told at once.
    Now,
    /// The log has handed it to the operating system.
    Written(Lsn),
    /// It is on disk.
    Durable(Lsn),
}

impl Ticket {
    /// Good when both are.
    pub(super) fn and(self, other: Ticket) -> Ticket {
        match (self, other) {
            (Ticket::Now, ticket) | (ticket, Ticket::Now) => ticket,
            (Ticket::Written(a), Ticket::Written(b)) => Ticket::Written(a.max(b)),
            (Ticket::Durable(a), Ticket::Durable(b) | Ticket::Written(b))
            | (Ticket::Written(b), Ticket::Durable(a)) => Ticket::Durable(a.max(b)),
        }
    }
}

/// The meeting point of callers and the thread that syncs the log.
#[derive(Debug)]
pub(super) struct Commit {
    log: Arc<Log>,
    started: Instant,
    desks: Mutex<Vec<Weak<Desk>>>,
    bell: Mutex<Bell>,
    rung: Condvar,
    /// Tells threads that wait for a sync, under the bell's lock.
    rang: Condvar,
    /// Milliseconds after `started`, plus one, of the oldest append no sync has begun for; 0: none.
    unsynced_since: AtomicU64,
    /// The same for the sync under way.
    syncing_since: AtomicU64,
    /// Syncs that did not come about: for want of space, or for good.
    stalls: AtomicU64,
    has_failed: AtomicBool,
    failed: Notify,
}

/// What was waited for did not come about; it still may.
#[derive(Debug)]
struct Stalled;

#[derive(Debug)]
struct Bell {
    flush: bool,
    stop: bool,
    interval: Duration,
}

impl Commit {
    pub(super) fn new(log: Arc<Log>, flush_interval: Duration) -> Arc<Commit> {
        Arc::new(Commit {
            log,
            started: Instant::now(),
            desks: Mutex::default(),
            bell: Mutex::new(Bell { flush: false, stop: false, interval: flush_interval }),
            rung: Condvar::new(),
            rang: Condvar::new(),
            unsynced_since: AtomicU64::new(0),
            syncing_since: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            failed: Notify::new(),
        })
    }

    /// Notes that something was appended.
    pub(super) fn appended(&self) {
        if self.unsynced_since.load(Ordering::Relaxed) == 0 {
            self.unsynced_since.store(self.elapsed_millis(), Ordering::Relaxed);
        }
    }

    /// Waits until `ticket` is good, for an answer about a write.
    pub(super) async fn wait(self: &Arc<Self>, ticket: Ticket) -> Result<(), Error> {
        let outcome = match ticket {
            Ticket::Now => Ok(()),
            Ticket::Written(lsn) if self.is_sync_late() => self.durable(lsn).await,
            Ticket::Written(lsn) => self.written(lsn).await,
            Ticket::Durable(lsn) => self.durable(lsn).await,
        };
        outcome.map_err(|Stalled| Error::OutcomeUnknown)
    }

    /// Waits until `ticket` is good, for an answer about what was read.
    pub(super) async fn wait_read(self: &Arc<Self>, ticket: Ticket) -> Result<(), Error> {
        let outcome = match ticket {
            Ticket::Now | Ticket::Written(_) => return Ok(()),
            // Set apart: nearly every read has nothing to wait for, and should be small.
            Ticket::Durable(lsn) => Box::pin(self.durable(lsn)).await,
        };
        outcome.map_err(|Stalled| self.reading_failed())
    }

    /// Whether `ticket` is good by now.
    pub(super) fn is_good(&self, ticket: Ticket) -> bool {
        match ticket {
            Ticket::Now => true,
            Ticket::Written(lsn) if !self.is_sync_late() => self.log.written() >= lsn,
            Ticket::Written(lsn) | Ticket::Durable(lsn) => self.log.durable() >= lsn,
        }
    }

    /// Why what was read cannot be told.
    pub(super) fn reading_failed(&self) -> Error {
        if self.has_failed() { Error::LogFailed } else { Error::DiskFull }
    }

    /// Whoever comes first after one yield writes for all: by then every request that this
    /// worker had read has been ruled upon, and one system call carries them together.
    async fn written(&self, lsn: Lsn) -> Result<(), Stalled> {
        if self.log.written() < lsn {
            yield_now().await;
        }
        if self.log.written() < lsn && self.log.write_out().is_err() {
            return Err(Stalled);
        }
        Ok(())
    }

    async fn durable(self: &Arc<Self>, lsn: Lsn) -> Result<(), Stalled> {
        if self.log.durable() >= lsn {
            return Ok(());
        }
        let desk = Desk::here(self);
        let stalls = self.stalls.load(Ordering::Acquire);
        let _waiting = StorageWait::begin();
        poll_fn(|cx| self.poll_durable(&desk, lsn, stalls, cx)).await
    }

    fn poll_durable(
        &self,
        desk: &Desk,
        lsn: Lsn,
        stalls: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Stalled>> {
        if self.log.durable() >= lsn {
            return Poll::Ready(Ok(()));
        }
        if self.has_failed() || self.stalls.load(Ordering::Acquire) != stalls {
            return Poll::Ready(Err(Stalled));
        }
        let waiting = {
            let mut waiting = desk.waiting.lock();
            waiting.push((lsn, cx.waker().clone()));
            waiting.len()
        };
        if waiting.is_multiple_of(CROWD) {
            // Worth a sync of their own, beside the work on those still to come.
            self.ring();
        }
        // Queued before the bell is rung: a sync that ends in between rings back.
        if !desk.asks.swap(true, Ordering::AcqRel) {
            desk.news.notify_one();
        }
        Poll::Pending
    }

    fn is_sync_late(&self) -> bool {
        let since = match self.syncing_since.load(Ordering::Relaxed) {
            0 => self.unsynced_since.load(Ordering::Relaxed),
            syncing => syncing,
        };
        since != 0 && self.elapsed_millis() > since + UNSYNCED_MILLIS_MAX
    }

    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Waits on this thread until the log is on disk up to `lsn`.
    ///
    /// Errors: a sync did not come about; `lsn` may still be on disk later.
    pub(super) fn block_until_durable(&self, lsn: Lsn) -> Result<(), Error> {
        let stalls = self.stalls.load(Ordering::Acquire);
        let mut bell = self.bell.lock();
        while self.log.durable() < lsn {
            if self.has_failed() {
                return Err(Error::LogFailed);
            }
            if self.stalls.load(Ordering::Acquire) != stalls || bell.stop {
                return Err(Error::DiskFull);
            }
            bell.flush = true;
            self.rung.notify_one();
            self.rang.wait(&mut bell);
        }
        Ok(())
    }

    /// Asks the log's thread for a sync, now.
    pub(super) fn ring(&self) {
        self.bell.lock().flush = true;
        self.rung.notify_one();
    }

    /// Sets how often the log is synced without being asked.
    pub(super) fn set_interval(&self, interval: Duration) {
        self.bell.lock().interval = interval;
        self.rung.notify_one();
    }

    /// Ends [`Commit::run`].
    pub(super) fn stop(&self) {
        self.bell.lock().stop = true;
        self.rung.notify_one();
    }

    /// Whether the log can no longer be trusted.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Resolves with the reason when the log can no longer be trusted; the process must end.
    pub(super) async fn failure(&self) -> String {
        let mut failed = std::pin::pin!(self.failed.notified());
        failed.as_mut().enable();
        if !self.has_failed() {
            failed.await;
        }
        self.log.failure().unwrap_or_else(|| "the log failed".to_owned())
    }

    /// The work of the log's thread: sync when asked or when the interval is over, then wake each
    /// worker once, however many of its callers waited. Returns when stopped or after a failure.
    pub(super) fn run(&self) {
        let mut going_on = true;
        while going_on && !self.has_failed() {
            going_on = self.await_bell();
            // One that failed in another's hands says so here.
            let is_due = self.log.appended() > self.log.durable() || self.log.failure().is_some();
            if is_due && let Err(error) = self.sync() {
                self.note(&error);
            }
            self.wake_all();
        }
        // Nobody shall wait for a sync that will not come.
        self.stalls.fetch_add(1, Ordering::AcqRel);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.wake_desks();
        // Under the lock: who has just found that it must wait, waits by now.
        let _bell = self.bell.lock();
        self.rang.notify_all();
    }

    fn note(&self, error: &crate::wal::Error) {
        self.stalls.fetch_add(1, Ordering::AcqRel);
        if self.log.failure().is_some() {
            tracing::error!(error = %error, "the log failed: nothing can be acknowledged any more");
            self.has_failed.store(true, Ordering::Release);
            self.failed.notify_waiters();
        }
    }

    /// False when it is time to stop.
    fn await_bell(&self) -> bool {
        let mut bell = self.bell.lock();
        let deadline = Instant::now() + bell.interval;
        while !bell.flush && !bell.stop {
            if self.rung.wait_until(&mut bell, deadline).timed_out() {
                break;
            }
        }
        bell.flush = false;
        !bell.stop
    }

    fn sync(&self) -> Result<(), crate::wal::Error> {
        let since = self.unsynced_since.swap(0, Ordering::Relaxed);
        self.syncing_since.store(since, Ordering::Relaxed);
        let begun = Instant::now();
        let result = self.log.sync();
        telemetry::sync_seconds(begun.elapsed());
        self.syncing_since.store(0, Ordering::Relaxed);
        result.map(|_| ())
    }

    pub(super) fn wake_desks(&self) {
        self.desks.lock().retain(|desk| {
            let desk = desk.upgrade();
            if let Some(desk) = &desk {
                desk.news.notify_one();
            }
            desk.is_some()
        });
    }
}

impl Commit {
    /// Calls that wait for the log to reach the disk.
    pub(super) fn waiting(&self) -> usize {
        let desks: Vec<_> = self.desks.lock().iter().filter_map(Weak::upgrade).collect();
        desks.iter().map(|desk| desk.waiting.lock().len()).sum()
    }
}

/// Where the callers of one worker wait. Its task runs on that worker and wakes them from there: a
/// wake from another thread costs a system call each, a wake from the own thread none.
#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Vec<(Lsn, Waker)>>,
    /// Whether the desk's task has been asked to ring and has not yet.
    asks: AtomicBool,
    news: Notify,
    /// The count of stalls that it has told its callers of.
    stalls: AtomicU64,
    closed: AtomicBool,
}

thread_local! {
    /// The desks of this thread, one for each store that is used from it.
    static DESKS: RefCell<Vec<(Weak<Commit>, Arc<Desk>)>> = const { RefCell::new(Vec::new()) };
}

impl Desk {
    /// The desk of this thread; sets one up where there is none.
    fn here(commit: &Arc<Commit>) -> Arc<Desk> {
        DESKS.with_borrow_mut(|desks| {
            let own = Arc::as_ptr(commit);
            let open = |desk: &Desk| !desk.closed.load(Ordering::Acquire);
            if let Some((_, desk)) = desks.iter().find(|(c, d)| c.as_ptr() == own && open(d)) {
                return Arc::clone(desk);
            }
            desks.retain(|(owner, desk)| owner.strong_count() > 0 && open(desk));
            let desk = Arc::new(Desk::default());
            commit.desks.lock().push(Arc::downgrade(&desk));
            let closing = Closing(Arc::clone(&desk));
            tokio::spawn(Desk::serve(Arc::downgrade(commit), closing));
            desks.push((Arc::downgrade(commit), Arc::clone(&desk)));
            desk
        })
    }

    async fn serve(commit: Weak<Commit>, closing: Closing) {
        let desk = &closing.0;
        loop {
            desk.news.notified().await;
            let Some(commit) = commit.upgrade() else { return };
            if desk.asks.load(Ordering::Acquire) {
                // One yield lets everything this worker has read join the sync.
                yield_now().await;
                desk.asks.store(false, Ordering::Release);
                commit.ring();
            }
            desk.wake(&commit);
        }
    }

    fn wake(&self, commit: &Commit) {
        let stalls = commit.stalls.load(Ordering::Acquire);
        let all = self.stalls.swap(stalls, Ordering::AcqRel) != stalls || commit.has_failed();
        let durable = if all { Lsn::MAX } else { commit.log.durable() };
        self.waiting.lock().retain(|(lsn, waker)| {
            if *lsn <= durable {
                waker.wake_by_ref();
            }
            *lsn > durable
        });
    }
}

/// Marks the desk as closed when its task ends, also where the whole runtime is dropped.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        for (_, waker) in self.0.waiting.lock().drain(..) {
            waker.wake();
        }
    }
}

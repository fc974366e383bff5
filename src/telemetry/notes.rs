//! What a call is about, noted while it is worked on, for the case that it turns out slow or failed.
//!
//! A call is worked on by one thread at a time. Whoever has it worked on puts its notes at hand
//! there ([`Notes::at_hand`]); what is called meanwhile adds to them without being told whose they
//! are. Sheets are used again with the room for their texts: a call that ends well and in time has
//! allocated nothing.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::ids;
use super::methods::Method;
use super::operations::{Failure, LoggedOperation, code_of, cut_key, log};
use super::traces::Span;

/// The code of a call whose caller went away: no status of it was sent.
const CANCELLED: u16 = 1;

/// Sheets that a thread keeps for its next calls, about half a kilobyte each.
const SHEETS_SPARE_MAX: usize = 256;

/// What an operation is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its namespace; empty where it is about none, or several.
    pub namespace: &'a str,
    /// Its key or prefix; empty where it is about many.
    pub key: &'a str,
    /// How many keys it is about.
    pub keys: usize,
}

/// The notes on one call.
#[derive(Debug)]
pub struct Notes(
    /// None while it is at hand.
    Option<Box<Sheet>>,
);

#[derive(Debug, Default)]
struct Sheet {
    /// Whether a subject was noted, be it an empty one.
    has_subject: bool,
    namespace: String,
    key: String,
    keys: usize,
    transferred_bytes: usize,
    storage_wait: Duration,
    /// Since when the call has been waiting for the log to reach the disk.
    waits_since: Option<Instant>,
    peer: Option<SocketAddr>,
    /// The name that the request has brought along.
    id: Option<HeaderValue>,
    span: Option<Span>,
    failure: Option<Failure>,
}

thread_local! {
    static AT_HAND: Cell<Option<Box<Sheet>>> = const { Cell::new(None) };
    #[expect(clippy::vec_box, reason = "a sheet is moved by its box only")]
    static SPARE: RefCell<Vec<Box<Sheet>>> = const { RefCell::new(Vec::new()) };
}

impl Notes {
    /// Notes on a call that begins, from `peer`.
    pub fn begin(peer: Option<SocketAddr>) -> Notes {
        let mut sheet = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        sheet.peer = peer;
        Notes(Some(sheet))
    }

    /// Notes on a call of `method` that begins with these headers, from `peer`. Where traces are sent
    /// somewhere it is part of the one that the headers name.
    pub fn of_call(peer: Option<SocketAddr>, method: &Method, headers: &HeaderMap) -> Notes {
        let mut notes = Notes::begin(peer);
        if let Some(sheet) = &mut notes.0 {
            sheet.id = ids::brought(headers).cloned();
            sheet.span = Span::begin(method, headers, peer);
        }
        notes
    }

    /// The name that the request has brought along.
    pub fn id(&self) -> Option<&HeaderValue> {
        self.0.as_ref().and_then(|sheet| sheet.id.as_ref())
    }

    /// Says in the trace of the call that it has ended with `code`.
    pub(super) fn end_span(&mut self, code: u16) {
        if let Some(sheet) = &mut self.0
            && let Some(span) = sheet.span.take()
        {
            span.end(code, &sheet.namespace, sheet.storage_wait);
        }
    }

    /// Does `work` with these notes at hand.
    #[inline]
    pub fn at_hand<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let outer = AT_HAND.replace(self.0.take());
        let _given_back = GivenBack { notes: self, outer };
        work()
    }

    /// Adds bytes of the answer.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(sheet) = &mut self.0 {
            sheet.transferred_bytes += bytes;
        }
    }

    /// Notes what came of it.
    pub fn failed(&mut self, failure: Failure) {
        if let Some(sheet) = &mut self.0 {
            sheet.failure = Some(failure);
        }
    }

    /// Whether what the call is about was noted.
    pub fn has_subject(&self) -> bool {
        self.0.as_ref().is_some_and(|sheet| sheet.has_subject)
    }

    /// Logs the call, which has ended with `code`, if it was slow or failed.
    pub(super) fn log(&mut self, method: &'static Method, code: u16, elapsed: Duration) {
        let sheet = self.0.get_or_insert_default();
        log(code, elapsed, || {
            let failure = sheet.failure.take().or_else(|| failure_without_status(code));
            let transferred_bytes = sheet.transferred_bytes as u64;
            LoggedOperation { failure, transferred_bytes, ..sheet.describe(method, elapsed) }
        });
    }
}

/// What is said of a call whose status was not noted.
fn failure_without_status(code: u16) -> Option<Failure> {
    let message = match code {
        0 => return None,
        CANCELLED => "the caller went away before the answer",
        _ => "",
    };
    Some(Failure::new(code, message, bytes::Bytes::new()))
}

/// Takes notes back from the thread, also where the work has panicked.
struct GivenBack<'n> {
    notes: &'n mut Notes,
    outer: Option<Box<Sheet>>,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.notes.0 = AT_HAND.replace(self.outer.take());
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let Some(mut sheet) = self.0.take() else { return };
        sheet.clear();
        // A thread that ends has no next call.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SHEETS_SPARE_MAX {
                spare.push(sheet);
            }
        });
    }
}

impl Sheet {
    fn clear(&mut self) {
        // Field by field: to move a sheet costs more than what a call notes.
        let Sheet {
            has_subject,
            namespace,
            key,
            keys,
            transferred_bytes,
            storage_wait,
            waits_since,
            peer,
            id,
            span,
            failure,
        } = self;
        *has_subject = false;
        namespace.clear();
        key.clear();
        (*keys, *transferred_bytes) = (0, 0);
        (*storage_wait, *waits_since, *peer) = (Duration::ZERO, None, None);
        if failure.is_some() {
            *failure = None;
        }
        if id.is_some() {
            *id = None;
        }
        if span.is_some() {
            *span = None;
        }
    }

    fn note(&mut self, subject: Subject<'_>) {
        self.has_subject = true;
        self.namespace.clear();
        self.namespace.push_str(cut_key(subject.namespace));
        self.key.clear();
        self.key.push_str(cut_key(subject.key));
        self.keys = subject.keys;
    }

    #[expect(clippy::disallowed_methods, reason = "a time for people; nothing is decided by it")]
    fn describe(&self, method: &'static Method, elapsed: Duration) -> LoggedOperation {
        let waits = self.waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        LoggedOperation {
            // Not the store's clock: that one stands still where the log is ahead of the wall's.
            started: SystemTime::now() - elapsed,
            elapsed,
            method,
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            keys: self.keys as u64,
            transferred_bytes: 0,
            storage_wait: (self.storage_wait + waits).min(elapsed),
            peer: self.peer,
            request_id: self.id.clone().unwrap_or_else(ids::next),
            trace_id: self.span.as_ref().map(Span::trace_id),
            failure: None,
        }
    }
}

/// Has `act` add to the notes at hand, if there are any.
#[inline]
fn add(act: impl FnOnce(&mut Sheet)) {
    if let Some(mut sheet) = AT_HAND.take() {
        act(&mut sheet);
        AT_HAND.set(Some(sheet));
    }
}

/// Notes what the call at hand is about.
pub fn note_subject(subject: Subject<'_>) {
    add(|sheet| sheet.note(subject));
}

/// Notes how many keys it turned out to be about.
pub fn note_keys(keys: usize) {
    add(|sheet| sheet.keys = keys);
}

/// Adds bytes of its requests.
pub fn note_received(bytes: usize) {
    add(|sheet| sheet.transferred_bytes += bytes);
}

/// As long as it lives, the call at hand waits for the log to reach the disk.
#[derive(Debug)]
#[must_use]
pub struct StorageWait(());

impl StorageWait {
    /// Begins to wait.
    pub fn begin() -> StorageWait {
        add(|sheet| sheet.waits_since = Some(Instant::now()));
        StorageWait(())
    }
}

impl Drop for StorageWait {
    fn drop(&mut self) {
        add(|sheet| {
            if let Some(since) = sheet.waits_since.take() {
                sheet.storage_wait += since.elapsed();
            }
        });
    }
}

/// One message of a stream, as far as the notes on its call do not tell.
#[derive(Debug, Default)]
pub struct Particulars<'a> {
    /// What it was about, where that is not what the call is about.
    pub subject: Option<Subject<'a>>,
    /// Bytes of it and of its answer.
    pub transferred_bytes: usize,
    /// What came of it, where that was no success.
    pub failure: Option<Failure>,
}

/// The present moment, at which a message of the stream at hand begins: what was waited for before
/// it is forgotten.
pub fn message_begins() -> Instant {
    add(|sheet| sheet.storage_wait = Duration::ZERO);
    Instant::now()
}

impl Method {
    /// Counts one message of the stream at hand, which began and ended at these moments, as one
    /// operation; it is logged with the stream's notes and its own `bytes` if it was slow or failed.
    pub fn answered(
        &'static self,
        begun: Instant,
        now: Instant,
        failed: Option<&tonic::Status>,
        bytes: impl FnOnce() -> usize,
    ) {
        let (code, elapsed) = (failed.map_or(0, code_of), now.saturating_duration_since(begun));
        self.operated(code, elapsed, 1, now);
        self.log_message(code, elapsed, || Particulars {
            subject: None,
            transferred_bytes: bytes(),
            failure: failed.map(Failure::from),
        });
    }

    /// Logs one message of the stream at hand that ended with `code`, if it was slow or failed.
    pub fn log_message<'a>(
        &'static self,
        code: u16,
        elapsed: Duration,
        more: impl FnOnce() -> Particulars<'a>,
    ) {
        log(code, elapsed, || {
            let more = more();
            let mut described = None;
            add(|sheet| described = Some(sheet.describe(self, elapsed)));
            let described = described.unwrap_or_else(|| Sheet::default().describe(self, elapsed));
            let (failure, transferred_bytes) = (more.failure, more.transferred_bytes as u64);
            let described = LoggedOperation { failure, transferred_bytes, ..described };
            match more.subject {
                None => described,
                Some(subject) => LoggedOperation {
                    namespace: cut_key(subject.namespace).to_owned(),
                    key: cut_key(subject.key).to_owned(),
                    keys: subject.keys as u64,
                    ..described
                },
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::method;
    use crate::telemetry::operations::{OperationLog, logged_operations};

    const INTERNAL: u16 = 13;

    fn about<'a>(namespace: &'a str, key: &'a str) -> Subject<'a> {
        Subject { namespace, key, keys: 1 }
    }

    /// What is logged of a call that fails after `work`; its notes say the namespace.
    fn logged(
        namespace: &str,
        elapsed: Duration,
        work: impl FnOnce(&mut Notes),
    ) -> LoggedOperation {
        let mut notes = Notes::begin(None);
        notes.at_hand(|| note_subject(about(namespace, "k")));
        work(&mut notes);
        notes.log(method("test.Notes", "Call"), INTERNAL, elapsed);
        let found = logged_operations(OperationLog::Failed, Some(namespace), 1);
        LoggedOperation::clone(Arc::as_ref(&found[0]))
    }

    #[test]
    fn notes_go_to_the_call_that_is_worked_on() {
        let (mut one, mut other) = (Notes::begin(None), Notes::begin(None));
        note_subject(about("nobody", "k"));
        assert!(!one.has_subject() && !other.has_subject());
        one.at_hand(|| {
            other.at_hand(|| note_received(7));
            note_subject(about("one", "k"));
        });
        assert!(one.has_subject() && !other.has_subject());
        let bytes = |notes: &Notes| notes.0.as_ref().unwrap().transferred_bytes;
        assert_eq!((bytes(&one), bytes(&other)), (0, 7));
    }

    #[test]
    fn notes_outlive_a_panic() {
        let mut notes = Notes::begin(None);
        let work = || {
            notes.at_hand(|| {
                note_subject(about("n", "k"));
                panic!("asked to");
            });
        };
        assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        assert!(notes.has_subject());
        assert!(AT_HAND.take().is_none(), "they lie on the desk of the next call");
    }

    #[test]
    fn a_sheet_that_is_used_again_says_nothing_of_the_call_before() {
        let mut notes = Notes::begin(Some("127.0.0.1:1".parse().unwrap()));
        notes.sent(9);
        notes.failed(Failure::new(INTERNAL, "m", bytes::Bytes::new()));
        notes.at_hand(|| {
            note_subject(about("namespace", "key"));
            drop(StorageWait::begin());
        });
        drop(notes);
        let sheet = Notes::begin(None).0.take().unwrap();
        assert!(sheet.namespace.capacity() >= "namespace".len(), "it is another sheet");
        assert!(!sheet.has_subject && sheet.namespace.is_empty() && sheet.key.is_empty());
        assert_eq!((sheet.keys, sheet.transferred_bytes, sheet.peer), (0, 0, None));
        assert_eq!((sheet.storage_wait, sheet.waits_since), (Duration::ZERO, None));
        assert_eq!(sheet.failure, None);
    }

    #[test]
    fn what_was_waited_for_the_disk_is_never_more_than_the_whole() {
        let work = |notes: &mut Notes| notes.at_hand(|| drop(StorageWait::begin()));
        let after = logged("notes-waited", Duration::from_secs(5), work);
        assert!(after.storage_wait > Duration::ZERO && after.storage_wait < after.elapsed);
        let brief = logged("notes-brief", Duration::from_nanos(1), work);
        assert!(brief.storage_wait <= brief.elapsed);
    }

    #[test]
    fn a_wait_that_has_not_ended_counts_up_to_now() {
        let mut waiting = None;
        let still = logged("notes-waiting", Duration::from_secs(5), |notes| {
            waiting = Some(notes.at_hand(StorageWait::begin));
        });
        assert!(still.storage_wait > Duration::ZERO && waiting.is_some());
    }

    #[test]
    fn a_message_is_logged_with_the_notes_of_its_stream_or_with_its_own() {
        let method = method("test.Notes", "Stream");
        let mut notes = Notes::begin(Some("127.0.0.1:9".parse().unwrap()));
        notes.at_hand(|| {
            note_subject(about("notes-stream", "prefix"));
            let begun = message_begins();
            let failed = tonic::Status::internal("asked to");
            method.answered(begun, begun + Duration::from_micros(3), Some(&failed), || 40);
            let subject = Some(about("notes-step", "key"));
            let more = || Particulars { subject, transferred_bytes: 4, failure: None };
            method.log_message(INTERNAL, Duration::from_micros(5), more);
        });
        for (namespace, key, bytes) in [("notes-stream", "prefix", 40), ("notes-step", "key", 4)] {
            let found = logged_operations(OperationLog::Failed, Some(namespace), 9);
            let [found] = found.as_slice() else { panic!("{namespace}: {found:?}") };
            assert_eq!((found.key.as_str(), found.transferred_bytes), (key, bytes));
            assert_eq!(found.peer, Some("127.0.0.1:9".parse().unwrap()));
        }
    }
}

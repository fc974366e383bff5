//! What a method did in each second of the last hour, and the report made from it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::buckets::{self, BUCKETS};
use super::grpc::EDGES;
use super::methods::{methods, second};

/// Seconds kept; the longest window that can be asked for.
const SECONDS_MAX: u64 = 3_600;

/// Status codes of gRPC, 0 to 16.
pub(super) const CODES: usize = 17;

/// Codes that say that the server, not the caller, is at fault: UNKNOWN, DEADLINE_EXCEEDED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const SERVER_ERRORS: [usize; 6] = [2, 4, 12, 13, 14, 15];

/// One shard's counts of one method.
#[derive(Debug)]
pub(super) struct Tally {
    /// Calls begun.
    pub(super) started: u64,
    /// Calls ended, by code.
    pub(super) handled: [u64; CODES],
    /// Calls ended, by the edges of the exported histogram; the last is above all edges.
    pub(super) edges: [u64; EDGES.len() + 1],
    /// Time taken by all of them.
    pub(super) sum: Duration,
    /// Operations: of a unary method its calls, of a stream its messages.
    pub(super) operations: u64,
    /// The second being counted, made at the first call.
    current: Option<Box<Current>>,
    /// Seconds that are over and had calls, oldest first.
    past: VecDeque<Past>,
}

#[derive(Debug)]
struct Current {
    second: u64,
    total: Total,
    counts: [u32; BUCKETS],
}

/// A second that is over: only the buckets that were hit, since most are not.
#[derive(Debug)]
struct Past {
    second: u64,
    total: Total,
    counts: Box<[(u16, u32)]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    count: u64,
    errors: u64,
    sum: Duration,
    max: Duration,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: 0,
            handled: [0; CODES],
            edges: [0; EDGES.len() + 1],
            sum: Duration::ZERO,
            operations: 0,
            current: None,
            past: VecDeque::new(),
        }
    }
}

/// `code` as an index; one that gRPC does not know is UNKNOWN, number 2.
fn known(code: u16) -> usize {
    let code = usize::from(code);
    if code < CODES { code } else { 2 }
}

/// Whether an operation that ended with `code` has failed by the server's fault.
pub(super) fn is_server_error(code: u16) -> bool {
    SERVER_ERRORS.contains(&known(code))
}

impl Tally {
    /// Counts one call that ended.
    pub(super) fn ended(&mut self, code: u16, elapsed: Duration) {
        self.handled[known(code)] += 1;
        self.edges[EDGES.partition_point(|edge| edge.0 < elapsed)] += 1;
        self.sum += elapsed;
    }

    /// Counts `count` operations that were done in `second` and took `elapsed` each.
    pub(super) fn operated(&mut self, code: u16, elapsed: Duration, count: u32, second: u64) {
        self.operations += u64::from(count);
        let errors = if is_server_error(code) { u64::from(count) } else { 0 };
        let current = self.current_at(second);
        let sum = elapsed.saturating_mul(count);
        current.total.add(Total { count: u64::from(count), errors, sum, max: elapsed });
        let bucket = &mut current.counts[buckets::bucket(elapsed)];
        *bucket = bucket.saturating_add(count);
    }

    fn current_at(&mut self, second: u64) -> &mut Current {
        let fresh = || Box::new(Current { second, total: Total::default(), counts: [0; BUCKETS] });
        let current = self.current.get_or_insert_with(fresh);
        // A caller that read the time just before another may come a second late; it is counted here.
        if current.second < second {
            let over = current.close();
            **current = *fresh();
            self.past.push_back(over);
            while self.past.front().is_some_and(|past| past.second + SECONDS_MAX < second) {
                self.past.pop_front();
            }
        }
        current
    }

    /// Adds what was counted in the seconds from `first` on.
    fn add_to(&self, window: &mut Window, first: u64) {
        for past in self.past.iter().rev().take_while(|past| past.second >= first) {
            window.total.add(past.total);
            for (bucket, count) in &past.counts {
                window.counts[usize::from(*bucket)] += u64::from(*count);
            }
        }
        if let Some(current) = self.current.as_ref().filter(|current| current.second >= first) {
            window.total.add(current.total);
            for (sum, count) in window.counts.iter_mut().zip(current.counts) {
                *sum += u64::from(count);
            }
        }
    }
}

impl Current {
    fn close(&self) -> Past {
        let counts = (0_u16..).zip(self.counts).filter(|(_, count)| *count > 0).collect();
        Past { second: self.second, total: self.total, counts }
    }
}

struct Window {
    total: Total,
    counts: [u64; BUCKETS],
}

impl Default for Window {
    fn default() -> Self {
        Self { total: Total::default(), counts: [0; BUCKETS] }
    }
}

impl Window {
    fn add(&mut self, other: &Self) {
        self.total.add(other.total);
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
    }

    /// The duration that `share` of the calls did not exceed: the end of its bucket, and never more
    /// than the longest call.
    fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among calls; above 2^53 of them one more or less does not matter"
        )]
        let rank = ((self.total.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return buckets::end(bucket).map_or(self.total.max, |end| end.min(self.total.max));
            }
        }
        self.total.max
    }
}

/// What the methods did in a window that ends now.
#[derive(Clone, Debug, PartialEq)]
pub struct Performance {
    /// How long the window is: what was asked, between a second and an hour.
    pub window: Duration,
    /// Methods that were called in it, by service and name.
    pub methods: Vec<MethodPerformance>,
    /// All of them together, without a name.
    pub total: MethodPerformance,
    /// Operations since the start of the process.
    pub operations_total: u64,
}

/// What one method did: a unary one with its calls, a stream with its messages. Quantiles are at most an eighth above the true ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodPerformance {
    /// Full name of the service.
    pub service: String,
    /// Name of the method.
    pub method: String,
    /// Operations.
    pub count: u64,
    /// Those of them that failed by the server's fault.
    pub errors: u64,
    /// Calls per second over the window.
    pub rate_per_second: f64,
    /// Mean duration.
    pub mean: Duration,
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// 90 % of the calls took no longer.
    pub p90: Duration,
    /// 95 % of the calls took no longer.
    pub p95: Duration,
    /// 99 % of the calls took no longer.
    pub p99: Duration,
    /// 99.9 % of the calls took no longer.
    pub p999: Duration,
    /// The longest call.
    pub max: Duration,
}

/// What every method did in the last `window`, which is taken as at least a second and at most an
/// hour, in whole seconds.
pub fn performance(window: Duration) -> Performance {
    let seconds = window.as_secs().clamp(1, SECONDS_MAX);
    let first = (second(Instant::now()) + 1).saturating_sub(seconds);
    let (mut all, mut operations_total, mut reports) = (Window::default(), 0, Vec::new());
    for (_, method) in methods() {
        let mut sum = Window::default();
        method.tallies(|tally| {
            tally.add_to(&mut sum, first);
            operations_total += tally.operations;
        });
        all.add(&sum);
        reports.extend(report(&method.service, &method.name, &sum, seconds));
    }
    reports.sort_by(|a, b| (&a.service, &a.method).cmp(&(&b.service, &b.method)));
    let total = report("", "", &all, seconds).unwrap_or_default();
    Performance { window: Duration::from_secs(seconds), methods: reports, total, operations_total }
}

fn report(service: &str, method: &str, sum: &Window, seconds: u64) -> Option<MethodPerformance> {
    let Total { count, errors, sum: time, max } = sum.total;
    if count == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean and a rate for people")]
    let (calls, seconds) = (count as f64, seconds as f64);
    Some(MethodPerformance {
        service: service.into(),
        method: method.into(),
        count,
        errors,
        rate_per_second: calls / seconds,
        mean: time.div_f64(calls),
        p50: sum.quantile(0.5),
        p90: sum.quantile(0.9),
        p95: sum.quantile(0.95),
        p99: sum.quantile(0.99),
        p999: sum.quantile(0.999),
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(tally: &Tally, first: u64) -> Window {
        let mut sum = Window::default();
        tally.add_to(&mut sum, first);
        sum
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_long() {
        let mut tally = Tally::default();
        for micros in 1..=1_000 {
            tally.operated(0, Duration::from_micros(micros), 1, 5);
        }
        let sum = window(&tally, 0);
        for (share, micros) in [(0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999)] {
            let (found, exact) = (sum.quantile(share), Duration::from_micros(micros));
            assert!(found >= exact && found <= exact * 9 / 8, "{share}: {found:?}, not {exact:?}");
        }
        assert_eq!(sum.total.max, Duration::from_millis(1));
    }

    #[test]
    fn a_window_counts_its_own_seconds_only() {
        let mut tally = Tally::default();
        for second in 1..=10 {
            tally.operated(
                13 * u16::from(second % 2 == 0),
                Duration::from_millis(second),
                1,
                second,
            );
        }
        for (first, count, errors) in [(10, 1, 1), (9, 2, 1), (1, 10, 5), (11, 0, 0)] {
            let total = window(&tally, first).total;
            assert_eq!((total.count, total.errors), (count, errors), "from second {first}");
        }
    }

    #[test]
    fn only_the_servers_own_faults_are_errors() {
        let mut tally = Tally::default();
        (0..17).for_each(|code| tally.operated(code, Duration::ZERO, 1, 1));
        assert_eq!(window(&tally, 0).total.errors, 6);
    }

    #[test]
    fn windows_add_up() {
        let (mut fast, mut slow) = (Tally::default(), Tally::default());
        fast.operated(0, Duration::from_millis(1), 98, 1);
        (0..2).for_each(|_| slow.operated(0, Duration::from_secs(1), 1, 1));
        let mut sum = window(&fast, 0);
        sum.add(&window(&slow, 0));
        assert_eq!((sum.total.count, sum.quantile(0.99)), (100, Duration::from_secs(1)));
        assert!(sum.quantile(0.98) < Duration::from_millis(2));
    }

    #[test]
    fn seconds_older_than_an_hour_are_let_go() {
        let mut tally = Tally::default();
        for second in 0..2 * SECONDS_MAX {
            tally.operated(0, Duration::from_millis(1), 1, second);
        }
        assert!(tally.past.len() <= 1 + usize::try_from(SECONDS_MAX).unwrap());
        assert_eq!(window(&tally, SECONDS_MAX).total.count, SECONDS_MAX);
        assert_eq!(tally.operations, 2 * SECONDS_MAX);
    }

    #[test]
    fn a_code_that_grpc_does_not_know_counts_as_unknown() {
        let mut tally = Tally::default();
        tally.ended(99, Duration::ZERO);
        assert_eq!(tally.handled[2], 1);
    }
}

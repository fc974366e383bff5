//! Watches against what the log says happened: random workloads, reconnects and restarts.

mod oracle;
mod restarts;
mod slow;
mod story;

use story::Story;

/// Cases in every run; `PYKV_WATCH_CASES` says how many in a longer one, `PYKV_WATCH_SEED` repeats one.
const CASES: u64 = 10_000;

#[expect(clippy::disallowed_methods, reason = "a knob of the tests, not of the program")]
fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What happened over all cases; a test that saw nothing proves nothing.
#[derive(Debug, Default)]
struct Counts {
    cases: u64,
    events: u64,
    initial: u64,
    resumed: u64,
    lost: u64,
    restarts: u64,
    kinds: [u64; 5],
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.cases += other.cases;
        self.events += other.events;
        self.initial += other.initial;
        self.resumed += other.resumed;
        self.lost += other.lost;
        self.restarts += other.restarts;
        for (sum, count) in self.kinds.iter_mut().zip(other.kinds) {
            *sum += count;
        }
    }
}

fn tell(seed: u64) -> Counts {
    let guard = Seed(seed);
    let counts = super::block_on(Story::new(seed).tell());
    std::mem::forget(guard);
    counts
}

/// Says how to repeat a case that has failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        eprintln!("failed with PYKV_WATCH_SEED={}", self.0);
    }
}

#[test]
fn every_watch_tells_what_happened_without_gap_or_repeat() {
    if let Some(seed) = knob("PYKV_WATCH_SEED") {
        tell(seed);
        return;
    }
    let cases = knob("PYKV_WATCH_CASES").unwrap_or(CASES);
    let run = |first: u64| {
        let mut counts = Counts::default();
        (first..cases).step_by(2).for_each(|seed| counts.add(&tell(seed)));
        counts
    };
    let counts = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        let mut counts = run(0);
        counts.add(&other.join().expect("a case failed; its seed is above"));
        counts
    });
    println!("{counts:?}");
    assert_eq!(counts.cases, cases);
    if cases >= 1_000 {
        assert!(counts.kinds.iter().all(|count| *count > cases / 10), "{counts:?}");
        let Counts { initial, resumed, lost, restarts, .. } = counts;
        assert!(initial > cases && resumed > cases && restarts > cases / 2, "{counts:?}");
        assert!(lost > cases / 10 && lost < resumed / 2, "{counts:?}");
    }
}

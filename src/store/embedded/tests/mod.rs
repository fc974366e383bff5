//! The promises of the door, held by this store; and those it alone makes, about its log.

mod commit;
mod moment;
mod restart;
mod runs;
mod snapshots;
mod watches;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

pub(in crate::store::embedded) use commit::waits;

use super::keeper::Rounds;
use super::{Clock, Config, Embedded};
use crate::model::{Rules, UnixMillis};
use crate::store::Settings;
use crate::store::conformance::{World, suite};
use crate::wal;

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);

/// A store in a directory of its own, with time moved by hand.
struct Home {
    store: Embedded,
    clock: Clock,
    dir: TempDir,
}

impl Home {
    fn new() -> Home {
        Home::with(settings())
    }

    fn with(settings: Settings) -> Home {
        Home::open(tempfile::tempdir().unwrap(), settings, NOW)
    }

    fn open(dir: TempDir, settings: Settings, now: UnixMillis) -> Home {
        let clock = Clock::manual(now);
        let store = open(dir.path(), settings, clock.clone()).unwrap();
        Home { store, clock, dir }
    }

    /// The store after an orderly end and a new start.
    fn restarted(self) -> Home {
        let Home { store, clock, dir } = self;
        store.close().unwrap();
        let settings = store.0.settings.read().clone();
        drop(store);
        Home::open(dir, settings, clock.now())
    }

    /// What a start finds if the process were killed now: a copy of the files as they are.
    fn killed(&self) -> Home {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(self.dir.path(), copy.path());
        Home::open(copy, settings(), self.clock.now())
    }
}

fn open(dir: &Path, settings: Settings, clock: Clock) -> Result<Embedded, super::ReplayError> {
    let log = wal::Config::new(dir.join("log"));
    let store = Embedded::open(Config { log, namespaces_max: 100, settings }, clock)?;
    store.replay(&|settings, _| Ok(settings))?;
    Ok(store)
}

/// A store that has not begun to serve.
pub(crate) fn unstarted(dir: &Path) -> Embedded {
    let (log, settings) = (wal::Config::new(dir.join("log")), settings());
    Embedded::open(Config { log, namespaces_max: 9, settings }, Clock::manual(NOW)).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn settings() -> Settings {
    Settings {
        default_rules: Rules::default(),
        auto_create_namespaces: true,
        total_bytes_max: 1 << 30,
        read_only: false,
        compaction_interval: Duration::from_secs(3600),
        wal_records_max: 1_000_000,
        cleanup_interval: Duration::from_secs(3600),
        flush_interval: Duration::from_millis(50),
    }
}

impl World for Home {
    type Store = Embedded;

    fn store(&self) -> &Embedded {
        &self.store
    }

    fn advance(&self, millis: u64) {
        self.clock.advance(millis);
    }

    fn keep(&self) {
        self.store.0.shared.get().unwrap().keep(&mut Rounds::due());
    }
}

/// Longer than any of these tests takes: who still waits then waits for what does not come.
const TEST_MAX: Duration = Duration::from_secs(100);

pub(in crate::store::embedded) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ended = tokio::time::timeout(TEST_MAX, future).await;
        ended.expect("what is waited for comes")
    })
}

fn in_a_new_world(case: impl AsyncFnOnce(Home)) {
    block_on(case(Home::new()));
}

suite!(in_a_new_world);

//! What the store holds, asked for when somebody scrapes.

use parking_lot::{Mutex, RwLock};

use super::kept::Kept;
use super::page::{Page, Shape};

/// Most namespaces with series of their own: two hundred tenants times thirteen series is what a scrape
/// should carry. The others are summed under `_other`, a name that no namespace can have.
pub const NAMESPACES_MAX: usize = 200;

/// One namespace at the moment of a scrape. Counters are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSample {
    /// Its name.
    pub name: String,
    /// Entries held.
    pub keys: u64,
    /// Bytes, as charged.
    pub bytes: u64,
    /// Most entries it may hold.
    pub limit_keys: Option<u64>,
    /// Most bytes it may be charged.
    pub limit_bytes: Option<u64>,
    /// Reads that found an entry.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Entries written.
    pub sets: u64,
    /// Entries deleted on request.
    pub deletes: u64,
    /// Entries removed because their time was up.
    pub expirations: u64,
    /// Entries removed to stay within a limit.
    pub evictions: u64,
    /// Writes refused because of a limit.
    pub quota_rejections: u64,
    /// Requests refused because of the rate.
    pub rate_limit_rejections: u64,
    /// Watch streams open.
    pub watches: u64,
}

/// The store at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreSample {
    /// Every namespace, in any order.
    pub namespaces: Vec<NamespaceSample>,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Records in the log since its last compaction.
    pub log_records: u64,
    /// Calls that wait for the log to reach the disk.
    pub waiting_writes: u64,
    /// Bytes charged over all namespaces.
    pub memory_used_bytes: u64,
    /// Most bytes over all namespaces.
    pub memory_limit_bytes: u64,
    /// Whether the store answers.
    pub ready: bool,
    /// How much of the log is replayed, 0 to 1.
    pub replay_progress: f64,
    /// Whether writes are refused.
    pub read_only: bool,
}

type Collect = Box<dyn Fn() -> StoreSample + Send + Sync>;

/// Which namespaces have series of their own.
static KEPT: Mutex<Kept> = Mutex::new(Kept::new(NAMESPACES_MAX));

static COLLECTOR: RwLock<Option<Collect>> = RwLock::new(None);

/// Sets who is asked at each scrape; the last one set holds. It must not scrape itself.
pub fn set_collector(collect: Collect) {
    *COLLECTOR.write() = Some(collect);
}

/// Writes the series of the store, if there is one.
pub(super) fn write(page: &mut Page) {
    let sample = COLLECTOR.read().as_ref().map(|collect| collect());
    if let Some(sample) = sample {
        write_store(page, &sample);
        write_namespaces(page, &KEPT.lock().bounded(sample.namespaces));
    }
}

fn write_store(page: &mut Page, sample: &StoreSample) {
    use Shape::Gauge;
    let count = u64::try_from(sample.namespaces.len()).unwrap_or(u64::MAX);
    page.single("pykv_namespaces", Gauge, "Namespaces that exist.", count);
    page.single("pykv_wal_bytes", Gauge, "Bytes of the log on disk.", sample.log_bytes);
    let help = "Records in the log since its last compaction.";
    page.single("pykv_wal_records", Gauge, help, sample.log_records);
    let help = "Calls that wait for the log to reach the disk.";
    page.single("pykv_store_queue_depth", Gauge, help, sample.waiting_writes);
    let help = "Bytes charged to all namespaces.";
    page.single("pykv_memory_used_bytes", Gauge, help, sample.memory_used_bytes);
    let help = "Most bytes that all namespaces together may be charged.";
    page.single("pykv_memory_limit_bytes", Gauge, help, sample.memory_limit_bytes);
    page.single("pykv_ready", Gauge, "Whether the store answers, 0 or 1.", u8::from(sample.ready));
    let help = "How much of the log is replayed, 0 to 1.";
    page.single("pykv_replay_progress_ratio", Gauge, help, sample.replay_progress);
    let help = "Whether writes are refused, 0 or 1.";
    page.single("pykv_read_only", Gauge, help, u8::from(sample.read_only));
}

/// A family with a series, or two, of every namespace.
struct Family {
    name: &'static str,
    shape: Shape,
    help: &'static str,
    read: &'static [Read],
}

/// How the value of a series is read, and what tells it from others of its family.
struct Read {
    reason: Option<&'static str>,
    value: fn(&NamespaceSample) -> Option<u64>,
}

const fn plain(value: fn(&NamespaceSample) -> Option<u64>) -> [Read; 1] {
    [Read { reason: None, value }]
}

macro_rules! families {
    ($($name:literal $shape:ident $help:literal $read:expr;)+) => {
        &[$(Family { name: $name, shape: Shape::$shape, help: $help, read: &$read }),+]
    };
}

const FAMILIES: &[Family] = families! {
    "pykv_keys" Gauge "Entries held." plain(|n| Some(n.keys));
    "pykv_bytes" Gauge "Bytes charged." plain(|n| Some(n.bytes));
    "pykv_limit_keys" Gauge "Most entries, where there is a limit." plain(|n| n.limit_keys);
    "pykv_limit_bytes" Gauge "Most bytes, where there is a limit." plain(|n| n.limit_bytes);
    "pykv_watches" Gauge "Watch streams open." plain(|n| Some(n.watches));
    "pykv_hits_total" Counter "Reads that found an entry." plain(|n| Some(n.hits));
    "pykv_misses_total" Counter "Reads that found none." plain(|n| Some(n.misses));
    "pykv_sets_total" Counter "Entries written." plain(|n| Some(n.sets));
    "pykv_deletes_total" Counter "Entries deleted on request." plain(|n| Some(n.deletes));
    "pykv_expirations_total" Counter "Entries whose time was up." plain(|n| Some(n.expirations));
    "pykv_evictions_total" Counter "Entries removed to stay within a limit."
        plain(|n| Some(n.evictions));
    "pykv_rejections_total" Counter "Requests refused, by what stood against them." [
        Read { reason: Some("quota"), value: |n| Some(n.quota_rejections) },
        Read { reason: Some("rate"), value: |n| Some(n.rate_limit_rejections) },
    ];
};

fn write_namespaces(page: &mut Page, namespaces: &[NamespaceSample]) {
    for Family { name, shape, help, read } in FAMILIES {
        page.family(name, *shape, help);
        for namespace in namespaces {
            for Read { reason, value } in *read {
                let Some(value) = value(namespace) else { continue };
                let (own, reason) =
                    (("namespace", namespace.name.as_str()), reason.map(|r| ("reason", r)));
                let labels: Vec<_> = [own].into_iter().chain(reason).collect();
                page.sample(name, &labels, value);
            }
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_namespace_is_written() {
        let mut page = Page::default();
        let sample =
            NamespaceSample { name: "a".into(), limit_keys: Some(7), ..Default::default() };
        write_namespaces(&mut page, &[sample]);
        let text = page.into_text();
        assert!(text.contains("pykv_limit_keys{namespace=\"a\"} 7\n"), "{text}");
        assert!(!text.contains("pykv_limit_bytes{"), "{text}");
        let rejections = "pykv_rejections_total{namespace=\"a\",reason=\"rate\"} 0\n";
        assert!(text.contains(rejections), "{text}");
    }
}

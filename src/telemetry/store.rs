//! What the store holds, asked for when somebody scrapes.

use std::fmt;

use parking_lot::RwLock;

use super::page::{Page, Shape};

/// Most namespaces with series of their own; the others are summed under `_other`, a name that no
/// namespace can have. A thousand tenants times eleven series is what a scrape should carry.
pub const NAMESPACES_MAX: usize = 1_000;

const OTHER: &str = "_other";

/// One namespace at the moment of a scrape. Counters are since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSample {
    /// Its name.
    pub name: String,
    /// Entries held.
    pub keys: u64,
    /// Bytes, as charged.
    pub bytes: u64,
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
    /// Every namespace, in the order in which they should keep their own series.
    pub namespaces: Vec<NamespaceSample>,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Records in the log since its last compaction.
    pub log_records: u64,
    /// Syncs of the log since the start of the process.
    pub log_syncs: u64,
    /// Watch streams open.
    pub watches: u64,
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
        write_namespaces(page, bounded(sample.namespaces));
    }
}

fn write_store(page: &mut Page, sample: &StoreSample) {
    use Shape::{Counter, Gauge};
    let count = u64::try_from(sample.namespaces.len()).unwrap_or(u64::MAX);
    page.single("pykv_namespaces", Gauge, "Namespaces that exist.", count);
    page.single("pykv_watches", Gauge, "Watch streams open.", sample.watches);
    page.single("pykv_log_bytes", Gauge, "Bytes of the log on disk.", sample.log_bytes);
    let help = "Records in the log since its last compaction.";
    page.single("pykv_log_records", Gauge, help, sample.log_records);
    page.single("pykv_log_syncs_total", Counter, "Syncs of the log.", sample.log_syncs);
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

/// A series that every namespace has.
struct Series {
    name: &'static str,
    shape: Shape,
    help: &'static str,
    read: fn(&NamespaceSample) -> u64,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    read: fn(&NamespaceSample) -> u64,
) -> Series {
    Series { name, shape: Shape::Counter, help, read }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    read: fn(&NamespaceSample) -> u64,
) -> Series {
    Series { name, shape: Shape::Gauge, help, read }
}

const SERIES: [Series; 11] = [
    gauge("pykv_namespace_keys", "Entries held.", |n| n.keys),
    gauge("pykv_namespace_bytes", "Bytes charged.", |n| n.bytes),
    gauge("pykv_namespace_watches", "Watch streams open.", |n| n.watches),
    counter("pykv_namespace_hits_total", "Reads that found an entry.", |n| n.hits),
    counter("pykv_namespace_misses_total", "Reads that found none.", |n| n.misses),
    counter("pykv_namespace_sets_total", "Entries written.", |n| n.sets),
    counter("pykv_namespace_deletes_total", "Entries deleted on request.", |n| n.deletes),
    counter("pykv_namespace_expirations_total", "Entries whose time was up.", |n| n.expirations),
    counter("pykv_namespace_evictions_total", "Entries removed to stay within a limit.", |n| {
        n.evictions
    }),
    counter("pykv_namespace_quota_rejections_total", "Writes refused by a limit.", |n| {
        n.quota_rejections
    }),
    counter("pykv_namespace_rate_limit_rejections_total", "Requests refused by the rate.", |n| {
        n.rate_limit_rejections
    }),
];

fn write_namespaces(page: &mut Page, namespaces: Vec<NamespaceSample>) {
    for series in &SERIES {
        page.family(series.name, series.shape, series.help);
        for namespace in &namespaces {
            page.sample(series.name, &[("namespace", &namespace.name)], (series.read)(namespace));
        }
    }
}

/// The first [`NAMESPACES_MAX`], and one more that is the sum of the others.
fn bounded(mut namespaces: Vec<NamespaceSample>) -> Vec<NamespaceSample> {
    if namespaces.len() <= NAMESPACES_MAX {
        return namespaces;
    }
    let rest = namespaces.split_off(NAMESPACES_MAX);
    let start = NamespaceSample { name: OTHER.into(), ..NamespaceSample::default() };
    namespaces.push(rest.iter().fold(start, |sum, n| NamespaceSample {
        name: sum.name,
        keys: sum.keys + n.keys,
        bytes: sum.bytes + n.bytes,
        hits: sum.hits + n.hits,
        misses: sum.misses + n.misses,
        sets: sum.sets + n.sets,
        deletes: sum.deletes + n.deletes,
        expirations: sum.expirations + n.expirations,
        evictions: sum.evictions + n.evictions,
        quota_rejections: sum.quota_rejections + n.quota_rejections,
        rate_limit_rejections: sum.rate_limit_rejections + n.rate_limit_rejections,
        watches: sum.watches + n.watches,
    }));
    namespaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_beyond_the_bound_are_summed_and_nothing_is_lost() {
        let many = (0..NAMESPACES_MAX + 5).map(|n| NamespaceSample {
            name: format!("n{n}"),
            keys: 2,
            ..NamespaceSample::default()
        });
        let kept = bounded(many.collect());
        assert_eq!(kept.len(), NAMESPACES_MAX + 1);
        let last = &kept[NAMESPACES_MAX];
        assert_eq!((last.name.as_str(), last.keys), (OTHER, 10));
    }
}

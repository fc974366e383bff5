//! The recorder behind the metrics, and the text of a scrape.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::page::{Page, Shape};
use super::{grpc, metrics as events, store};

/// Renders what was recorded. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Handle {
    recorder: PrometheusHandle,
    process: Collector,
}

static INSTALLED: OnceLock<Handle> = OnceLock::new();

/// Puts the recorder in place, once for the process; later calls return the same handle. Where the
/// process has a recorder of somebody else's already, ours stays beside it without its events.
pub fn install() -> Handle {
    INSTALLED
        .get_or_init(|| {
            let recorder = events::TIMED
                .iter()
                .fold(PrometheusBuilder::new(), |builder, timed| {
                    builder
                        .set_buckets_for_metric(Matcher::Full(timed.name.into()), timed.edges)
                        .expect("the edges of a histogram are a list that is not empty")
                })
                .build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!(
                    "another metrics recorder is installed; events are not counted here"
                );
            }
            events::declare();
            let process = Collector::default();
            process.describe();
            Handle { recorder: handle, process }
        })
        .clone()
}

impl Handle {
    /// The Prometheus text of this moment, format 0.0.4.
    pub fn render(&self) -> String {
        self.process.collect();
        let mut page = Page::default();
        let help = "What runs here; always 1.";
        page.family("pykv_build_info", Shape::Gauge, help);
        page.sample("pykv_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        grpc::write(&mut page);
        store::write(&mut page);
        let mut text = self.recorder.render();
        text.push_str(&page.into_text());
        text
    }

    /// Folds what was recorded since the last call or scrape into the histograms. To be called every
    /// few seconds: until then each sample is kept on its own, and without a scrape they pile up.
    pub fn upkeep(&self) {
        self.recorder.run_upkeep();
    }
}

/// How many files and sockets the process may have open, where the system tells.
pub fn descriptors_max() -> Option<u64> {
    metrics_process::collector::collect().max_fds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{
        NamespaceSample, Notes, StoreSample, compaction_seconds, method, replay_seconds,
        set_collector, sync_seconds, torn_tail_bytes,
    };

    #[test]
    fn every_line_of_a_scrape_belongs_to_a_described_family() {
        let handle = install();
        let second = std::time::Duration::from_secs(1);
        sync_seconds(second);
        compaction_seconds(second);
        replay_seconds(second);
        torn_tail_bytes(1);
        events::connection_accepted();
        events::connection_refused();
        let (called, mut notes) = (method("test.Service", "Call"), Notes::begin(None));
        called.handled(0, second, std::time::Instant::now(), &mut notes);
        set_collector(Box::new(|| StoreSample {
            namespaces: vec![NamespaceSample { name: "a b".into(), ..NamespaceSample::default() }],
            ..StoreSample::default()
        }));

        let text = handle.render();
        let described: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let unique: std::collections::BTreeSet<_> = described.iter().collect();
        assert_eq!(unique.len(), described.len(), "a family is described twice");
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| described.contains(base)))
                .unwrap_or(name);
            assert!(described.contains(&family), "{line}");
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(
            text.contains("pykv_wal_fsync_seconds_bucket{le=\"2\"} "),
            "no buckets in:\n{text}"
        );
    }
}

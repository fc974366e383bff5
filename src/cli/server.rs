//! `stats` and `health`: what the server tells about itself.

use serde_json::json;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Session;
use super::args::{Health, Stats};
use super::exit::Exit;
use super::failure::{Failure, Outcome, printable};
use super::json;
use super::output::{self, Output};
use crate::wire::v1 as wire;

pub(super) async fn stats(session: &Session, args: Stats) -> Outcome {
    let client = session.dial().await?;
    if let Some(namespace) = args.namespace {
        let request = wire::GetNamespaceStatsRequest { namespace };
        let answer = client.namespaces().get_namespace_stats(client.request(request)).await?;
        let stats = answer.into_inner().stats.unwrap_or_default();
        return match session.output {
            Output::Json => output::json(&json!({"stats": json::namespace_stats(&stats)})),
            Output::Text => output::line(&table(&[stats])),
        };
    }
    let request = wire::GetStatsRequest { include_namespaces: true };
    let answer = client.admin().get_stats(client.request(request)).await?.into_inner();
    let stats = answer.stats.unwrap_or_default();
    match session.output {
        Output::Json => output::json(&json!({"stats": json::server_stats(&stats)})),
        Output::Text => {
            output::line(&summary(&stats))?;
            output::line("")?;
            output::line(&table(&stats.namespaces))
        }
    }
}

fn summary(stats: &wire::ServerStats) -> String {
    let totals = stats.totals.clone().unwrap_or_default();
    let usage = totals.usage.unwrap_or_default();
    let compaction = match (stats.compaction_running, stats.last_compaction_time) {
        (true, _) => "running".to_owned(),
        (false, Some(moment)) => moment.to_string(),
        (false, None) => "never".to_owned(),
    };
    let size = |bytes: i64| u64::try_from(bytes).map_or_else(|_| bytes.to_string(), output::size);
    let rows = [
        ("version", printable(&stats.server_version)),
        ("uptime", stats.uptime.map_or_else(String::new, output::length)),
        ("namespaces", stats.namespace_count.to_string()),
        ("keys", usage.key_count.to_string()),
        ("bytes", size(usage.used_bytes)),
        ("log records", stats.wal_entries.to_string()),
        ("log bytes", size(stats.wal_bytes)),
        ("last compaction", compaction),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    output::table(&[], usize::MAX, rows)
}

fn table(namespaces: &[wire::NamespaceStats]) -> String {
    let header = [
        "NAMESPACE",
        "KEYS",
        "BYTES",
        "HITS",
        "MISSES",
        "SETS",
        "DELETES",
        "EXPIRED",
        "EVICTED",
        "REFUSED",
        "WATCHES",
    ];
    let row = |stats: &wire::NamespaceStats| {
        let usage = stats.usage.unwrap_or_default();
        let refused = stats.quota_rejections.saturating_add(stats.rate_limit_rejections);
        let numbers = [
            usage.key_count,
            usage.used_bytes,
            stats.hits,
            stats.misses,
            stats.sets,
            stats.deletes,
            stats.expirations,
            stats.evictions,
            refused,
            stats.active_watches,
        ];
        let name = std::iter::once(printable(&stats.namespace));
        name.chain(numbers.iter().map(i64::to_string)).collect()
    };
    output::table(&header, 1, namespaces.iter().map(row).collect())
}

pub(super) async fn health(session: &Session, args: Health) -> Outcome {
    let client = session.dial().await?;
    let name = args.service;
    let request = HealthCheckRequest { service: name.clone() };
    let answer = client.health().check(client.request(request)).await.map_err(|status| {
        if status.code() == Code::NotFound {
            let text = format!("the server knows no service \"{}\"", printable(&name));
            return Failure::new(Exit::Usage, text);
        }
        // Whoever asks for health wants a plain no.
        Failure::new(Exit::Unavailable, format!("the server does not answer: {}", status.message()))
    })?;
    let status = answer.into_inner().status();
    match session.output {
        Output::Json => output::json(&json!({"status": status.as_str_name()}))?,
        Output::Text => output::line(status.as_str_name())?,
    }
    if status == ServingStatus::Serving {
        return Ok(());
    }
    Err(Failure::new(Exit::Unavailable, format!("{} is not serving", printable(&name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_namespace() {
        let stats = wire::NamespaceStats {
            namespace: "a".into(),
            hits: 7,
            quota_rejections: 1,
            rate_limit_rejections: 2,
            ..Default::default()
        };
        let text = table(&[stats.clone(), stats]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(words, ["a", "0", "0", "7", "0", "0", "0", "0", "0", "3", "0"]);
    }

    #[test]
    fn a_summary_tells_sizes_in_units() {
        let stats = wire::ServerStats { wal_bytes: 139_144, ..Default::default() };
        let text = summary(&stats);
        assert!(text.contains("135.88 KiB"), "{text}");
        assert!(text.contains("never"), "{text}");
    }
}

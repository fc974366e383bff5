//! Results as tables for people and as JSON for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::load::Sample;
use super::plan::{Measure, Name, Target};
use super::results::{Results, Spread, Verdict, spread};

/// The loads, and where there are targets the other figures and what came of them. Loads too short to
/// be judged come without targets.
pub(crate) fn tables(results: &Results, targets: &[Target]) -> String {
    let mut text = format!("{}\n\n", loads(results));
    if targets.is_empty() {
        return text + NOTE;
    }
    if results.figures().next().is_some() {
        text += &format!("{}\n\n", figures(results));
    }
    text += &format!("{}\n\n", ratios(results, targets));
    text + NOTE
}

const NOTE: &str = "\
Medians, with least and most of all rounds in brackets. us/op is CPU of the server (user and system,
all threads) by operation, generator is CPU of the load generator by the same operation. Shapes are
connections x outstanding requests; p50 and p99 are microseconds of a request. An operation of a
batch is one key. Requests of a pipeline are a DATA frame each, unless \"in few frames\" is said: then
those sent together share frames. A ratio is taken in each round, and the median judged; beside it
stands that of the best round of each side.
";

fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headers);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn loads(results: &Results) -> Table {
    let mut table =
        table(&["work", "server", "us/op", "op/s", "p50", "p99", "generator us/op", "rounds"]);
    for ((row, server), samples) in &results.samples {
        let of = |value: fn(&Sample) -> f64, digits| shown(over(samples, value), digits);
        table.add_row([
            (*row).to_owned(),
            server.name().to_owned(),
            of(|sample| sample.server_cpu, 2),
            of(|sample| sample.operations_per_second, 0),
            of(|sample| sample.p50, 0),
            of(|sample| sample.p99, 0),
            of(|sample| sample.client_cpu, 2),
            samples.len().to_string(),
        ]);
    }
    table
}

fn figures(results: &Results) -> Table {
    let mut table = table(&["work", "server", "figure", "unit"]);
    for ((row, server), measure, spread) in results.figures() {
        let figure = shown(Some(spread), digits(measure));
        table.add_row([row, server.name(), &figure, measure.name()]);
    }
    table
}

fn ratios(results: &Results, targets: &[Target]) -> Table {
    let mut table = table(&["target", "measure", "ratio", "of the best", "bound", "verdict"]);
    for target in targets {
        let (ratio, verdict) = match results.judge(target) {
            Verdict::Met(ratio) => (Some(ratio), "met"),
            Verdict::Missed(ratio) => (Some(ratio), "MISSED"),
            Verdict::Unknown => (None, "not measured"),
        };
        let rounds = shown(ratio.map(|ratio| ratio.rounds), 3);
        let best = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.3}", ratio.best));
        let (title, bound) = (title(target), target.bound.to_string());
        table.add_row([&title, target.measure.name(), &rounds, &best, &bound, verdict]);
    }
    table
}

fn title(target: &Target) -> String {
    let name = |(row, server): Name| format!("{} {row}", server.name());
    if target.of.0 == target.to.0 {
        return format!("{} : {}", name(target.of), target.to.1.name());
    }
    format!("{} : {}", name(target.of), name(target.to))
}

fn digits(measure: Measure) -> usize {
    match measure {
        Measure::Cpu | Measure::Recovery => 3,
        Measure::Memory | Measure::Resident => 1,
        Measure::Rate | Measure::Throughput | Measure::Latency => 0,
    }
}

fn over(samples: &[Sample], value: fn(&Sample) -> f64) -> Option<Spread> {
    spread(samples.iter().map(value))
}

fn shown(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) if min == max => format!("{median:.digits$}"),
        Some(Spread { median, min, max }) => {
            format!("{median:.digits$} [{min:.digits$}..{max:.digits$}]")
        }
    }
}

/// Everything as one object: `loads`, `figures` and `targets`, each a list.
pub(crate) fn json(results: &Results, targets: &[Target]) -> Value {
    let loads = results.samples.iter().map(|((row, server), samples)| {
        json!({
            "work": row,
            "server": server.name(),
            "rounds": samples.len(),
            "server_cpu_us": over(samples, |sample| sample.server_cpu),
            "operations_per_second": over(samples, |sample| sample.operations_per_second),
            "p50_us": over(samples, |sample| sample.p50),
            "p99_us": over(samples, |sample| sample.p99),
            "generator_cpu_us": over(samples, |sample| sample.client_cpu),
        })
    });
    let figures = results.figures().map(|((row, server), measure, spread)| {
        json!({
            "work": row, "server": server.name(), "measure": measure.name(), "figure": spread,
        })
    });
    let targets = targets.iter().map(|target| {
        let (ratio, met) = match results.judge(target) {
            Verdict::Met(ratio) => (Some(ratio), Some(true)),
            Verdict::Missed(ratio) => (Some(ratio), Some(false)),
            Verdict::Unknown => (None, None),
        };
        json!({
            "target": title(target),
            "measure": target.measure.name(),
            "bound": target.bound.to_string(),
            "ratio": ratio,
            "met": met,
        })
    });
    json!({
        "loads": loads.collect::<Vec<_>>(),
        "figures": figures.collect::<Vec<_>>(),
        "targets": targets.collect::<Vec<_>>(),
    })
}

//! Every number of a run, and what it comes to.

use serde::Serialize;

use super::load::Sample;
use super::plan::{Measure, Name, Target};

/// Numbers in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) samples: Vec<(Name, Vec<Sample>)>,
    figures: Vec<(Name, Measure, Vec<f64>)>,
}

/// The middle of some numbers, and their ends.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A ratio, taken in each round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) rounds: Spread,
    /// Of the best round of each side. What disturbs a machine only adds, so this is nearer to what a
    /// quiet one would show; but one lucky round decides it.
    pub(crate) best: f64,
}

/// What came of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Met(Ratio),
    Missed(Ratio),
    /// One of the two was not measured.
    Unknown,
}

impl Results {
    pub(crate) fn add_sample(&mut self, name: Name, sample: Sample) {
        match self.samples.iter_mut().find(|(known, _)| *known == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.samples.push((name, vec![sample])),
        }
    }

    pub(crate) fn add(&mut self, name: Name, measure: Measure, figure: f64) {
        match self.figures.iter_mut().find(|(known, kind, _)| (*known, *kind) == (name, measure)) {
            Some((_, _, figures)) => figures.push(figure),
            None => self.figures.push((name, measure, vec![figure])),
        }
    }

    /// The figures that are not of a load.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (Name, Measure, Spread)> + '_ {
        self.figures.iter().filter_map(|(name, measure, figures)| {
            Some((*name, *measure, spread(figures.iter().copied())?))
        })
    }

    /// The ratio of a target in each round, so that what disturbs a round disturbs both its sides.
    pub(crate) fn judge(&self, target: &Target) -> Verdict {
        let of = self.all(target.of, target.measure);
        let to = self.all(target.to, target.measure);
        let best = |all: &[f64]| match target.measure {
            Measure::Rate | Measure::Throughput => all.iter().copied().reduce(f64::max),
            Measure::Cpu
            | Measure::Memory
            | Measure::Recovery
            | Measure::Latency
            | Measure::Resident => all.iter().copied().reduce(f64::min),
        };
        let bests = best(&of).zip(best(&to));
        let Some((best_of, best_to)) = bests else { return Verdict::Unknown };
        match spread(of.into_iter().zip(to).map(|(of, to)| of / to)) {
            None => Verdict::Unknown,
            Some(rounds) => {
                let ratio = Ratio { rounds, best: best_of / best_to };
                match target.bound.holds(rounds.median) {
                    true => Verdict::Met(ratio),
                    false => Verdict::Missed(ratio),
                }
            }
        }
    }

    fn all(&self, name: Name, measure: Measure) -> Vec<f64> {
        let of = |value: fn(&Sample) -> f64| {
            let found = self.samples.iter().find(|(known, _)| *known == name);
            found.map(|(_, samples)| samples.iter().map(value).collect()).unwrap_or_default()
        };
        match measure {
            Measure::Cpu => of(|sample| sample.server_cpu),
            Measure::Rate => of(|sample| sample.operations_per_second),
            Measure::Latency => of(|sample| sample.p99),
            Measure::Memory | Measure::Recovery | Measure::Throughput | Measure::Resident => {
                let known = |(known, kind, _): &&(Name, Measure, Vec<f64>)| {
                    (*known, *kind) == (name, measure)
                };
                self.figures.iter().find(known).map(|found| found.2.clone()).unwrap_or_default()
            }
        }
    }
}

/// None for no numbers.
pub(crate) fn spread(numbers: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    };
    Some(Spread { median, min, max })
}

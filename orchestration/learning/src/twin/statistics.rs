//! What a trace is like, in a few figures: by them a twin is judged.

use crate::{Sample, SiteTrace, Trace, features::mean, model::quantile};
use serde::Serialize;

/// Latencies count up to here: a single frame of a minute would be all that a correlation sees.
const LATENCY_MAX_MS: f64 = 300.0;
/// Samples are averaged over so many seconds before they are correlated.
const MEAN_S: u32 = 30;
/// A burst begins when such a mean is above this after two minutes below it.
const BURST_MS: f64 = 100.0;
const QUIET_S: u32 = 120;

/// One figure of all sites: its mean over them, and how far a twin may be from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistic {
    /// What it is.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// How far a twin may be from it.
    pub tolerance: f64,
}

/// All figures of a trace. Their tolerances are a part of the figure and a part that is the same
/// for all: 22 hours have about ten independent ones, as load stays for more than an hour.
pub fn statistics(trace: &Trace) -> Vec<Statistic> {
    let each = |figure: &dyn Fn(&SiteTrace) -> f64| mean(trace.sites.iter().map(figure));
    let above = |ms: f64| each(&|site| above(&site.samples, ms));
    let figure = |name, value: f64, part: f64, least: f64| Statistic {
        name,
        value,
        tolerance: (part * value.abs()).max(least),
    };
    vec![
        figure("median, ms", each(&|site| at(site, 0.5)), 0.05, 0.0),
        figure("95th percentile, ms", each(&|site| at(site, 0.95)), 0.1, 0.0),
        figure("above 100 ms", above(100.0), 0.35, 0.01),
        figure("above 120 ms", above(120.0), 0.4, 0.01),
        figure("above 150 ms", above(150.0), 0.6, 0.004),
        figure("correlation after 30 s", each(&|site| memory(trace, site)), 0.0, 0.15),
        figure("minutes between bursts", each(&|site| burst_gap_min(trace, site)), 0.35, 0.0),
        figure("both above 100 ms, by chance's", coupling(trace), 0.5, 0.0),
        figure("rank correlation with CPU", each(&|site| cpu_rank(trace, site)), 0.0, 0.15),
        figure("without an answer", each(&|site| unanswered(site)), 0.5, 0.003),
    ]
}

fn latencies(samples: &[Sample]) -> impl Iterator<Item = f64> {
    samples.iter().filter_map(|sample| sample.latency_ms)
}

fn at(site: &SiteTrace, share: f64) -> f64 {
    let mut sorted: Vec<_> = latencies(&site.samples).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { quantile(&sorted, share) }
}

fn above(samples: &[Sample], ms: f64) -> f64 {
    mean(latencies(samples).map(|latency| f64::from(u8::from(latency > ms))))
}

fn unanswered(site: &SiteTrace) -> f64 {
    mean(site.samples.iter().map(|sample| f64::from(u8::from(sample.stalled()))))
}

/// Means over half a minute; not a number where nothing was answered.
pub(super) fn means(trace: &Trace, site: &SiteTrace) -> Vec<f64> {
    let parts = site.samples.chunks_exact(trace.samples_in(MEAN_S));
    parts.map(|part| mean(latencies(part).map(|latency| latency.min(LATENCY_MAX_MS)))).collect()
}

fn memory(trace: &Trace, site: &SiteTrace) -> f64 {
    let means = means(trace, site);
    correlation(means.iter().copied().zip(means.iter().skip(1).copied()))
}

fn burst_gap_min(trace: &Trace, site: &SiteTrace) -> f64 {
    let quiet = (QUIET_S / MEAN_S) as usize;
    let (mut last, mut began, mut gaps) = (None::<usize>, None::<usize>, Vec::new());
    for (at, mean) in means(trace, site).into_iter().enumerate() {
        if mean > BURST_MS {
            if last.is_none_or(|last| at - last > quiet) {
                gaps.extend(began.map(|began| (at - began) as f64 * f64::from(MEAN_S) / 60.0));
                began = Some(at);
            }
            last = Some(at);
        }
    }
    gaps.sort_by(f64::total_cmp);
    if gaps.is_empty() { f64::NAN } else { quantile(&gaps, 0.5) }
}

/// How often the first two sites are above the level at once, by how often they would be if they
/// had nothing to do with each other.
fn coupling(trace: &Trace) -> f64 {
    let [one, other, ..] = &trace.sites[..] else { return f64::NAN };
    let pairs = one.samples.iter().zip(&other.samples);
    let known: Vec<_> = pairs
        .filter_map(|(one, other)| Some((one.latency_ms? > 100.0, other.latency_ms? > 100.0)))
        .collect();
    let part = |of: &dyn Fn(&(bool, bool)) -> bool| {
        mean(known.iter().map(|pair| f64::from(u8::from(of(pair)))))
    };
    part(&|pair| pair.0 && pair.1) / (part(&|pair| pair.0) * part(&|pair| pair.1))
}

/// Spearman's correlation of the means with the processors in use.
fn cpu_rank(trace: &Trace, site: &SiteTrace) -> f64 {
    let means = means(trace, site);
    let cpu = site.samples.chunks_exact(trace.samples_in(MEAN_S)).map(|part| part[0].cpu);
    let known = means.into_iter().zip(cpu).filter_map(|(mean, cpu)| Some((mean, cpu?)));
    let (means, cpu): (Vec<_>, Vec<_>) = known.filter(|(mean, _)| mean.is_finite()).unzip();
    correlation(ranks(&means).into_iter().zip(ranks(&cpu)))
}

/// Each value's place among all, from 0 to 1; equal ones as they come.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|&one, &other| values[one].total_cmp(&values[other]));
    let mut ranks = vec![0.0; values.len()];
    for (place, at) in order.into_iter().enumerate() {
        ranks[at] = (place as f64 + 0.5) / values.len() as f64;
    }
    ranks
}

/// Pearson's; pairs with something that is no number are left out.
pub(super) fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let known: Vec<_> = pairs.filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let (x, y) = (mean(known.iter().map(|pair| pair.0)), mean(known.iter().map(|pair| pair.1)));
    let product = |of: &dyn Fn(&(f64, f64)) -> f64| mean(known.iter().map(of));
    let spread = product(&|pair| (pair.0 - x).powi(2)) * product(&|pair| (pair.1 - y).powi(2));
    product(&|pair| (pair.0 - x) * (pair.1 - y)) / spread.sqrt()
}

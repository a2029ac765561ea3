//! From a trace to the parameters of its twin, and how like the trace the twin is.

use super::{
    parameters::{Memory, Parameters, QUANTILES, SCORES, SiteParameters},
    queue::steady,
    random::{Random, cumulated},
    site::{LOAD_S, Push, Site, Weather},
    statistics::{Statistic, correlation, ranks, statistics},
};
use crate::{Error, Result, Sample, SiteTrace, Trace, features::mean, model::quantile};
use serde::Serialize;

/// With fewer samples nothing is known of what is rare.
const SAMPLES_MIN: usize = 2_000;
/// Load is called quiet in this part of the samples.
const QUIET: f64 = 0.25;
/// Groups of like load to which the queue is fitted.
const GROUPS: usize = 15;
/// A latency that so few exceed says nothing of load.
const ODD: f64 = 0.999;
/// After how many seconds the load is correlated with itself.
const LAGS_S: [u32; 8] = [30, 60, 120, 180, 300, 600, 1800, 3600];
/// What is tried for how long load is remembered, in seconds.
const SHORT_S: [f64; 7] = [30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 420.0];
const LONG_S: [f64; 6] = [1200.0, 1800.0, 2700.0, 3600.0, 4800.0, 7200.0];
const CROWDING_S: [f64; 8] = [15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 240.0];
/// What cannot be read off a trace is tried in the twin, with seeds that nobody else plays.
const TRY_SEEDS: std::ops::Range<u64> = 1_000_000..1_000_024;

/// Learns the parameters of a twin: load as ranks of the processors in use, with their memory and what
/// sites have in common; latency as what was measured in quiet times and a queue; stalls.
///
/// # Errors
/// A trace that is too short, or in which no processors in use were measured.
pub fn calibrate(trace: &Trace) -> Result<Parameters> {
    if trace.len() < SAMPLES_MIN {
        let text = format!("{} samples: a twin needs at least {SAMPLES_MIN}", trace.len());
        return Err(Error::Unfit(text));
    }
    let loads: Result<Vec<_>> = trace.sites.iter().map(|site| load(trace, site)).collect();
    let loads = loads?;
    let mut scores = loads.iter().map(|load| normal_scores(load)).collect::<Vec<_>>();
    let memory = memory(&scores);
    let coupling = match &mut scores[..] {
        [one, other, ..] => {
            // Both end with the trace; one may have begun later.
            let both = one.len().min(other.len());
            let last = |all: &[f64]| all[all.len() - both..].to_vec();
            correlation(last(one).into_iter().zip(last(other))).clamp(0.0, 1.0)
        }
        _ => 0.0,
    };
    let sites: Result<Vec<_>> = trace.sites.iter().map(|site| parameters(trace, site)).collect();
    let parameters = Parameters { step_s: trace.step_s, memory, coupling, sites: sites? };
    Ok(nearest(trace, parameters))
}

/// With the memory of waits by which the twin's figures are nearest to the trace's, in tolerances.
fn nearest(trace: &Trace, parameters: Parameters) -> Parameters {
    let tried = CROWDING_S.map(|crowding_s| {
        let memory = Memory { crowding_s, ..parameters.memory };
        let tried = Parameters { memory, ..parameters.clone() };
        let away =
            |each: &Likeness| ((each.twin - each.trace.value) / each.trace.tolerance).powi(2);
        let found = compared(trace, &tried, TRY_SEEDS);
        (found.iter().map(away).filter(|away| away.is_finite()).sum::<f64>(), tried)
    });
    let best = tried.into_iter().min_by(|one, other| one.0.total_cmp(&other.0));
    best.map_or(parameters, |(_, best)| best)
}

/// The processors in use, each half minute.
fn load(trace: &Trace, site: &SiteTrace) -> Result<Vec<f64>> {
    let each = site.samples.chunks_exact(trace.samples_in(LOAD_S));
    let known = each.map(|part| part.last().and_then(|sample| sample.cpu));
    let known: Option<Vec<_>> = known.skip_while(Option::is_none).collect();
    known.filter(|known| known.len() > SAMPLES_MIN / 10).ok_or_else(|| {
        let text = format!("site `{}` has no column `cpu`: a twin follows its load", site.name);
        Error::Unfit(text)
    })
}

fn normal_scores(values: &[f64]) -> Vec<f64> {
    ranks(values).into_iter().map(score).collect()
}

/// The normal score of a rank: F. W. J. Olver et al., "NIST Handbook of Mathematical Functions",
/// 7.17 says that there is no closed form; halving finds it in the tabulated range.
fn score(rank: f64) -> f64 {
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if cumulated(middle) < rank { low = middle } else { high = middle }
    }
    low
}

/// The two memories whose correlations are nearest to those of all sites.
fn memory(scores: &[Vec<f64>]) -> Memory {
    let found = LAGS_S.map(|lag_s| {
        let lag = (lag_s / LOAD_S) as usize;
        let of = |score: &Vec<f64>| {
            correlation(score.iter().copied().zip(score.iter().skip(lag).copied()))
        };
        mean(scores.iter().map(of))
    });
    let error = |memory: &Memory| -> f64 {
        let said = |lag_s: u32| {
            let keep = |memory_s: f64| (-f64::from(lag_s) / memory_s).exp();
            let Memory { short_s, long_s, long_share, .. } = *memory;
            long_share * keep(long_s) + (1.0 - long_share) * keep(short_s)
        };
        LAGS_S.iter().zip(found).map(|(&lag_s, found)| (said(lag_s) - found).powi(2)).sum()
    };
    let mut best =
        Memory { short_s: SHORT_S[0], long_s: LONG_S[0], long_share: 0.5, crowding_s: 60.0 };
    for short_s in SHORT_S {
        for long_s in LONG_S {
            for tenth in 0..=10 {
                let long_share = f64::from(tenth) / 10.0;
                let tried = Memory { short_s, long_s, long_share, ..best };
                if error(&tried) < error(&best) {
                    best = tried;
                }
            }
        }
    }
    best
}

fn parameters(trace: &Trace, site: &SiteTrace) -> Result<SiteParameters> {
    let mut load = load(trace, site)?;
    load.sort_by(f64::total_cmp);
    let (first, apart, count) = SCORES;
    let at_score = |at: usize| quantile(&load, cumulated(first + apart * at as f64));
    let known = known(&site.samples);
    let (quiet_cpu, service_ms) = quiet(&known);
    let queue = fit(&groups(&known), quiet_cpu, quantile(&load, 0.999));
    let (stalls_per_hour, stall_s) = stalls(trace, site);
    Ok(SiteParameters {
        name: site.name.clone(),
        cpu_at_score: (0..count).map(at_score).collect(),
        capacity: queue.capacity,
        servers: queue.servers,
        wait_ms: queue.wait_ms,
        quiet_use: quiet_cpu / queue.capacity,
        service_ms,
        stalls_per_hour,
        stall_s,
    })
}

/// Processors in use and latency where both were measured, in the order of the first.
fn known(samples: &[Sample]) -> Vec<(f64, f64)> {
    let pairs = samples.iter().filter_map(|sample| Some((sample.cpu?, sample.latency_ms?)));
    let mut pairs: Vec<_> = pairs.collect();
    let mut latencies: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
    latencies.sort_by(f64::total_cmp);
    let most = if latencies.is_empty() { 0.0 } else { quantile(&latencies, ODD) };
    pairs.retain(|pair| pair.1 <= most);
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    pairs
}

/// The mean load of quiet times, and the quantiles of latency then.
fn quiet(known: &[(f64, f64)]) -> (f64, Vec<f64>) {
    let quiet = &known[..((known.len() as f64 * QUIET) as usize).max(1).min(known.len())];
    let mut latencies: Vec<_> = quiet.iter().map(|pair| pair.1).collect();
    latencies.sort_by(f64::total_cmp);
    if latencies.is_empty() {
        latencies.push(0.0);
    }
    let last = (QUANTILES - 1) as f64;
    let quantiles = (0..QUANTILES).map(|at| quantile(&latencies, (at as f64 / last).min(ODD)));
    (mean(quiet.iter().map(|pair| pair.0)), quantiles.collect())
}

/// Mean load and latency of parts with as many samples each; the busiest tenth in smaller ones.
fn groups(known: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let busy = known.len() * 9 / 10;
    let group = |part: &[(f64, f64)]| {
        (mean(part.iter().map(|pair| pair.0)), mean(part.iter().map(|pair| pair.1)))
    };
    let parts = known[..busy].chunks((busy / GROUPS).max(1));
    parts.chain(known[busy..].chunks(((known.len() - busy) / 5).max(1))).map(group).collect()
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    capacity: f64,
    servers: u32,
    wait_ms: f64,
}

/// The queue whose mean wait explains best how latency grows with load; by least squares.
fn fit(groups: &[(f64, f64)], quiet_cpu: f64, most_cpu: f64) -> Queue {
    let mut best =
        (f64::INFINITY, Queue { capacity: most_cpu.max(0.01), servers: 1, wait_ms: 0.0 });
    for step in 0..30 {
        let capacity = most_cpu.max(0.01) * (1.02 + 0.05 * f64::from(step));
        for servers in [1, 2, 3, 4, 6, 8, 12, 16] {
            let quiet = steady(quiet_cpu / capacity, servers);
            let wait = |cpu: f64| (steady(cpu / capacity, servers) - quiet).max(0.0);
            let (wait_ms, error) = line(groups.iter().map(|&(cpu, ms)| (wait(cpu), ms)));
            if error < best.0 {
                best = (error, Queue { capacity, servers, wait_ms: wait_ms.max(0.0) });
            }
        }
    }
    best.1
}

/// The slope of the line through pairs, and the sum of its squared errors.
fn line(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let (x, y) = (mean(pairs.clone().map(|pair| pair.0)), mean(pairs.clone().map(|pair| pair.1)));
    let (mut product, mut square) = (0.0, 0.0);
    for pair in pairs.clone() {
        product += (pair.0 - x) * (pair.1 - y);
        square += (pair.0 - x).powi(2);
    }
    let slope = if square > 0.0 { product / square } else { 0.0 };
    (slope, pairs.map(|pair| (pair.1 - y - slope * (pair.0 - x)).powi(2)).sum())
}

/// How often nothing was answered in an hour, and for how many seconds on average.
fn stalls(trace: &Trace, site: &SiteTrace) -> (f64, f64) {
    let pairs = || site.samples.windows(2);
    let begun = pairs().filter(|pair| pair[1].stalled() && !pair[0].stalled()).count();
    let stalled = site.samples.iter().filter(|sample| sample.stalled()).count();
    let hours = trace.len() as f64 * f64::from(trace.step_s) / 3600.0;
    let mean_s = stalled as f64 * f64::from(trace.step_s) / begun.max(1) as f64;
    (begun as f64 / hours, if begun == 0 { 0.0 } else { mean_s })
}

/// What the twin would have measured for as long as the trace, with nothing but what it knows.
pub fn generate(parameters: &Parameters, samples: usize, seed: u64) -> Trace {
    let Parameters { step_s, memory, coupling, .. } = *parameters;
    let mut random = Random::new(seed, u64::MAX);
    let mut shared = Weather::new(&mut random);
    let mut sites: Vec<_> =
        (0..parameters.sites.len()).map(|at| Site::new(Random::new(seed, at as u64))).collect();
    let every = (LOAD_S / step_s).max(1) as usize;
    let mut made = vec![Vec::with_capacity(samples); sites.len()];
    for at in 0..samples {
        if at.is_multiple_of(every) {
            shared.go(&memory, &mut random);
        }
        for ((site, model), made) in sites.iter_mut().zip(&parameters.sites).zip(&mut made) {
            if at.is_multiple_of(every) {
                site.load(model, &memory, coupling, &shared, 0.0);
            }
            made.push(site.step(model, 1.0, Push::default(), step_s));
        }
    }
    let named = parameters.sites.iter().zip(made);
    let sites = named.map(|(site, samples)| SiteTrace { name: site.name.clone(), samples });
    Trace { start_s: 0, step_s, sites: sites.collect() }
}

/// A figure of a trace beside that of its twin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// Of the trace, with how far the twin may be from it.
    #[serde(flatten)]
    pub trace: Statistic,
    /// Of the twin: the mean over all seeds.
    pub twin: f64,
    /// The lowest and the highest of one seed.
    pub range: (f64, f64),
    /// The twin is within the tolerance.
    pub met: bool,
}

/// Compares a trace with traces of its twin that are as long, one for each seed from 1.
pub fn likeness(trace: &Trace, parameters: &Parameters, seeds: u32) -> Vec<Likeness> {
    compared(trace, parameters, 1..u64::from(seeds.max(1)) + 1)
}

fn compared(trace: &Trace, parameters: &Parameters, seeds: std::ops::Range<u64>) -> Vec<Likeness> {
    let made =
        seeds.map(|seed| statistics(&generate(parameters, trace.len(), seed))).collect::<Vec<_>>();
    let beside = |(at, of): (usize, Statistic)| {
        let values = made.iter().map(|each| each[at].value).filter(|value| value.is_finite());
        let twin = mean(values.clone());
        let range = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        Likeness { met: (twin - of.value).abs() <= of.tolerance, trace: of, twin, range }
    };
    statistics(trace).into_iter().enumerate().map(beside).collect()
}

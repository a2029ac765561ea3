//! What measurements add to what queues say.
//!
//! The logarithm of a measured latency by the one that queues expect is explained by four parts: what
//! the load is like (a ridge regression of shares and waits: here neighbours show that cost more than
//! their share of the processors), the site (how slow its machines are), the service, and the
//! service at the site. Load and site are fitted within each service, so that a slow service does not
//! count as a slow site. Each part is pulled to nothing by as much as if some measurements more had
//! shown nothing; what was never seen is taken for the nearest that was.

use super::{
    observed::{Moment, Observed},
    queueing::{Work, expected_ms, waits},
};
use crate::{
    features::mean,
    model::{Design, quantile},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Figures of the load.
const FIGURES: usize = 4;
/// Sites whose speed is learned; the others count as usual.
const SITES_MAX: usize = 64;
/// Moments that are learned from, the last ones of each service at each site.
const MOMENTS_MAX: usize = 10_000;
/// With fewer moments of all services nothing is said about load and sites.
const MOMENTS_MIN: usize = 20;
/// So many moments have to say something before it is half believed.
const PENALTY: f64 = 10.0;
const DOUBT_SERVICE: f64 = 5.0;
const DOUBT_PAIR: f64 = 3.0;
/// Of a service at a site the last moments tell how it is now.
const LATELY: usize = 20;
/// No correction is larger, in logarithms: a hundred times.
const CORRECTION_MAX: f64 = 4.605;
/// Errors that are kept.
const ERRORS_MAX: usize = 256;
/// With fewer errors the usual spread stands for them.
const ERRORS_MIN: usize = 20;
/// The part of the moments that the rest is tried on.
const TRIED: f64 = 0.2;
/// Pairs that are left out in turn, to see what a site that a service never was at is good for.
const LEFT_OUT_MAX: usize = 8;

/// What was learned of services and sites.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    effects: Effects,
    /// Errors in logarithms, ascending: of services at sites where they were, and where not.
    seen: Vec<f64>,
    unseen: Vec<f64>,
    moments: u64,
}

/// The parts of a correction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Effects {
    weights: [f64; FIGURES],
    /// The least and the most of each figure that was seen.
    ranges: [(f64, f64); FIGURES],
    sites: BTreeMap<String, f64>,
    services: BTreeMap<String, Own>,
    pairs: BTreeMap<(String, String), f64>,
}

/// What a service is like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Own {
    work: Work,
    /// Its part of the correction.
    adds: f64,
}

/// One moment, ready to be fitted.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    service: &'a str,
    site: &'a str,
    at_s: i64,
    figures: [f64; FIGURES],
    /// The measured latency by the expected one, in logarithms.
    off: f64,
}

impl Learned {
    /// Learns from what was measured; moments that make no sense are left out.
    pub fn of(observed: &[Observed]) -> Self {
        let works = works(observed, |_, _| true);
        let rows = rows(observed, &works);
        if rows.is_empty() {
            return Self::default();
        }
        Self {
            seen: sorted(tried(observed, &rows)),
            unseen: sorted(left_out(observed, &rows)),
            effects: Effects::of(&rows, &works),
            moments: rows.len() as u64,
        }
    }

    /// Moments that it was learned from.
    pub fn moments(&self) -> u64 {
        self.moments
    }

    /// What a service does for a request; nothing if it never answered one.
    pub fn work(&self, service: &str) -> Option<Work> {
        self.effects.services.get(service).map(|own| own.work)
    }

    /// Whether the service was measured at the site.
    pub fn knows(&self, service: &str, site: &str) -> bool {
        self.effects.pairs.contains_key(&(service.to_owned(), site.to_owned()))
    }

    /// Whether anything is known of how load and sites work beyond what queues say.
    pub fn knows_anything(&self) -> bool {
        self.moments as usize >= MOMENTS_MIN
    }

    /// By what the expected latency is multiplied at this load; with `usual_site` for a site that
    /// is as all are.
    pub(super) fn factor(
        &self,
        (service, site): (&str, &str),
        (work, rate, processors, others): (&Work, f64, f64, f64),
        usual_site: bool,
    ) -> f64 {
        let effects = &self.effects;
        let mut sum = effects.load(&figures(work, rate, processors, others));
        sum += effects.services.get(service).map_or(0.0, |own| own.adds);
        if !usual_site {
            sum += effects.sites.get(site).copied().unwrap_or(0.0);
            let pair = (service.to_owned(), site.to_owned());
            sum += effects.pairs.get(&pair).copied().unwrap_or(0.0);
        }
        sum.clamp(-CORRECTION_MAX, CORRECTION_MAX).exp()
    }

    /// Errors in logarithms, ascending; nothing if too few are known.
    pub(super) fn errors(&self, knows: bool) -> Option<&[f64]> {
        let errors = if knows { &self.seen } else { &self.unseen };
        (errors.len() >= ERRORS_MIN).then_some(errors)
    }

    /// Whether it can be asked: what was read from a file is looked at first.
    pub fn is_sound(&self) -> bool {
        let effects = &self.effects;
        let ranges = effects.ranges.iter().flat_map(|(low, high)| [low, high]);
        let works = effects.services.values();
        let works = works.flat_map(|own| [&own.work.work_ms, &own.work.fixed_ms, &own.adds]);
        let numbers = ranges.chain(&effects.weights).chain(works);
        let errors = self.seen.iter().chain(&self.unseen);
        let numbers = numbers.chain(effects.sites.values()).chain(effects.pairs.values());
        self.seen.len().max(self.unseen.len()) <= ERRORS_MAX
            && effects.ranges.iter().all(|(low, high)| low <= high)
            && self.seen.is_sorted()
            && self.unseen.is_sorted()
            && effects.services.values().all(|own| own.work.work_ms > 0.0)
            && numbers.chain(errors).all(|x| x.is_finite())
    }
}

impl Effects {
    fn of(rows: &[Row], works: &BTreeMap<&str, Work>) -> Self {
        let mut effects = Self::default();
        for (service, work) in works {
            let own = Own { work: *work, adds: 0.0 };
            effects.services.insert((*service).to_owned(), own);
        }
        if rows.len() >= MOMENTS_MIN {
            effects.fit(rows);
        }
        let mut left: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for row in rows {
            left.entry(row.service).or_default().push(row.off - effects.of_row(row));
        }
        for (service, rest) in left {
            if let Some(own) = effects.services.get_mut(service) {
                own.adds = believed(&rest, DOUBT_SERVICE);
            }
        }
        effects.pairs(rows);
        effects
    }

    /// Fits load and sites within each service.
    fn fit(&mut self, rows: &[Row]) {
        let mut sites: Vec<&str> = rows.iter().map(|row| row.site).collect();
        sites.sort_unstable();
        sites.dedup();
        sites.truncate(SITES_MAX);
        for (at, range) in self.ranges.iter_mut().enumerate() {
            let each = || rows.iter().map(|row| row.figures[at]);
            *range = (each().fold(f64::MAX, f64::min), each().fold(f64::MIN, f64::max));
        }
        let wide = |row: &Row| -> Vec<f64> {
            let here = sites.iter().map(|site| f64::from(u8::from(*site == row.site)));
            row.figures.iter().copied().chain(here).collect()
        };
        let mut table: Vec<Vec<f64>> = rows.iter().map(wide).collect();
        let mut offs: Vec<f64> = rows.iter().map(|row| row.off).collect();
        within_services(rows, &mut table, &mut offs);
        let Ok(ridge) = Design::new(&table).and_then(|design| design.fit(&offs, PENALTY)) else {
            return;
        };
        let (_, weights) = ridge.line();
        self.weights.copy_from_slice(&weights[..FIGURES]);
        let each = sites.iter().zip(&weights[FIGURES..]);
        self.sites = each.map(|(site, weight)| ((*site).to_owned(), *weight)).collect();
    }

    /// What is left of each service at each site lately.
    fn pairs(&mut self, rows: &[Row]) {
        let mut left: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for row in rows {
            let rest = row.off - self.of_row(row);
            left.entry((row.service, row.site)).or_default().push(rest);
        }
        for ((service, site), rest) in left {
            let lately = &rest[rest.len().saturating_sub(LATELY)..];
            let pair = (service.to_owned(), site.to_owned());
            self.pairs.insert(pair, believed(lately, DOUBT_PAIR));
        }
    }

    fn load(&self, figures: &[f64; FIGURES]) -> f64 {
        let each = figures.iter().zip(self.weights.iter().zip(&self.ranges));
        each.map(|(x, (weight, (low, high)))| x.max(*low).min(*high) * weight).sum()
    }

    fn of_row(&self, row: &Row) -> f64 {
        let pair = (row.service.to_owned(), row.site.to_owned());
        self.load(&row.figures)
            + self.sites.get(row.site).copied().unwrap_or(0.0)
            + self.services.get(row.service).map_or(0.0, |own| own.adds)
            + self.pairs.get(&pair).copied().unwrap_or(0.0)
    }

    fn knows(&self, row: &Row) -> bool {
        self.pairs.contains_key(&(row.service.to_owned(), row.site.to_owned()))
    }
}

/// What the load is like: shares of the processors, and the waits that queues expect of them.
fn figures(work: &Work, rate: f64, processors: f64, others: f64) -> [f64; FIGURES] {
    let waits = waits(work, rate, processors, others);
    let share = |used: f64| if used.is_finite() { used / processors.max(0.001) } else { 0.0 };
    [
        share(others),
        share(rate * work.work_ms / 1000.0),
        waits.stretch.max(1e-6).ln(),
        waits.turn.max(0.0).ln_1p(),
    ]
}

/// What requests of each service take: its processor time by its answers, and of the quickest
/// answers what that does not explain. Only of the moments that are kept.
fn works(observed: &[Observed], keep: impl Fn(&Observed, &Moment) -> bool) -> BTreeMap<&str, Work> {
    let mut services: BTreeMap<&str, Vec<(f64, &Moment)>> = BTreeMap::new();
    for pair in observed {
        let kept = |moment: &&Moment| moment.is_sound() && keep(pair, moment);
        let sound = pair.moments.iter().filter(kept);
        let own = services.entry(&pair.service).or_default();
        own.extend(sound.map(|moment| (pair.processors, moment)));
    }
    services.retain(|_, moments| !moments.is_empty());
    let work = |moments: &[(f64, &Moment)]| {
        let sum = |of: fn(&Moment) -> f64| moments.iter().map(|(_, one)| of(one)).sum::<f64>();
        let work_ms = (1000.0 * sum(|one| one.own) / sum(|one| one.rate)).max(0.01);
        let bare = Work { work_ms, fixed_ms: 0.0 };
        let besides = moments.iter().map(|(processors, one)| {
            one.latency_ms - expected_ms(&bare, one.rate, *processors, one.others)
        });
        let mut besides: Vec<f64> = besides.collect();
        besides.sort_by(f64::total_cmp);
        Work { work_ms, fixed_ms: quantile(&besides, 0.1).max(0.0) }
    };
    services.into_iter().map(|(service, moments)| (service, work(&moments))).collect()
}

/// The rows of all services in the order of time.
fn rows<'a>(observed: &'a [Observed], works: &BTreeMap<&str, Work>) -> Vec<Row<'a>> {
    let each = MOMENTS_MAX / observed.len().max(1);
    let mut rows = Vec::new();
    for pair in observed {
        let Some(work) = works.get(pair.service.as_str()) else { continue };
        let last = &pair.moments[pair.moments.len().saturating_sub(each)..];
        let row = |moment: &Moment| {
            let Moment { rate, others, latency_ms, at_s, .. } = *moment;
            let expected = expected_ms(work, rate, pair.processors, others);
            let figures = figures(work, rate, pair.processors, others);
            let off = (latency_ms / expected).ln();
            Row { service: &pair.service, site: &pair.site, at_s, figures, off }
        };
        rows.extend(last.iter().filter(|moment| moment.is_sound()).map(row));
    }
    rows.sort_by_key(|row| row.at_s);
    rows
}

/// Errors on the last part, of what was learned before it: also what requests take is of before.
fn tried(observed: &[Observed], rows: &[Row]) -> Vec<f64> {
    let at = (rows.len() as f64 * (1.0 - TRIED)) as usize;
    let Some(from_s) = rows.get(at).map(|row| row.at_s) else { return Vec::new() };
    let works = works(observed, |_, moment| moment.at_s < from_s);
    let rows = self::rows(observed, &works);
    let (learn, tried) = rows.split_at(rows.partition_point(|row| row.at_s < from_s));
    let past = Effects::of(learn, &works);
    let known = tried.iter().filter(|row| past.knows(row));
    known.map(|row| row.off - past.of_row(row)).collect()
}

/// Errors at sites that services were never at: each service that was at several is forgotten at
/// one of them in turn, and with it what its requests took there.
fn left_out(observed: &[Observed], rows: &[Row]) -> Vec<f64> {
    let mut pairs: Vec<(&str, &str)> = rows.iter().map(|row| (row.service, row.site)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let several = |service: &str| pairs.iter().filter(|pair| pair.0 == service).count() > 1;
    let mut errors = Vec::new();
    for pair in pairs.iter().filter(|pair| several(pair.0)).take(LEFT_OUT_MAX) {
        let elsewhere =
            |one: &Observed, _: &Moment| (one.service.as_str(), one.site.as_str()) != *pair;
        let works = works(observed, elsewhere);
        let rows = self::rows(observed, &works);
        let there = |row: &&Row| (row.service, row.site) == *pair;
        let others: Vec<Row> = rows.iter().filter(|row| !there(row)).copied().collect();
        let effects = Effects::of(&others, &works);
        errors.extend(rows.iter().filter(there).map(|row| row.off - effects.of_row(row)));
    }
    errors
}

/// Takes from each row and truth the mean of its service.
fn within_services(rows: &[Row], table: &mut [Vec<f64>], offs: &mut [f64]) {
    let mut services: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        services.entry(row.service).or_default().push(at);
    }
    for own in services.values() {
        let middle = mean(own.iter().map(|&at| offs[at]));
        own.iter().for_each(|&at| offs[at] -= middle);
        for figure in 0..table.first().map_or(0, Vec::len) {
            let middle = mean(own.iter().map(|&at| table[at][figure]));
            own.iter().for_each(|&at| table[at][figure] -= middle);
        }
    }
}

/// The mean, pulled to nothing as if `doubt` more had been nothing.
fn believed(values: &[f64], doubt: f64) -> f64 {
    values.iter().sum::<f64>() / (values.len() as f64 + doubt)
}

/// Ascending; of more than are kept, evenly chosen ones.
fn sorted(mut errors: Vec<f64>) -> Vec<f64> {
    errors.retain(|error| error.is_finite());
    errors.sort_by(f64::total_cmp);
    let count = errors.len();
    match count > ERRORS_MAX {
        true => (0..ERRORS_MAX).map(|at| errors[at * (count - 1) / (ERRORS_MAX - 1)]).collect(),
        false => errors,
    }
}

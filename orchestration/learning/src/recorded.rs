//! What was measured of a service while it ran: a trace, and when each site had the service.
//!
//! In a trace a sample without a latency says that nobody was answered. Of a site that does not have the service it
//! says nothing, and nothing can be learned from it.

use crate::{Error, Result, Sample, SiteTrace, Trace, features::mean};
use std::{collections::BTreeMap, ops::Range};

/// Of so many steps one may be missing: a control plane that starts again hears nothing for a moment.
const HOLES: usize = 10;
/// Fifteen days of 5 s steps, and some.
const SAMPLES_MAX: u64 = 400_000;
/// A service visits few sites.
const SITES_MAX: usize = 64;

/// What was measured at a site, by Unix time in seconds.
pub type Measurements = BTreeMap<i64, Sample>;

/// A trace with the times at which there was something to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What was measured.
    pub trace: Trace,
    /// By site and sample, whether the site had the service.
    held: Vec<Vec<bool>>,
}

impl Recorded {
    /// Puts the measurements of sites onto a grid; a site has the service where it has a measurement, also one that
    /// says that nobody was answered.
    ///
    /// # Errors
    /// No measurement, too many sites, or too long a time.
    pub fn new(step_s: u32, sites: BTreeMap<String, Measurements>) -> Result<Self> {
        let times = || sites.values().flat_map(|site| site.keys().copied());
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Err(Error::Unfit("nothing was measured of it".into()));
        };
        if sites.len() > SITES_MAX {
            let what = format!("telemetry of {} sites", sites.len());
            return Err(Error::TooMuch { what, limit: SITES_MAX as u64 });
        }
        let step = i64::from(step_s.max(1));
        let start_s = first.div_euclid(step) * step;
        let length = last.abs_diff(start_s) / step.unsigned_abs() + 1;
        if length > SAMPLES_MAX {
            let what = format!("telemetry of {length} steps");
            return Err(Error::TooMuch { what, limit: SAMPLES_MAX });
        }
        let (mut each, mut held) = (Vec::new(), Vec::new());
        for (name, measured) in sites {
            let mut samples = vec![Sample::default(); length as usize];
            let mut there = vec![false; length as usize];
            for (time_s, sample) in measured {
                let at = (time_s.abs_diff(start_s) / step.unsigned_abs()) as usize;
                (samples[at], there[at]) = (sample, true);
            }
            each.push(SiteTrace { name, samples });
            held.push(there);
        }
        Ok(Self { trace: Trace { start_s, step_s: step_s.max(1), sites: each }, held })
    }

    /// The same in longer steps: means of what was answered.
    ///
    /// # Errors
    /// Steps that its own do not fit into.
    pub fn in_steps(&self, step_s: u32) -> Result<Self> {
        let own = self.trace.step_s;
        if step_s == own {
            return Ok(self.clone());
        }
        if step_s == 0 || !step_s.is_multiple_of(own) {
            let text = format!(
                "the model is of samples {step_s} s apart, and services are measured every {own} s: train one of a \
                 multiple of that"
            );
            return Err(Error::Unfit(text));
        }
        let each = (step_s / own) as usize;
        // Steps begin where they would if more were known.
        let step = i64::from(step_s);
        let late = (step - self.trace.start_s.rem_euclid(step)) % step;
        let skipped = (late.unsigned_abs() / u64::from(own)) as usize;
        let start_s = self.trace.start_s + late;
        let one = |some: &[Sample]| {
            let of = |value: f64| Some(value).filter(|value| value.is_finite());
            Sample {
                latency_ms: of(mean(some.iter().filter_map(|sample| sample.latency_ms))),
                cpu: of(mean(some.iter().filter_map(|sample| sample.cpu))),
                requests: of(mean(some.iter().filter_map(|sample| sample.requests))),
            }
        };
        let site = |site: &SiteTrace| SiteTrace {
            name: site.name.clone(),
            samples: site.samples[skipped.min(site.samples.len())..]
                .chunks_exact(each)
                .map(one)
                .collect(),
        };
        let most = |there: &[bool]| 2 * there.iter().filter(|there| **there).count() > there.len();
        let held = self
            .held
            .iter()
            .map(|site| site[skipped.min(site.len())..].chunks_exact(each).map(most).collect());
        let sites = self.trace.sites.iter().map(site).collect();
        Ok(Self { trace: Trace { start_s, step_s, sites }, held: held.collect() })
    }

    /// Whether a site had the service in a stretch of samples, but for a moment.
    pub fn held(&self, site: usize, span: Range<usize>) -> bool {
        let Some(there) = self.held.get(site).and_then(|there| there.get(span)) else {
            return false;
        };
        let missing = there.iter().filter(|there| !**there).count();
        !there.is_empty() && missing <= there.len() / HOLES
    }

    /// The same for a model that sees two places at a time, or one: of more sites than that, those that had the
    /// service longest.
    ///
    /// # Errors
    /// Only one site had the service, and the model sees two.
    pub fn seen_in_pairs(mut self, pair: bool) -> Result<Self> {
        let count = match (pair, self.trace.sites.len()) {
            (true, 2) => return Ok(self),
            (true, 0 | 1) => {
                let text =
                    "the model sees two sites at a time, and the service was measured at one alone";
                return Err(Error::Unfit(text.into()));
            }
            (true, _) => 2,
            // A trace of two sites would be taken for a pair.
            (false, 2) => 1,
            (false, _) => return Ok(self),
        };
        let mut order: Vec<usize> = (0..self.held.len()).collect();
        let time = |site: &usize| self.held[*site].iter().filter(|there| **there).count();
        order.sort_by_key(|site| std::cmp::Reverse(time(site)));
        let kept = &order[..count];
        let mut at = 0..order.len();
        self.trace.sites.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
        let mut at = 0..order.len();
        self.held.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(latency_ms: f64) -> Sample {
        Sample { latency_ms: Some(latency_ms), ..Sample::default() }
    }

    #[test]
    fn a_site_has_the_service_where_something_was_measured() {
        let edge: Measurements = (0..20).map(|at| (1000 + 5 * at, sample(at as f64))).collect();
        let stalled = (20..40).map(|at| (1000 + 5 * at, Sample::default()));
        let cloud: Measurements = stalled.collect();
        let sites = BTreeMap::from([("edge".to_owned(), edge), ("cloud".to_owned(), cloud)]);

        let recorded = Recorded::new(5, sites).unwrap();
        let longer = recorded.in_steps(10).unwrap();

        assert_eq!((recorded.trace.len(), longer.trace.len()), (40, 20));
        let [cloud, edge] = [0, 1];
        assert!(recorded.held(edge, 0..20) && !recorded.held(edge, 10..30));
        assert!(recorded.held(cloud, 20..40) && !recorded.held(cloud, 0..5));
        assert_eq!(longer.trace.sites[edge].samples[1].latency_ms, Some(2.5));
        assert!(longer.held(edge, 0..10) && !longer.held(edge, 0..12));
        assert!(recorded.in_steps(7).is_err() && recorded.in_steps(0).is_err());
        assert!(Recorded::new(5, BTreeMap::new()).is_err());
    }

    #[test]
    fn a_model_of_one_place_gets_the_site_that_had_the_service_longest() {
        let measured = |count: i64| (0..count).map(|at| (5 * at, sample(1.0))).collect();
        let three = |names: &[(&str, i64)]| {
            let sites = names.iter().map(|(name, count)| ((*name).to_owned(), measured(*count)));
            Recorded::new(5, sites.collect()).unwrap()
        };
        let names = |recorded: Recorded| -> Vec<String> {
            recorded.trace.sites.into_iter().map(|site| site.name).collect()
        };

        let two = three(&[("a", 3), ("b", 9)]);
        assert_eq!(names(two.clone().seen_in_pairs(false).unwrap()), ["b"]);
        assert_eq!(names(two.seen_in_pairs(true).unwrap()), ["a", "b"]);
        let all = three(&[("a", 7), ("b", 2), ("c", 9)]);
        assert_eq!(names(all.clone().seen_in_pairs(true).unwrap()), ["a", "c"]);
        assert_eq!(names(all.seen_in_pairs(false).unwrap()), ["a", "b", "c"]);
        assert!(three(&[("a", 7)]).seen_in_pairs(true).is_err());
    }
}

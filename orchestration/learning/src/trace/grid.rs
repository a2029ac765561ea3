//! Measurements at any time, put onto one grid.

use super::{Sample, SiteTrace, Trace};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// More than a year of 5 s steps.
const SAMPLES_MAX: u64 = 8_000_000;
/// Of all sites together: each has a sample for each step, whether or not it was measured.
const PLACES_MAX: u64 = 4 * SAMPLES_MAX;
/// The two-site rules need two; a mistaken column must not make a site of each line.
const SITES_MAX: u64 = 1_000;

/// Collects rows in any order; a later one replaces an earlier one of the same moment.
#[derive(Debug, Default)]
pub(super) struct Grid {
    sites: BTreeMap<String, BTreeMap<i64, Sample>>,
    cells: u64,
}

impl Grid {
    /// The sample of a site at a time, to be filled in.
    pub(super) fn cell(&mut self, site: &str, time_s: i64) -> Result<&mut Sample> {
        if !self.sites.contains_key(site) {
            if self.sites.len() as u64 >= SITES_MAX {
                return Err(Error::TooMuch {
                    what: "the number of sites".into(),
                    limit: SITES_MAX,
                });
            }
            self.sites.insert(site.to_owned(), BTreeMap::new());
        }
        self.cells += 1;
        if self.cells > 4 * SAMPLES_MAX {
            let what = "the number of measurements".into();
            return Err(Error::TooMuch { what, limit: 4 * SAMPLES_MAX });
        }
        let site = self.sites.get_mut(site).expect("it was put in above");
        Ok(site.entry(time_s).or_default())
    }

    /// The trace with this step, with holes where nothing was measured. The processors in use are
    /// measured more rarely than latencies: the last value holds until the next.
    pub(super) fn trace(self, step_s: u32) -> Result<Trace> {
        let times = || self.sites.values().flat_map(|site| site.keys().copied());
        let (Some(start_s), Some(end_s)) = (times().min(), times().max()) else {
            return Err(Error::Unfit("the trace has no measurements".into()));
        };
        let length = end_s.abs_diff(start_s) / u64::from(step_s) + 1;
        if length > SAMPLES_MAX {
            let what = format!("a trace of {length} steps");
            return Err(Error::TooMuch { what, limit: SAMPLES_MAX });
        }
        let places = length * self.sites.len() as u64;
        if places > PLACES_MAX {
            let what = format!("{length} steps at {} sites, {places} samples", self.sites.len());
            return Err(Error::TooMuch { what, limit: PLACES_MAX });
        }
        let place = |time_s: i64| (time_s.abs_diff(start_s) / u64::from(step_s)) as usize;
        let sites = self.sites.into_iter().map(|(name, cells)| {
            let mut samples = vec![Sample::default(); length as usize];
            for (time_s, sample) in cells {
                let kept = &mut samples[place(time_s)];
                kept.latency_ms = sample.latency_ms.or(kept.latency_ms);
                kept.cpu = sample.cpu.or(kept.cpu);
                kept.requests = sample.requests.or(kept.requests);
            }
            hold_cpu(&mut samples);
            SiteTrace { name, samples }
        });
        let sites = sites.collect();
        Ok(Trace { start_s, step_s, sites })
    }
}

fn hold_cpu(samples: &mut [Sample]) {
    let mut last = None;
    for sample in samples {
        last = sample.cpu.or(last);
        sample.cpu = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_measurements_far_apart_at_many_sites_take_no_memory() {
        let mut grid = Grid::default();
        for site in 0..1_000 {
            grid.cell(&format!("s{site}"), 5 * site).unwrap();
        }
        grid.cell("s0", 5 * 7_999_999).unwrap();

        let refused = grid.trace(5).unwrap_err().to_string();

        assert!(refused.contains("8000000 steps at 1000 sites"), "{refused}");
    }
}

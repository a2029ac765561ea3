//! What the twin knows of the sites that it stands for.

use crate::{Error, Result, document};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// More sites in one file stand for no testbed.
const SITES_MAX: usize = 1_000;
/// The normal scores at which the processors in use are given, and how far they are apart.
pub(super) const SCORES: (f64, f64, usize) = (-3.0, 0.25, 25);
/// Quantiles of the time without a queue: each hundredth.
pub(super) const QUANTILES: usize = 101;

/// What was learned from a trace: see [`super::calibrate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Parameters {
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// How long load stays as it is.
    pub memory: Memory,
    /// How much of the variance of load all sites have in common, 0 to 1.
    pub coupling: f64,
    /// Each site.
    pub sites: Vec<SiteParameters>,
}

/// Load is the sum of two processes that forget exponentially; waits have a third.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Memory {
    /// Seconds in which the fast one forgets.
    pub short_s: f64,
    /// Seconds in which the slow one forgets.
    pub long_s: f64,
    /// The share of the variance that is the slow one's.
    pub long_share: f64,
    /// Seconds in which it is forgotten by how much waits are longer than usual at their load.
    pub crowding_s: f64,
}

/// One site with a reference stream on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SiteParameters {
    /// The site's name in the trace.
    pub name: String,
    /// Processors in use where the normal score of load is -3, -2.75 and so on up to 3.
    pub cpu_at_score: Vec<f64>,
    /// Processors.
    pub capacity: f64,
    /// How many parts of work are done at once.
    pub servers: u32,
    /// By which the queue's formula is multiplied, in milliseconds: about a part's work.
    pub wait_ms: f64,
    /// The share of the processors that is in use in the quiet times, when `service_ms` was measured.
    pub quiet_use: f64,
    /// A frame's latency in quiet times: its quantiles by hundredths.
    pub service_ms: Vec<f64>,
    /// Times in an hour that nothing is answered for a while.
    pub stalls_per_hour: f64,
    /// How long that takes on average, in seconds.
    pub stall_s: f64,
}

impl Default for Parameters {
    /// The testbed's, as `cloudskin twin calibrate` found them in its 22 hours.
    fn default() -> Self {
        serde_saphyr::from_str(include_str!("testbed.yaml"))
            .expect("the file is part of the program, and a test reads it")
    }
}

impl Parameters {
    /// Reads a file that `twin calibrate` wrote.
    ///
    /// # Errors
    /// A file that cannot be read, names that are not known, and numbers that stand for no site.
    pub fn read(path: &Path) -> Result<Self> {
        document::read(path, |read: Self| read.check().map(|()| read))
    }

    /// As [`Parameters::read`] takes it.
    ///
    /// # Errors
    /// None that could come of numbers; it is the writer's.
    pub fn yaml(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|error| Error::Unfit(error.to_string()))
    }

    fn check(&self) -> std::result::Result<(), String> {
        let Memory { short_s, long_s, long_share, crowding_s } = self.memory;
        if !(1..=3600).contains(&self.step_s) {
            return Err("stepS is a number of seconds from 1 to 3600".into());
        }
        if ![short_s, long_s, crowding_s].iter().all(|memory_s| (1.0..=1e7).contains(memory_s)) {
            return Err("shortS, longS and crowdingS are seconds, at least 1".into());
        }
        if ![long_share, self.coupling].iter().all(|share| (0.0..=1.0).contains(share)) {
            return Err("longShare and coupling are shares from 0 to 1".into());
        }
        if self.sites.is_empty() || self.sites.len() > SITES_MAX {
            return Err(format!("give from 1 to {SITES_MAX} sites"));
        }
        self.sites.iter().try_for_each(SiteParameters::check)
    }
}

impl SiteParameters {
    fn check(&self) -> std::result::Result<(), String> {
        let say = |what: &str| Err(format!("site `{}`: {what}", self.name));
        let rising = |values: &[f64], most: f64| {
            values.iter().all(|value| (0.0..=most).contains(value))
                && values.windows(2).all(|pair| pair[0] <= pair[1])
        };
        if self.cpu_at_score.len() != SCORES.2 || !rising(&self.cpu_at_score, 1e6) {
            return say("cpuAtScore has 25 numbers that do not fall");
        }
        if self.service_ms.len() != QUANTILES || !rising(&self.service_ms, 1e6) {
            return say("serviceMs has 101 numbers that do not fall");
        }
        if !(0.01..=1e6).contains(&self.capacity) || !(1..=10_000).contains(&self.servers) {
            return say("capacity is above 0 and servers are from 1 to 10000");
        }
        if !(0.0..=1e6).contains(&self.wait_ms) || !(0.0..1.0).contains(&self.quiet_use) {
            return say("waitMs is not negative and quietUse a share below 1");
        }
        if !(0.0..=3600.0).contains(&self.stalls_per_hour)
            || !(0.0..=86_400.0).contains(&self.stall_s)
        {
            return say("stallsPerHour is at most 3600, and stallS at most a day");
        }
        Ok(())
    }

    /// Processors in use at a normal score; beyond the table it goes on as at its end.
    pub(super) fn cpu(&self, score: f64) -> f64 {
        let (first, apart, count) = SCORES;
        let place = (score - first) / apart;
        let at = place.clamp(0.0, (count - 2) as f64) as usize;
        let (low, high) = (self.cpu_at_score[at], self.cpu_at_score[at + 1]);
        (low + (high - low) * (place - at as f64)).max(0.0)
    }

    /// A frame's latency without a queue.
    pub(super) fn service_ms(&self, share: f64) -> f64 {
        let place = share * (QUANTILES - 1) as f64;
        let at = (place as usize).min(QUANTILES - 2);
        let (low, high) = (self.service_ms[at], self.service_ms[at + 1]);
        low + (high - low) * (place - at as f64)
    }
}

//! What a model may see of a site: figures of its last hour.
//!
//! A figure is made of the samples up to a moment, which are all that is given: what comes later
//! cannot leak into it.

use crate::{Past, Sample};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One figure of a site's past; times are in seconds, latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The mean latency of the last seconds.
    LatencyMean {
        /// How many.
        last_s: u32,
    },
    /// The highest latency of the last seconds.
    LatencyMax {
        /// How many.
        last_s: u32,
    },
    /// The share of samples above a latency, those without an answer among them.
    ShareAbove {
        /// Which latency.
        ms: f64,
        /// Of how many seconds.
        last_s: u32,
    },
    /// The seconds since a sample was above a latency, at most an hour.
    SinceAbove {
        /// Which latency.
        ms: f64,
    },
    /// The seconds since samples went above a latency after they had been below it for two
    /// minutes, at most an hour.
    SinceBurst {
        /// Which latency.
        ms: f64,
    },
    /// The share of samples without an answer.
    ShareStalled {
        /// Of how many seconds.
        last_s: u32,
    },
    /// The mean of the processors in use.
    CpuMean {
        /// Of how many seconds.
        last_s: u32,
    },
    /// The most processors in use.
    CpuMax {
        /// Of how many seconds.
        last_s: u32,
    },
    /// The mean of the requests each second.
    RequestsMean {
        /// Of how many seconds.
        last_s: u32,
    },
    /// The most requests each second.
    RequestsMax {
        /// Of how many seconds.
        last_s: u32,
    },
}

impl Feature {
    /// How many seconds it looks back.
    pub(crate) fn looks_back_s(self) -> u32 {
        match self {
            Self::LatencyMean { last_s }
            | Self::LatencyMax { last_s }
            | Self::ShareAbove { last_s, .. }
            | Self::ShareStalled { last_s }
            | Self::CpuMean { last_s }
            | Self::CpuMax { last_s }
            | Self::RequestsMean { last_s }
            | Self::RequestsMax { last_s } => last_s,
            Self::SinceAbove { .. } | Self::SinceBurst { .. } => PAST_S,
        }
    }
}

/// How far back features look.
pub const PAST_S: u32 = 3600;
/// Before a burst it was quiet for so long.
const QUIET_S: u32 = 120;

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatencyMean { last_s } => write!(f, "latency_mean_{last_s}s"),
            Self::LatencyMax { last_s } => write!(f, "latency_max_{last_s}s"),
            Self::ShareAbove { ms, last_s } => write!(f, "share_above_{ms}ms_{last_s}s"),
            Self::SinceAbove { ms } => write!(f, "since_above_{ms}ms"),
            Self::SinceBurst { ms } => write!(f, "since_burst_{ms}ms"),
            Self::ShareStalled { last_s } => write!(f, "share_stalled_{last_s}s"),
            Self::CpuMean { last_s } => write!(f, "cpu_mean_{last_s}s"),
            Self::CpuMax { last_s } => write!(f, "cpu_max_{last_s}s"),
            Self::RequestsMean { last_s } => write!(f, "requests_mean_{last_s}s"),
            Self::RequestsMax { last_s } => write!(f, "requests_max_{last_s}s"),
        }
    }
}

/// Which figures, of samples that are so many seconds apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// In the order in which they are given to models.
    pub each: Vec<Feature>,
}

impl Features {
    /// Those that tell a quiet site from one that is between two bursts: latencies, how much of
    /// them is high and since when, over windows from a sample to an hour.
    ///
    /// `levels_ms` are latencies that count as high.
    pub fn of_latency(step_s: u32, levels_ms: &[f64]) -> Self {
        let mut each = Vec::new();
        each.extend([1, 30, 60, 120, 300, 600, 1800].map(|last_s| Feature::LatencyMean { last_s }));
        each.extend([30, 300, 600, 1200].map(|last_s| Feature::LatencyMax { last_s }));
        for &ms in levels_ms {
            each.push(Feature::SinceAbove { ms });
            each.extend([60, 300, 1200, 3600].map(|last_s| Feature::ShareAbove { ms, last_s }));
        }
        each.extend(levels_ms.first().map(|&ms| Feature::SinceBurst { ms }));
        each.extend([30, 300].map(|last_s| Feature::CpuMean { last_s }));
        each.extend([300, 3600].map(|last_s| Feature::ShareStalled { last_s }));
        Self { step_s, each }
    }

    /// Those of [`Features::of_latency`], and the processors in use over more windows.
    pub fn of_cpu(step_s: u32, levels_ms: &[f64]) -> Self {
        let mut features = Self::of_latency(step_s, levels_ms);
        let means = [1, 60, 120, 600, 1800, 3600].map(|last_s| Feature::CpuMean { last_s });
        let most = [60, 300, 1200, 3600].map(|last_s| Feature::CpuMax { last_s });
        features.each.extend(means.into_iter().chain(most));
        features
    }

    /// Those that tell a load that rises from one that is high: what was asked over windows from a
    /// sample to an hour.
    pub fn of_requests(step_s: u32) -> Self {
        let means = [1, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
        let means = means.map(|last_s| Feature::RequestsMean { last_s });
        let most = [30, 120, 600, 3600].map(|last_s| Feature::RequestsMax { last_s });
        Self { step_s, each: means.into_iter().chain(most).collect() }
    }

    /// How many samples of the past matter.
    pub fn past(&self) -> usize {
        (PAST_S / self.step_s.max(1)) as usize + 1
    }

    /// The figures at the last of these samples; one that nothing was measured for is not a
    /// number.
    pub fn of(&self, past: &[Sample]) -> Vec<f64> {
        let past = &past[past.len().saturating_sub(self.past())..];
        self.each.iter().map(|feature| self.one(*feature, past)).collect()
    }

    /// The figures of a site and of the one that it is compared with.
    pub fn of_pair(&self, here: &[Sample], there: &[Sample]) -> Vec<f64> {
        let mut row = self.of(here);
        row.extend(self.of(there));
        row
    }

    /// The figures of a service's past, beside those of the other place if there is one.
    pub fn of_past(&self, past: &Past) -> Vec<f64> {
        match past.there {
            [] => self.of(past.here),
            there => self.of_pair(past.here, there),
        }
    }

    /// The names of a pair's figures.
    pub fn pair_names(&self) -> Vec<String> {
        let mut names = self.names("here");
        names.extend(self.names("there"));
        names
    }

    /// The names of a place's figures.
    pub fn names(&self, place: &str) -> Vec<String> {
        self.each.iter().map(|each| format!("{place}.{each}")).collect()
    }

    fn one(&self, feature: Feature, past: &[Sample]) -> f64 {
        let last = |seconds: u32| {
            let samples = (seconds / self.step_s.max(1)).max(1) as usize;
            &past[past.len().saturating_sub(samples)..]
        };
        match feature {
            Feature::LatencyMean { last_s } => {
                mean(last(last_s).iter().filter_map(|sample| sample.latency_ms))
            }
            Feature::LatencyMax { last_s } => {
                let latencies = last(last_s).iter().filter_map(|sample| sample.latency_ms);
                latencies.fold(f64::NAN, f64::max)
            }
            Feature::ShareAbove { ms, last_s } => {
                share(last(last_s).iter().map(|sample| sample.breaks(ms)))
            }
            Feature::ShareStalled { last_s } => share(last(last_s).iter().map(Sample::stalled)),
            Feature::CpuMean { last_s } => {
                mean(last(last_s).iter().filter_map(|sample| sample.cpu))
            }
            Feature::CpuMax { last_s } => {
                last(last_s).iter().filter_map(|sample| sample.cpu).fold(f64::NAN, f64::max)
            }
            Feature::RequestsMean { last_s } => {
                mean(last(last_s).iter().filter_map(|sample| sample.requests))
            }
            Feature::RequestsMax { last_s } => {
                let requests = last(last_s).iter().filter_map(|sample| sample.requests);
                requests.fold(f64::NAN, f64::max)
            }
            Feature::SinceAbove { ms } => {
                let last = past.iter().rposition(|sample| sample.breaks(ms));
                self.since(past, last)
            }
            Feature::SinceBurst { ms } => self.since(past, self.burst(past, ms)),
        }
    }

    fn since(&self, past: &[Sample], at: Option<usize>) -> f64 {
        let steps = at.map_or(usize::MAX, |at| past.len() - 1 - at);
        (steps as f64 * f64::from(self.step_s)).min(f64::from(PAST_S))
    }

    /// Where the last burst began.
    fn burst(&self, past: &[Sample], ms: f64) -> Option<usize> {
        let quiet = (QUIET_S / self.step_s.max(1)) as usize;
        let mut calm = quiet;
        let mut began = None;
        for (at, sample) in past.iter().enumerate() {
            if sample.breaks(ms) {
                if calm >= quiet {
                    began = Some(at);
                }
                calm = 0;
            } else {
                calm += 1;
            }
        }
        began
    }
}

/// Not a number if there is nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

fn share(values: impl Iterator<Item = bool>) -> f64 {
    mean(values.map(|value| f64::from(u8::from(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latencies: &[f64]) -> Vec<Sample> {
        let sample = |&ms: &f64| Sample {
            latency_ms: (ms > 0.0).then_some(ms),
            cpu: Some(2.0),
            ..Sample::default()
        };
        latencies.iter().map(sample).collect()
    }

    #[test]
    fn figures_of_a_short_past() {
        let features = Features {
            step_s: 5,
            each: vec![
                Feature::LatencyMean { last_s: 10 },
                Feature::LatencyMax { last_s: 60 },
                Feature::ShareAbove { ms: 100.0, last_s: 20 },
                Feature::SinceAbove { ms: 100.0 },
                Feature::SinceBurst { ms: 100.0 },
                Feature::ShareStalled { last_s: 20 },
                Feature::CpuMean { last_s: 30 },
            ],
        };

        let row = features.of(&samples(&[60.0, 120.0, 110.0, 0.0, 70.0, 80.0]));

        assert_eq!(row, [75.0, 120.0, 0.5, 10.0, 20.0, 0.25, 2.0]);
    }

    #[test]
    fn nothing_measured_is_not_a_number_and_never_a_zero() {
        let features = Features::of_latency(5, &[100.0]);

        let row = features.of(&[Sample::default(), Sample::default()]);

        assert!(row[0].is_nan() && row[7].is_nan());
        assert_eq!(features.pair_names().len(), 2 * row.len());
    }

    /// What is given at a moment is the past; so whatever comes after must not matter.
    #[test]
    fn the_future_does_not_leak_into_features() {
        let features = Features::of_latency(5, &[100.0, 120.0]);
        let calm: Vec<f64> = (0..900).map(|step| 60.0 + f64::from(step % 7)).collect();
        let mut wild = calm.clone();
        wild[800..].fill(500.0);
        let (calm, wild) = (samples(&calm), samples(&wild));

        assert_eq!(features.of(&calm[..800]), features.of(&wild[..800]));
        assert_ne!(features.of(&calm[..801]), features.of(&wild[..801]));
    }
}

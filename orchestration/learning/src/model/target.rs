//! What is predicted: a figure of the samples in a stretch ahead.

use crate::{Sample, features::mean};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A figure of a stretch of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The mean latency in milliseconds.
    Latency,
    /// The highest latency in milliseconds.
    LatencyMax,
    /// The mean of the processors in use.
    Cpu,
    /// The most processors in use.
    CpuMax,
    /// The share of samples above a latency in milliseconds, those without an answer among them.
    Broken(f64),
    /// The mean of the requests each second.
    Requests,
    /// The most requests each second.
    RequestsMax,
}

impl Target {
    /// The figure of these samples; not a number if nothing of it was measured.
    pub fn of(self, ahead: &[Sample]) -> f64 {
        match self {
            Self::Broken(ms) => mean(ahead.iter().map(|sample| share(sample.breaks(ms)))),
            _ => self.of_path(ahead.iter().filter_map(|sample| self.series(sample))),
        }
    }

    /// The figure of a path that is expected.
    pub(crate) fn of_path(self, path: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Latency | Self::Cpu | Self::Requests => mean(path),
            Self::LatencyMax | Self::CpuMax | Self::RequestsMax => path.fold(f64::NAN, f64::max),
            Self::Broken(ms) => mean(path.map(|latency| share(latency > ms))),
        }
    }

    /// What a sample says of the series whose path decides.
    pub(crate) fn series(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Cpu | Self::CpuMax => sample.cpu,
            Self::Requests | Self::RequestsMax => sample.requests,
            Self::Latency | Self::LatencyMax | Self::Broken(_) => sample.latency_ms,
        }
    }

    /// The sample with another value in that series.
    pub(crate) fn with_series(self, sample: Sample, value: f64) -> Sample {
        match self {
            Self::Cpu | Self::CpuMax => Sample { cpu: Some(value), ..sample },
            Self::Requests | Self::RequestsMax => Sample { requests: Some(value), ..sample },
            Self::Latency | Self::LatencyMax | Self::Broken(_) => {
                Sample { latency_ms: Some(value), ..sample }
            }
        }
    }

    /// The name of that series.
    pub(crate) fn series_name(self) -> &'static str {
        match self {
            Self::Cpu | Self::CpuMax => "cpu",
            Self::Requests | Self::RequestsMax => "requests",
            Self::Latency | Self::LatencyMax | Self::Broken(_) => "latency",
        }
    }

    /// Whether the figure of the expected path is what is expected of the figure: true of means
    /// alone, for the highest of what really comes lies above the highest of what is expected.
    pub(crate) fn is_linear(self) -> bool {
        matches!(self, Self::Latency | Self::Cpu | Self::Requests)
    }
}

fn share(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency => f.write_str("latency"),
            Self::LatencyMax => f.write_str("latency-max"),
            Self::Cpu => f.write_str("cpu"),
            Self::CpuMax => f.write_str("cpu-max"),
            Self::Requests => f.write_str("requests"),
            Self::RequestsMax => f.write_str("requests-max"),
            Self::Broken(ms) => write!(f, "broken:{ms}ms"),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(level) = text.strip_prefix("broken:") {
            let ms = level.strip_suffix("ms").and_then(|ms| ms.parse::<f64>().ok());
            let ms = ms.filter(|ms| *ms > 0.0 && ms.is_finite());
            return ms.map(Self::Broken).ok_or_else(|| {
                format!("`{level}` is no service level: write milliseconds, such as `broken:120ms`")
            });
        }
        match text {
            "latency" => Ok(Self::Latency),
            "latency-max" => Ok(Self::LatencyMax),
            "cpu" => Ok(Self::Cpu),
            "cpu-max" => Ok(Self::CpuMax),
            "requests" => Ok(Self::Requests),
            "requests-max" => Ok(Self::RequestsMax),
            _ => Err(format!(
                "`{text}` is no target: write latency, latency-max, cpu, cpu-max, requests, requests-max or broken:120ms"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_of_what_was_measured() {
        let sample = |latency_ms, cpu: Option<f64>| Sample {
            latency_ms,
            cpu,
            requests: cpu.map(|cpu| 8.0 * cpu),
        };
        let ahead = [sample(Some(60.0), Some(1.0)), sample(None, None), sample(Some(90.0), None)];
        let of = |text: &str| text.parse::<Target>().unwrap().of(&ahead);

        assert_eq!((of("latency"), of("latency-max")), (75.0, 90.0));
        assert_eq!((of("cpu"), of("cpu-max")), (1.0, 1.0));
        assert_eq!((of("requests"), of("requests-max")), (8.0, 8.0));
        // No answer breaks every level.
        assert!((of("broken:80ms") - 2.0 / 3.0).abs() < 1e-9);
        assert!(Target::Latency.of(&[Sample::default()]).is_nan());
        for wrong in ["", "p99", "broken:", "broken:0ms", "broken:inf", "broken:1s"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
        assert_eq!(Target::Broken(120.0).to_string().parse(), Ok(Target::Broken(120.0)));
    }
}

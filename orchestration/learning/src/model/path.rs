//! Models that look at one series and say how it goes on, minute by minute.
//!
//! All see the same thing: means of minutes up to the moment, the last of which ends there. A minute
//! in which nothing was measured is as the one before it.

mod winters;

use winters::Winters;

use super::{Target, examples::Examples};
use crate::{Past, Sample, forecast::Ahead};
use serde::{Deserialize, Serialize};

/// Seconds of a bucket.
pub(super) const BUCKET_S: u32 = 60;
/// Longer seasons would need more of the past than agents keep.
pub(super) const SEASON_MAX_S: u32 = 7 * 86_400;
/// The last seasons that a model looks at.
const SEASONS: usize = 3;
/// Half-lives that are tried, in minutes.
const HALF_LIVES: [f64; 7] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// How a series goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Path {
    /// As in the last minute.
    Naive,
    /// As a season ago.
    Seasonal {
        /// Minutes of a season.
        season: u32,
    },
    /// As the mean in which the weight of a minute halves with its age.
    Ewma {
        /// Minutes in which it halves.
        half_life: f64,
    },
    /// By level, damped trend and season.
    Winters(Winters),
}

impl Path {
    /// The half-life whose forecasts of the truths have the least squared error.
    pub(super) fn ewma(examples: &Examples, chosen: &[usize]) -> Self {
        let each = HALF_LIVES.map(|half_life| Self::Ewma { half_life });
        best(each.into_iter(), examples, chosen)
    }

    /// The weights of level, trend and season whose forecasts have.
    pub(super) fn winters(season_s: u32, examples: &Examples, chosen: &[usize]) -> Self {
        let season = season_s / BUCKET_S;
        best(Winters::grid(season).map(Self::Winters), examples, chosen)
    }

    /// Minutes of the past that matter.
    fn past(self) -> usize {
        match self {
            Self::Naive => 10,
            Self::Seasonal { season } => season as usize + 10,
            // After ten half-lives a minute weighs a thousandth.
            Self::Ewma { half_life } => (10.0 * half_life).ceil() as usize,
            Self::Winters(winters) => (SEASONS * winters.season as usize).max(60),
        }
    }

    /// The figure of a stretch ahead; not a number if nothing was measured.
    pub(super) fn value(self, past: &Past, target: Target, ahead: Ahead) -> f64 {
        let minutes = buckets(past.here, past.step_s, self.past(), target);
        if minutes.is_empty() {
            return f64::NAN;
        }
        let from = (ahead.0 / BUCKET_S) as usize;
        let to = (ahead.1.div_ceil(BUCKET_S) as usize).max(from + 1);
        target.of_path(self.go_on(&minutes, to).into_iter().skip(from))
    }

    /// The next minutes.
    fn go_on(self, minutes: &[f64], count: usize) -> Vec<f64> {
        let last = minutes[minutes.len() - 1];
        match self {
            Self::Naive => vec![last; count],
            Self::Seasonal { season } => (0..count)
                .map(|ahead| {
                    let back = season as usize - ahead % season.max(1) as usize;
                    // Before the first minute that is known nothing better is.
                    minutes.len().checked_sub(back).map_or(last, |at| minutes[at])
                })
                .collect(),
            Self::Ewma { half_life } => {
                let keep = 0.5_f64.powf(1.0 / half_life);
                let add =
                    |(sum, weight): (f64, f64), x: &f64| (sum * keep + x, weight * keep + 1.0);
                let (sum, weight) = minutes.iter().fold((0.0, 0.0), add);
                vec![sum / weight; count]
            }
            Self::Winters(winters) => winters.go_on(minutes, count),
        }
    }

    /// Whether it can be run: what came from outside is asked first.
    pub(super) fn is_sound(self) -> bool {
        let season = |season: u32| (1..=SEASON_MAX_S / BUCKET_S).contains(&season);
        match self {
            Self::Naive => true,
            Self::Seasonal { season: minutes } => season(minutes),
            Self::Ewma { half_life } => (0.01..=1e4).contains(&half_life),
            Self::Winters(winters) => season(winters.season) && winters.is_sound(),
        }
    }
}

/// The one with the least squared error; the first if none says anything.
fn best(each: impl Iterator<Item = Path>, examples: &Examples, chosen: &[usize]) -> Path {
    let (target, ahead) = (examples.question.target, examples.question.ahead);
    // Some hundred moments decide among so few as well as all.
    let every = chosen.len().div_ceil(500).max(1);
    let error = |path: Path| -> f64 {
        let off = chosen.iter().step_by(every).map(|&at| {
            let past = examples.past(examples.each[at]);
            (path.value(&past, target, ahead) - examples.truths[at]).powi(2)
        });
        off.filter(|off| off.is_finite()).sum()
    };
    let tried = each.map(|path| (error(path), path));
    let least = tried.min_by(|one, other| one.0.total_cmp(&other.0));
    least.map_or(Path::Naive, |(_, path)| path)
}

/// Means of the last minutes, of which the last ends with the samples; shorter where the past is.
pub(super) fn buckets(samples: &[Sample], step_s: u32, count: usize, target: Target) -> Vec<f64> {
    let size = (BUCKET_S / step_s.max(1)).max(1) as usize;
    let from = samples.len().saturating_sub(count.saturating_mul(size));
    // The first bucket is the one that may be short.
    let samples = &samples[from..];
    let (first, whole) = samples.split_at(samples.len() % size);
    let mut last = f64::NAN;
    let mut minutes = Vec::with_capacity(samples.len() / size + 1);
    for bucket in [first].into_iter().chain(whole.chunks(size)) {
        let (sum, measured) = bucket
            .iter()
            .filter_map(|sample| target.series(sample))
            .fold((0.0, 0_u32), |(sum, count), x| (sum + x, count + 1));
        if measured > 0 {
            last = sum / f64::from(measured);
        }
        if last.is_finite() {
            minutes.push(last);
        }
    }
    minutes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(values: impl Iterator<Item = f64>) -> Vec<Sample> {
        values.flat_map(|ms| [Sample { latency_ms: Some(ms), ..Sample::default() }; 12]).collect()
    }

    fn value(path: Path, samples: &[Sample], ahead: Ahead) -> f64 {
        let past = Past { now_s: 0, step_s: 5, here: samples, there: &[] };
        path.value(&past, Target::Latency, ahead)
    }

    #[test]
    fn each_goes_on_as_its_name_says() {
        let wave = |minute: u32| 70.0 + f64::from(minute % 10);
        let samples = minutes((0..60).map(wave));
        let of = |path: Path, ahead: Ahead| value(path, &samples, ahead);

        assert_eq!(of(Path::Naive, (0, 600)), 79.0);
        // Minutes 60 to 62 are 70, 71 and 72.
        assert_eq!(of(Path::Seasonal { season: 10 }, (0, 180)), 71.0);
        assert_eq!(of(Path::Seasonal { season: 10 }, (600, 660)), 70.0);
        let ewma = of(Path::Ewma { half_life: 60.0 }, (0, 60));
        assert!((74.0..75.5).contains(&ewma), "{ewma}");
    }

    #[test]
    fn what_was_not_measured_is_as_before_and_nothing_at_all_is_no_number() {
        let mut samples = minutes([60.0, 80.0].into_iter());
        samples.extend([Sample::default(); 30]);

        assert_eq!(value(Path::Naive, &samples, (0, 60)), 80.0);
        assert_eq!(value(Path::Seasonal { season: 60 }, &samples, (0, 60)), 80.0);
        assert!(value(Path::Naive, &samples[24..], (0, 60)).is_nan());
        assert!(value(Path::Naive, &[], (0, 60)).is_nan());
    }
}

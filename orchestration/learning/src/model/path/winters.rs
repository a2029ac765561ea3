//! Exponential smoothing with a damped trend and an additive season.
//!
//! Sources: P. R. Winters, "Forecasting Sales by Exponentially Weighted Moving Averages", Management
//! Science 6(3), 1960; E. S. Gardner and E. McKenzie, "Forecasting Trends in Time Series", Management
//! Science 31(10), 1985, for the damping.

use serde::{Deserialize, Serialize};

/// What is left of a trend a minute later: undamped ones run away within the horizon.
const DAMPING: f64 = 0.9;

/// How fast level, trend and season follow what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::model) struct Winters {
    /// Minutes of a season.
    pub(super) season: u32,
    /// The weight of a new value in the level.
    pub(super) level: f64,
    /// The weight of a change of the level in the trend.
    pub(super) trend: f64,
    /// The weight of a new value in the season.
    pub(super) seasonal: f64,
}

impl Winters {
    /// What is tried in training.
    pub(super) fn grid(season: u32) -> impl Iterator<Item = Self> {
        let levels = [0.02, 0.05, 0.2, 0.5];
        levels.into_iter().flat_map(move |level| {
            [0.0, 0.05].into_iter().flat_map(move |trend| {
                [0.0, 0.1, 0.3].map(|seasonal| Self { season, level, trend, seasonal })
            })
        })
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.level, self.trend, self.seasonal].iter().all(|weight| (0.0..=1.0).contains(weight))
    }

    /// The next minutes; without a whole season that is known, without a season.
    pub(super) fn go_on(&self, minutes: &[f64], count: usize) -> Vec<f64> {
        let season = (self.season as usize).max(1);
        let known = minutes.len() > season;
        let start = if known { season } else { 1 };
        let first = minutes[..start].iter().sum::<f64>() / start as f64;
        let mut seasonal: Vec<_> = match known {
            true => minutes[..season].iter().map(|x| x - first).collect(),
            false => vec![0.0; season],
        };
        let weight = if known { self.seasonal } else { 0.0 };
        let (mut level, mut trend) = (first, 0.0);
        for (at, x) in minutes.iter().enumerate().skip(start) {
            let usual = &mut seasonal[at % season];
            let expected = level + DAMPING * trend;
            let next = expected + self.level * (x - *usual - expected);
            trend = DAMPING * trend + self.trend * (next - level - DAMPING * trend);
            *usual += weight * (x - next - *usual);
            level = next;
        }
        let mut damped = 0.0;
        (0..count)
            .map(|ahead| {
                damped = DAMPING * (damped + 1.0);
                level + damped * trend + seasonal[(minutes.len() + ahead) % season]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_level_and_season_and_damps_the_trend() {
        let wave = |minute: usize| 100.0 + 10.0 * ((minute % 12) as f64 - 5.5);
        let minutes: Vec<_> = (0..120).map(wave).collect();
        let winters = Winters { season: 12, level: 0.2, trend: 0.05, seasonal: 0.3 };

        for (ahead, said) in winters.go_on(&minutes, 24).into_iter().enumerate() {
            assert!((said - wave(120 + ahead)).abs() < 1.0, "{ahead}: {said}");
        }
        // Rising by 1 a minute, with no season that is known: it goes on rising, by less and less.
        let rising: Vec<_> = (0..60).map(f64::from).collect();
        let long = Winters { season: 600, level: 0.5, trend: 0.3, ..winters };
        let said = long.go_on(&rising, 100);
        assert!(said[0] > 58.0 && said[1] - said[0] > said[20] - said[19], "{said:?}");
        assert!(said[99] < 75.0, "{}", said[99]);
    }
}

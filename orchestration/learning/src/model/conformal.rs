//! Intervals around a forecast that hold as often as they say, also when the world changes.
//!
//! Source: I. Gibbs and E. Candès, "Adaptive Conformal Inference Under Distribution Shift", NeurIPS
//! 2021: an interval is made of quantiles of recent errors, and the quantiles move a little
//! each time that the truth lies outside or inside. Each side moves by itself.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How far one miss moves a quantile.
const STEP: f64 = 0.01;
/// With fewer errors nothing is said.
const ERRORS_MIN: usize = 10;
/// No model remembers more.
const ERRORS_MAX: usize = 100_000;

/// Recent errors of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    errors: VecDeque<f64>,
    most: usize,
    /// The share that may lie below, and the one that may lie above.
    aim: f64,
    below: f64,
    above: f64,
}

impl Conformal {
    /// Intervals that hold for a share of all forecasts, from the last `most` errors.
    pub fn new(share: f64, most: usize) -> Self {
        let aim = (1.0 - share.clamp(0.01, 0.99)) / 2.0;
        Self { errors: VecDeque::new(), most: most.max(ERRORS_MIN), aim, below: aim, above: aim }
    }

    /// Whether it is one that was made here: what came from outside is asked first.
    pub(super) fn is_sound(&self) -> bool {
        (ERRORS_MIN..=ERRORS_MAX).contains(&self.most)
            && self.errors.len() <= self.most
            && self.errors.iter().all(|error| error.is_finite())
            && [self.aim, self.below, self.above].iter().all(|share| (0.0..=0.5).contains(share))
    }

    /// The interval around a forecast; nothing while too little is known. `spread` says how uncertain
    /// this one is by comparison with others: errors are counted in it.
    pub fn around(&self, forecast: f64, spread: f64) -> Option<(f64, f64)> {
        if self.errors.len() < ERRORS_MIN {
            return None;
        }
        let mut sorted: Vec<_> = self.errors.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let low = forecast + spread * quantile(&sorted, self.below);
        let high = forecast + spread * quantile(&sorted, 1.0 - self.above);
        Some((low.min(high), high.max(low)))
    }

    /// Learns what became of a forecast, with the interval that was said for it.
    pub fn learn(&mut self, forecast: f64, spread: f64, interval: Option<(f64, f64)>, truth: f64) {
        let error = (truth - forecast) / spread;
        if !error.is_finite() {
            return;
        }
        if let Some((low, high)) = interval {
            let missed = |missed: bool| f64::from(u8::from(missed));
            self.below = (self.below + STEP * (self.aim - missed(truth < low))).clamp(0.0, 0.5);
            self.above = (self.above + STEP * (self.aim - missed(truth > high))).clamp(0.0, 0.5);
        }
        while self.errors.len() >= self.most {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
    }
}

/// Between the two values that it lies between.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        /// Also when errors become three times as large in the middle.
        #[test]
        fn holds_as_often_as_it_says(seed in 1..u64::MAX) {
            let mut conformal = Conformal::new(0.8, 120);
            let (mut state, mut held, mut said) = (seed, 0, 0);
            for round in 0..4000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let noise = (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.3;
                let truth = noise * if round < 2000 { 1.0 } else { 3.0 };
                let interval = conformal.around(0.0, 1.0);
                if let Some((low, high)) = interval {
                    said += 1;
                    held += u32::from((low..=high).contains(&truth));
                }
                conformal.learn(0.0, 1.0, interval, truth);
            }
            let share = f64::from(held) / f64::from(said);
            prop_assert!((0.77..0.83).contains(&share), "{share}");
        }
    }
}

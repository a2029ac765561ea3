//! How good predictions were, by what came.

use super::quantile;
use serde::{Deserialize, Serialize};

/// A prediction that met its truth: what was said, its interval, and what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Met {
    /// What was said.
    pub value: f64,
    /// The interval of 80 %, once enough was known to give one.
    pub interval: Option<(f64, f64)>,
    /// What came.
    pub truth: f64,
}

/// Figures of many predictions; those that cannot be told are absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// How many predictions.
    pub moments: u64,
    /// The mean of how far they were off.
    pub mae: f64,
    /// The root of the mean square of that.
    pub rmse: f64,
    /// The mean of that by the truth, of truths that are not 0.
    pub mape: Option<f64>,
    /// The share of the truths' variance that is explained.
    pub r2: Option<f64>,
    /// The mean pinball loss of the intervals' ends, quantiles 0.1 and 0.9.
    pub pinball: Option<f64>,
    /// The share of truths within their intervals of 80 %.
    pub coverage80: Option<f64>,
    /// How wide these were, on average.
    pub width80: Option<f64>,
    /// The area under the curve of alarms: how often, of two moments, the one that will be above
    /// the level is said to be higher.
    pub auc: Option<f64>,
    /// That level.
    pub level: f64,
}

impl Score {
    /// Of at least one prediction; alarms are of truths above `level`.
    pub fn of(met: &[Met], level: f64) -> Self {
        let count = met.len().max(1) as f64;
        let mean = |of: &dyn Fn(&Met) -> f64| met.iter().map(of).sum::<f64>() / count;
        let square = mean(&|met| (met.value - met.truth).powi(2));
        let usual = mean(&|met| met.truth);
        let variance = mean(&|met| (met.truth - usual).powi(2));
        let parts = met.iter().filter(|met| met.truth.abs() > 1e-9);
        let parts: Vec<_> = parts.map(|met| ((met.value - met.truth) / met.truth).abs()).collect();
        let held: Vec<_> = met.iter().filter_map(|met| Some((met.interval?, met.truth))).collect();
        let of_held = |of: &dyn Fn(f64, f64, f64) -> f64| {
            let sum: f64 = held.iter().map(|((low, high), truth)| of(*low, *high, *truth)).sum();
            (!held.is_empty()).then(|| sum / held.len() as f64)
        };
        Self {
            moments: met.len() as u64,
            mae: mean(&|met| (met.value - met.truth).abs()),
            rmse: square.sqrt(),
            mape: (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / parts.len() as f64),
            r2: (variance > 0.0).then(|| 1.0 - square / variance),
            pinball: of_held(&|low, high, truth| {
                f64::midpoint(pinball(low, truth, 0.1), pinball(high, truth, 0.9))
            }),
            coverage80: of_held(&|low, high, truth| {
                f64::from(u8::from((low..=high).contains(&truth)))
            }),
            width80: of_held(&|low, high, _| high - low),
            auc: auc(met, level),
            level,
        }
    }
}

fn pinball(said: f64, truth: f64, share: f64) -> f64 {
    let off = truth - said;
    if off >= 0.0 { share * off } else { (share - 1.0) * off }
}

/// By ranks; of equal ones the mean (the statistic of Mann and Whitney).
fn auc(met: &[Met], level: f64) -> Option<f64> {
    let mut order: Vec<_> = met.iter().map(|met| (met.value, met.truth > level)).collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0));
    let above = order.iter().filter(|(_, above)| *above).count() as f64;
    let below = order.len() as f64 - above;
    if above == 0.0 || below == 0.0 {
        return None;
    }
    let (mut ranks, mut before) = (0.0, 0.0);
    for same in order.chunk_by(|one, other| one.0 == other.0) {
        let rank = before + f64::midpoint(1.0, same.len() as f64);
        ranks += rank * same.iter().filter(|(_, above)| *above).count() as f64;
        before += same.len() as f64;
    }
    Some((ranks - above * (above + 1.0) / 2.0) / (above * below))
}

/// The mean.
pub(super) fn usual(truths: &[f64]) -> f64 {
    crate::features::mean(truths.iter().copied())
}

/// The level that one of ten truths lies above.
pub(super) fn high(truths: &[f64]) -> f64 {
    let mut sorted = truths.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_computed_by_hand() {
        let met = |value, truth, interval| Met { value, interval, truth };
        let all = [
            met(1.0, 2.0, Some((0.0, 2.0))),
            met(2.0, 2.0, None),
            met(2.0, 4.0, Some((1.0, 3.0))),
            met(5.0, 4.0, Some((4.0, 6.0))),
        ];

        let score = Score::of(&all, 3.0);

        assert_eq!((score.moments, score.mae, score.r2), (4, 1.0, Some(1.0 - 1.5)));
        assert_eq!(score.rmse, 1.5_f64.sqrt());
        assert_eq!(score.mape, Some((0.5 + 0.0 + 0.5 + 0.25) / 4.0));
        assert_eq!(score.coverage80, Some(2.0 / 3.0));
        assert_eq!(score.width80, Some(2.0));
        // Of four pairs three are in order and one is a draw.
        assert_eq!(score.auc, Some(3.5 / 4.0));
        let pinball = (0.1 * 2.0 + 0.1 * 0.0 + 0.1 * 3.0 + 0.9 * 1.0 + 0.0 + 0.1 * 2.0) / 6.0;
        assert!((score.pinball.unwrap() - pinball).abs() < 1e-12, "{score:?}");
        let flat = Score::of(&[met(1.0, 0.0, None)], 3.0);
        assert_eq!((flat.r2, flat.mape, flat.auc, flat.coverage80), (None, None, None, None));
    }
}

//! What is drawn, the same for the same seed.

use crate::model::Draw;

/// Draws numbers; two with different streams have nothing in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Random(Draw);

impl Random {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut draw = Draw(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        // Seeds and streams are small numbers: neighbours are apart only after a round.
        let start = draw.below(usize::MAX);
        Self(Draw(start as u64))
    }

    /// Above 0 and below 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.0.below(1 << 52) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// With a mean of 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -self.share().ln()
    }

    /// Around 0 with a deviation of 1: G. E. P. Box and M. E. Muller, "A Note on the Generation of
    /// Random Normal Deviates", 1958.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

/// The share of a normal distribution below a score: M. Abramowitz and I. A. Stegun, "Handbook of
/// Mathematical Functions", 26.2.17, with errors below 1e-7.
pub(super) fn cumulated(score: f64) -> f64 {
    const EACH: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * score.abs());
    let sum = EACH.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = (-score * score / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if score > 0.0 { 1.0 - tail } else { tail }
}

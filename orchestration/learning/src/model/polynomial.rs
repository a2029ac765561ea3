//! Polynomial regression: the figures that say most, their squares and products, and a ridge
//! regression of all of it.

use super::{Design, Model, Ridge, Usual};
use crate::{Result, features::mean};
use serde::{Deserialize, Serialize};

/// Figures whose squares and products are taken, at most: 300 more columns.
pub(super) const CROSSED_MAX: usize = 24;
/// A figure that lies further from its mean, in deviations, counts as if it lay there: squares of
/// what was never seen say nothing.
const FAR: f64 = 4.0;

/// A fitted polynomial of second degree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Polynomial {
    usual: Usual,
    deviations: Vec<f64>,
    /// Whose squares and products are taken.
    crossed: Vec<u32>,
    ridge: Ridge,
}

impl Polynomial {
    /// Fits a finite target for each row; the squares and products are of the `crossed` figures
    /// that go with the target most.
    ///
    /// # Errors
    /// As of [`Design::new`] and [`Design::fit`].
    pub fn fit(rows: &[Vec<f64>], targets: &[f64], penalty: f64, crossed: usize) -> Result<Self> {
        // What is wrong with the rows is told before anything is made of them.
        Design::check(rows)?;
        let usual = Usual::of(rows);
        let deviations: Vec<_> = (0..usual.0.len()).map(|at| deviation(rows, &usual, at)).collect();
        let mut model = Self { usual, deviations, crossed: Vec::new(), ridge: Ridge::nothing() };
        model.crossed = model.telling(rows, targets, crossed.min(CROSSED_MAX));
        let wide: Vec<_> = rows.iter().map(|row| model.widened(row)).collect();
        model.ridge = Design::new(&wide)?.fit(targets, penalty)?;
        Ok(model)
    }

    /// One that is put together elsewhere, still without its regression.
    pub(super) fn bare(usual: Usual, deviations: Vec<f64>) -> Self {
        Self { usual, deviations, crossed: Vec::new(), ridge: Ridge::nothing() }
    }

    /// With these figures' products, and a regression of the wide rows.
    pub(super) fn with(mut self, crossed: Vec<u32>, ridge: Ridge) -> Self {
        (self.crossed, self.ridge) = (crossed, ridge);
        self
    }

    /// How far each figure goes with a target whose mean is `middle`, in sums.
    pub(super) fn goes_with(&self, rows: &[Vec<f64>], targets: &[f64], middle: f64) -> Vec<f64> {
        let with = |at: usize| -> f64 {
            let each = rows.iter().zip(targets);
            each.map(|(row, y)| self.standard(row, at) * (y - middle)).sum()
        };
        (0..self.usual.0.len()).map(with).collect()
    }

    /// The figures with the highest of these sums, by their place.
    pub(super) fn most(sums: &[f64], count: usize) -> Vec<u32> {
        let size = |sum: f64| if sum.is_finite() { sum.abs() } else { 0.0 };
        let mut each: Vec<_> = (0_u32..).zip(sums).map(|(at, sum)| (size(*sum), at)).collect();
        each.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut chosen: Vec<_> = each.into_iter().take(count).map(|(_, at)| at).collect();
        chosen.sort_unstable();
        chosen
    }

    /// The figures with the highest correlations, by their place.
    fn telling(&self, rows: &[Vec<f64>], targets: &[f64], count: usize) -> Vec<u32> {
        let middle = mean(targets.iter().copied());
        Self::most(&self.goes_with(rows, targets, middle), count)
    }

    /// How far a figure lies from its mean, in deviations.
    fn standard(&self, row: &[f64], at: usize) -> f64 {
        let far =
            (row.get(at).copied().unwrap_or(f64::NAN) - self.usual.0[at]) / self.deviations[at];
        if far.is_finite() { far.clamp(-FAR, FAR) } else { 0.0 }
    }

    /// The figures, then squares and products.
    pub(super) fn widened(&self, row: &[f64]) -> Vec<f64> {
        let mut wide: Vec<_> = (0..self.usual.0.len()).map(|at| self.standard(row, at)).collect();
        for (place, &one) in self.crossed.iter().enumerate() {
            for &other in &self.crossed[place..] {
                wide.push(wide[one as usize] * wide[other as usize]);
            }
        }
        wide
    }

    /// The usual values, the deviations, whose products are taken, and how far away is far.
    pub(crate) fn parts(&self) -> (&[f64], &[f64], &[u32], f64) {
        (&self.usual.0, &self.deviations, &self.crossed, FAR)
    }

    /// The prediction where all of the wide row is 0, and what a unit of each adds.
    pub(crate) fn line(&self) -> (f64, &[f64]) {
        self.ridge.line()
    }

    /// Whether it can be asked for any row: what came from outside is asked first.
    pub fn is_sound(&self) -> bool {
        let (width, crossed) = (self.usual.0.len(), self.crossed.len());
        crossed <= CROSSED_MAX
            && self.deviations.len() == width
            && self.crossed.iter().all(|&at| (at as usize) < width)
            && self.ridge.is_sound()
            && self.ridge.usual().len() == width + crossed * (crossed + 1) / 2
    }
}

impl Model for Polynomial {
    fn predict(&self, row: &[f64]) -> f64 {
        self.ridge.predict(&self.widened(row))
    }

    fn usual(&self) -> &[f64] {
        &self.usual.0
    }
}

fn deviation(rows: &[Vec<f64>], usual: &Usual, at: usize) -> f64 {
    let off = rows.iter().map(|row| (row[at] - usual.0[at]).powi(2)).filter(|off| off.is_finite());
    deviation_of(mean(off).sqrt(), usual.0[at])
}

/// By which a figure of this deviation is divided.
pub(super) fn deviation_of(deviation: f64, usual: f64) -> f64 {
    // What never moved says nothing, now or later.
    if deviation > 1e-9 * usual.abs().max(1.0) { deviation } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Draw;

    #[test]
    fn learns_squares_and_products_and_does_not_run_away() {
        let mut draw = Draw(3);
        let mut row = || (0..6).map(|_| draw.below(1000) as f64 / 500.0 - 1.0).collect::<Vec<_>>();
        let rows: Vec<_> = (0..500).map(|_| row()).collect();
        let of = |row: &[f64]| 3.0 + row[0] + 2.0 * row[1] + row[0] * row[1] - row[1] * row[1];
        let targets: Vec<_> = rows.iter().map(|row| of(row)).collect();

        let model = Polynomial::fit(&rows, &targets, 1e-3, 4).unwrap();

        for row in &rows[..50] {
            assert!((model.predict(row) - of(row)).abs() < 0.02, "{row:?}");
        }
        assert!(model.is_sound());
        assert!(model.predict(&[1e9, 1e9, 0.0, 0.0, 0.0, 0.0]).abs() < 200.0);
        assert!(model.predict(&[f64::NAN; 6]).is_finite());
        assert!(Polynomial::fit(&[], &[], 1.0, 4).is_err());
        assert!(Polynomial::fit(&[vec![1.0], vec![]], &[1.0, 1.0], 1.0, 4).is_err());
    }
}

//! Ridge regression: linear, with weights that are kept small.
//!
//! Source: A. E. Hoerl and R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal
//! Problems", Technometrics 12(1), 1970. Figures are standardised, so one penalty fits all.

use super::{Model, Usual};
use crate::{Error, Result, features::mean};
use serde::{Deserialize, Serialize};

/// Beyond this the matrix of products alone would take minutes and gigabytes.
const FEATURES_MAX: usize = 2_000;
/// A figure that moved less than this, relative to its size, says nothing.
const FLAT: f64 = 1e-9;

/// A fitted ridge regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    /// The prediction where all figures are as usual.
    base: f64,
    usual: Usual,
    /// What a unit of each figure adds.
    weights: Vec<f64>,
}

/// Rows of figures, prepared so that several targets and penalties can be fitted to them.
#[derive(Debug)]
pub struct Design {
    usual: Usual,
    /// By which each figure is divided; infinite for one that says nothing.
    scale: Vec<f64>,
    /// Standardised, row after row.
    rows: Vec<f64>,
    /// Products of the columns.
    products: Vec<f64>,
}

impl Design {
    /// Takes rows of equal length; figures that are not numbers count as usual.
    ///
    /// # Errors
    /// No rows, rows of different lengths, or more than 2,000 figures.
    pub fn new(rows: &[Vec<f64>]) -> Result<Self> {
        let width = Self::check(rows)?;
        let column = |at: usize| rows.iter().map(move |row| row[at]).filter(|x| x.is_finite());
        let usual = Usual::of(rows);
        let scale: Vec<_> = (0..width).map(|at| scale(column(at), usual.0[at])).collect();
        let mut design = Self { usual, scale, rows: Vec::new(), products: Vec::new() };
        design.rows = rows.iter().flat_map(|row| design.standardised(row)).collect();
        design.products = products(&design.rows, width);
        Ok(design)
    }

    /// How many figures the rows have.
    pub(super) fn check(rows: &[Vec<f64>]) -> Result<usize> {
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Error::Unfit("a model needs rows of figures, all of one length".into()));
        }
        if width > FEATURES_MAX {
            let what = format!("a row of {width} figures");
            return Err(Error::TooMuch { what, limit: FEATURES_MAX as u64 });
        }
        Ok(width)
    }

    fn standardised(&self, row: &[f64]) -> Vec<f64> {
        let each = row.iter().zip(self.usual.0.iter().zip(&self.scale));
        each.map(|(x, (usual, scale))| if x.is_finite() { (x - usual) / scale } else { 0.0 })
            .collect()
    }

    /// Fits a target, a value for each row; `penalty` is in rows: weights are as if so many rows
    /// had said that they are nothing.
    ///
    /// # Errors
    /// As many targets as rows are needed, all finite, and a positive penalty.
    pub fn fit(&self, targets: &[f64], penalty: f64) -> Result<Ridge> {
        let width = self.usual.0.len();
        if targets.len() * width != self.rows.len() || targets.iter().any(|y| !y.is_finite()) {
            return Err(Error::Unfit("a model needs a finite target for each row".into()));
        }
        if !(penalty > 0.0 && penalty.is_finite()) {
            return Err(Error::Unfit(format!("a penalty of {penalty}: it must be above 0")));
        }
        let base = mean(targets.iter().copied());
        let mut right = vec![0.0; width];
        for (row, target) in self.rows.chunks_exact(width).zip(targets) {
            for (sum, x) in right.iter_mut().zip(row) {
                *sum += x * (target - base);
            }
        }
        let scaled = (self.usual.clone(), self.scale.as_slice());
        Ok(Ridge::of_sums(base, scaled, self.products.clone(), right, penalty))
    }
}

impl Model for Ridge {
    fn predict(&self, row: &[f64]) -> f64 {
        self.base + self.parts(row).map(|(_, adds)| adds).sum::<f64>()
    }

    fn usual(&self) -> &[f64] {
        &self.usual.0
    }
}

impl Ridge {
    /// The model by the sums that a fit is made of, wherever the rows lie: the mean target, means
    /// and scales of the figures, and of the standardised figures the products with each other and
    /// with the target less its mean.
    pub(super) fn of_sums(
        base: f64,
        (usual, scale): (Usual, &[f64]),
        mut products: Vec<f64>,
        right: Vec<f64>,
        penalty: f64,
    ) -> Self {
        let width = right.len();
        (0..width).for_each(|at| products[at * width + at] += penalty);
        let solved = solve(products, right);
        let weights = solved.iter().zip(scale).map(|(weight, scale)| weight / scale);
        Self { base, usual, weights: weights.collect() }
    }

    /// A model of nothing.
    pub(super) fn nothing() -> Self {
        Self { base: 0.0, usual: Usual(Vec::new()), weights: Vec::new() }
    }

    /// Whether a prediction for any row is a number: what came from outside is asked first.
    pub fn is_sound(&self) -> bool {
        let numbers = self.usual.0.iter().chain(&self.weights).chain([&self.base]);
        self.usual.0.len() == self.weights.len() && numbers.into_iter().all(|x| x.is_finite())
    }

    /// The prediction where all figures are 0, and what a unit of each adds.
    pub(crate) fn line(&self) -> (f64, &[f64]) {
        let usual: f64 = self.usual.0.iter().zip(&self.weights).map(|(x, weight)| x * weight).sum();
        (self.base - usual, &self.weights)
    }

    fn parts(&self, row: &[f64]) -> impl Iterator<Item = (usize, f64)> {
        let each = row.iter().zip(self.usual.0.iter().zip(&self.weights)).enumerate();
        each.map(|(at, (x, (usual, weight)))| {
            (at, if x.is_finite() { (x - usual) * weight } else { 0.0 })
        })
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

fn scale(column: impl Iterator<Item = f64>, usual: f64) -> f64 {
    scale_of(finite(mean(column.map(|x| (x - usual) * (x - usual)))).sqrt(), usual)
}

/// By which a figure of this deviation is divided.
pub(super) fn scale_of(deviation: f64, usual: f64) -> f64 {
    if deviation > FLAT * usual.abs().max(1.0) { deviation } else { f64::INFINITY }
}

/// Of rows that stand one after the other, the sums of the products of their columns.
pub(super) fn products(rows: &[f64], width: usize) -> Vec<f64> {
    let mut products = vec![0.0; width * width];
    for row in rows.chunks_exact(width) {
        for (x, sums) in row.iter().zip(products.chunks_exact_mut(width)) {
            for (sum, y) in sums.iter_mut().zip(row) {
                *sum += x * y;
            }
        }
    }
    products
}

/// Solves `left · x = right` by Cholesky's factors in place; `left` is symmetric and, by its
/// penalty, positive definite.
fn solve(mut left: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        for row in column..n {
            let below: f64 = (0..column).map(|k| left[row * n + k] * left[column * n + k]).sum();
            let rest = left[row * n + column] - below;
            left[row * n + column] = if row == column {
                rest.max(f64::MIN_POSITIVE).sqrt()
            } else {
                rest / left[column * n + column]
            };
        }
    }
    for row in 0..n {
        let done: f64 = (0..row).map(|k| left[row * n + k] * right[k]).sum();
        right[row] = (right[row] - done) / left[row * n + row];
    }
    for row in (0..n).rev() {
        let done: f64 = (row + 1..n).map(|k| left[k * n + row] * right[k]).sum();
        right[row] = (right[row] - done) / left[row * n + row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(count: u32) -> (Vec<Vec<f64>>, Vec<f64>) {
        let rows = (0..count).map(f64::from).map(|x| vec![x, (x * 0.7).sin(), 5.0]);
        let rows: Vec<_> = rows.collect();
        let targets = rows.iter().map(|row| 3.0 * row[0] - 2.0 * row[1] + 1.0).collect();
        (rows, targets)
    }

    #[test]
    fn finds_the_weights_of_a_line() {
        let (rows, targets) = line(50);

        let ridge = Design::new(&rows).unwrap().fit(&targets, 1e-6).unwrap();

        assert!((ridge.predict(&[60.0, 0.5, 5.0]) - 180.0).abs() < 1e-3);
        // A figure that never moved says nothing, whatever it is later.
        assert_eq!(ridge.predict(&[60.0, 0.5, 1e9]), ridge.predict(&[60.0, 0.5, 5.0]));
    }

    #[test]
    fn rows_and_targets_that_do_not_fit_are_refused() {
        assert!(Design::new(&[]).is_err());
        assert!(Design::new(&[vec![1.0], vec![]]).is_err());
        assert!(Design::new(&[vec![0.0; FEATURES_MAX + 1]]).is_err());
        let design = Design::new(&[vec![1.0], vec![2.0]]).unwrap();
        for (targets, penalty) in
            [(vec![1.0], 1.0), (vec![1.0, f64::NAN], 1.0), (vec![1.0, 2.0], 0.0)]
        {
            assert!(design.fit(&targets, penalty).is_err());
        }
    }

    proptest! {
        /// An explanation is true: with the named figure at its baseline the prediction changes by
        /// what was claimed.
        #[test]
        fn a_contribution_is_what_the_baseline_takes_away(
            x in -1e3..1e3_f64, y in -1.0..1.0_f64, hole in 0..3_usize
        ) {
            let (rows, targets) = line(40);
            let ridge = Design::new(&rows).unwrap().fit(&targets, 3.0).unwrap();
            let mut row = vec![x, y, 5.0];
            if hole < 2 {
                row[hole] = f64::NAN;
            }

            for part in ridge.explain(&row) {
                let mut without = row.clone();
                without[part.feature] = part.baseline;
                let change = ridge.predict(&row) - ridge.predict(&without);
                prop_assert!((change - part.adds).abs() < 1e-6, "{part:?} changes {change}");
            }
        }
    }
}

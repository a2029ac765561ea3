//! Many trees: gradient boosting, where each corrects those before it, and the random forest,
//! where each sees other rows and figures and all are averaged.
//!
//! Sources: J. H. Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of
//! Statistics 29(5), 2001; L. Breiman, "Random Forests", Machine Learning 45, 2001.

use super::{
    Model, Usual,
    bins::Bins,
    grow::{Counted, Grower, ROWS_MAX},
    tree::{Draw, Growth, Tree},
};
use crate::{Error, Result, features::mean};
use serde::{Deserialize, Serialize};

/// No model is larger.
const TREES_MAX: usize = 100_000;

/// How gradient boosting is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Boosting {
    /// Trees.
    pub trees: usize,
    /// By which each tree's values are multiplied.
    pub rate: f64,
    /// How each is grown.
    pub growth: Growth,
}

impl Default for Boosting {
    fn default() -> Self {
        Self { trees: 100, rate: 0.1, growth: Growth::default() }
    }
}

/// How a random forest is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Forest {
    /// Trees.
    pub trees: usize,
    /// How each is grown; a third of the figures for each split if none are named.
    pub growth: Growth,
    /// The same seed draws the same rows and figures.
    pub seed: u64,
}

impl Default for Forest {
    fn default() -> Self {
        let growth = Growth { leaves: 4096, leaf_rows: 3, shrink_rows: 0.0, figures: 0 };
        Self { trees: 100, growth, seed: 1 }
    }
}

/// Trees that were grown; a prediction is a base and the sum of their values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    base: f64,
    rate: f64,
    usual: Usual,
    trees: Vec<Tree>,
}

impl Model for Trees {
    fn predict(&self, row: &[f64]) -> f64 {
        self.base + self.rate * self.trees.iter().map(|tree| tree.predict(row)).sum::<f64>()
    }

    fn usual(&self) -> &[f64] {
        &self.usual.0
    }
}

impl Trees {
    /// Trees from elsewhere.
    pub(super) fn of(base: f64, rate: f64, usual: Usual, trees: Vec<Tree>) -> Self {
        Self { base, rate, usual, trees }
    }

    pub(super) fn base(&self) -> f64 {
        self.base
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter()
    }

    /// Whether a prediction for any row ends and is a number: what came from outside is asked first.
    pub fn is_sound(&self) -> bool {
        let width = self.usual.0.len();
        let numbers = self.base.is_finite() && self.rate.is_finite();
        numbers
            && self.trees.len() <= TREES_MAX
            && self.trees.iter().all(|tree| tree.is_sound(width))
    }
}

impl Boosting {
    /// Fits a target, a finite value for each row.
    ///
    /// # Errors
    /// Rows and targets that do not fit, or no trees.
    pub fn fit(&self, rows: &[Vec<f64>], targets: &[f64]) -> Result<Trees> {
        let bins = checked(rows, targets, self.trees)?;
        let base = mean(targets.iter().copied());
        let mut rest: Vec<_> = targets.iter().map(|target| target - base).collect();
        let all: Vec<_> = (0..bins.rows() as u32).collect();
        let mut grower = Grower::new(&bins, self.growth, 0);
        let mut values = Counted::default();
        let mut trees = Vec::with_capacity(self.trees);
        for _ in 0..self.trees {
            values.set(&rest, |_| 1);
            trees.push(grower.grow(&all, &values));
            for (rows, value) in grower.leaves() {
                rows.iter().for_each(|&row| rest[row as usize] -= self.rate * value);
            }
        }
        Ok(Trees { base, rate: self.rate, usual: Usual::of(rows), trees })
    }
}

impl Forest {
    /// Fits a target, a finite value for each row.
    ///
    /// # Errors
    /// As of [`Boosting::fit`].
    pub fn fit(&self, rows: &[Vec<f64>], targets: &[f64]) -> Result<Trees> {
        let bins = checked(rows, targets, self.trees)?;
        let figures = match self.growth.figures {
            0 => bins.width().div_ceil(3),
            some => some,
        };
        let mut grower = Grower::new(&bins, Growth { figures, ..self.growth }, self.seed);
        let mut draw = Draw(!self.seed);
        let mut values = Counted::default();
        let mut trees = Vec::with_capacity(self.trees);
        for _ in 0..self.trees {
            let mut times = vec![0_u32; rows.len()];
            (0..rows.len()).for_each(|_| times[draw.below(rows.len())] += 1);
            values.set(targets, |row| times[row]);
            let drawn: Vec<_> =
                (0..rows.len() as u32).filter(|&row| times[row as usize] > 0).collect();
            trees.push(grower.grow(&drawn, &values));
        }
        Ok(Trees { base: 0.0, rate: 1.0 / self.trees as f64, usual: Usual::of(rows), trees })
    }
}

fn checked(rows: &[Vec<f64>], targets: &[f64], trees: usize) -> Result<Bins> {
    if targets.len() != rows.len() || targets.iter().any(|target| !target.is_finite()) {
        return Err(Error::Unfit("a model needs a finite target for each row".into()));
    }
    if !(1..=TREES_MAX).contains(&trees) {
        return Err(Error::Unfit(format!("{trees} trees: from 1 to {TREES_MAX} can be grown")));
    }
    if rows.len() > ROWS_MAX {
        let what = format!("{} rows", rows.len());
        return Err(Error::TooMuch { what, limit: ROWS_MAX as u64 });
    }
    Bins::new(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Friedman's first function, without noise; five figures of it say nothing.
    fn friedman(count: usize, seed: u64) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut draw = Draw(seed);
        let rows: Vec<Vec<f64>> = (0..count)
            .map(|_| (0..10).map(|_| draw.below(1 << 20) as f64 / f64::from(1 << 20)).collect())
            .collect();
        let of = |x: &Vec<f64>| {
            10.0 * (std::f64::consts::PI * x[0] * x[1]).sin()
                + 20.0 * (x[2] - 0.5).powi(2)
                + 10.0 * x[3]
                + 5.0 * x[4]
        };
        let targets = rows.iter().map(of).collect();
        (rows, targets)
    }

    fn r2(model: &Trees, rows: &[Vec<f64>], targets: &[f64]) -> f64 {
        let usual = mean(targets.iter().copied());
        let errors =
            rows.iter().zip(targets).map(|(row, target)| (model.predict(row) - target).powi(2));
        let spread = targets.iter().map(|target| (target - usual).powi(2));
        1.0 - errors.sum::<f64>() / spread.sum::<f64>()
    }

    #[test]
    fn both_learn_what_is_not_linear_and_each_time_the_same() {
        let (rows, targets) = friedman(2000, 1);
        let (new, truths) = friedman(1000, 2);

        let boosted = Boosting::default().fit(&rows, &targets).unwrap();
        let few = Forest { trees: 20, ..Forest::default() };
        let forest = few.fit(&rows, &targets).unwrap();

        assert!(r2(&boosted, &new, &truths) > 0.96, "{}", r2(&boosted, &new, &truths));
        assert!(r2(&forest, &new, &truths) > 0.86, "{}", r2(&forest, &new, &truths));
        assert_eq!(boosted, Boosting::default().fit(&rows, &targets).unwrap());
        assert_eq!(forest, few.fit(&rows, &targets).unwrap());
        assert!(boosted.is_sound() && forest.is_sound());
    }

    #[test]
    fn a_model_comes_back_from_bytes_as_it_was() {
        let (rows, targets) = friedman(200, 1);
        let model = Boosting { trees: 2, ..Boosting::default() }.fit(&rows, &targets).unwrap();

        let bytes = postcard::to_stdvec(&model).unwrap();

        assert_eq!(postcard::from_bytes::<Trees>(&bytes).unwrap(), model);
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let boosting = Boosting::default();
        for (rows, targets) in [
            (vec![], vec![]),
            (vec![vec![1.0]], vec![]),
            (vec![vec![1.0]], vec![f64::INFINITY]),
            (vec![vec![1.0], vec![]], vec![1.0, 2.0]),
        ] {
            assert!(boosting.fit(&rows, &targets).is_err(), "{rows:?}");
        }
        assert!(Boosting { trees: 0, ..boosting }.fit(&[vec![1.0]], &[1.0]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// Whatever the rows, holes and infinities among them: a number between the targets.
        #[test]
        fn a_forest_answers_between_the_targets(
            rows in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), -1e9..1e9_f64],
                    3,
                ),
                1..80,
            ),
        ) {
            let targets: Vec<_> = (0..rows.len()).map(|at| (at % 7) as f64).collect();
            let growth = Growth { leaf_rows: 1, ..Forest::default().growth };
            let model = Forest { trees: 5, growth, seed: 3 }.fit(&rows, &targets).unwrap();
            for row in &rows {
                let value = model.predict(row);
                prop_assert!((-1e-9..=6.0 + 1e-9).contains(&value), "{value}");
            }
        }
    }
}

//! What is fitted to what was measured, and says what comes.
//!
//! A [`Model`] is fitted to rows of figures and answers a number for another row. A [`Trained`]
//! model of any [`Method`] is asked about a past and answers with an interval: [`train`] makes one of
//! [`Examples`].

mod bins;
mod conformal;
mod examples;
pub mod federated;
mod folds;
mod grow;
mod kind;
mod lstm;
mod method;
mod onnx;
mod path;
mod polynomial;
mod ridge;
mod score;
mod target;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trained;
mod training;
mod tree;
mod trees;

pub use conformal::Conformal;
pub(crate) use conformal::quantile;
pub(crate) use examples::ahead;
pub use examples::{Example, Examples, Question};
pub use folds::{Fold, folds};
pub use kind::{Fitted, Kind};
pub use lstm::Network;
pub use method::Method;
pub use onnx::Onnx;
pub use polynomial::Polynomial;
pub use ridge::{Design, Ridge};
pub use score::{Met, Score};
pub use target::Target;
pub use trained::{Reference, Tenths, Trained};
pub use training::{Doing, Searched, Watch, imported, search, train};
pub(crate) use tree::Draw;
pub use tree::Growth;
pub use trees::{Boosting, Forest, Trees};

use serde::{Deserialize, Serialize};

/// What one figure adds to a prediction, compared with what it would be at its usual value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contribution {
    /// Which figure of the row.
    pub feature: usize,
    /// The figure's usual value, the mean of training.
    pub baseline: f64,
    /// The prediction less that with the baseline in its place.
    pub adds: f64,
}

/// A model that was fitted.
pub trait Model: std::fmt::Debug + Send + Sync {
    /// The prediction for a row of as many figures as it was fitted to. A figure that is not a
    /// number is taken to be as usual.
    fn predict(&self, row: &[f64]) -> f64;

    /// The usual value of each figure, the mean of training.
    fn usual(&self) -> &[f64];

    /// What each figure adds, the largest first.
    fn explain(&self, row: &[f64]) -> Vec<Contribution> {
        let whole = self.predict(row);
        let mut without = row.to_vec();
        let part = |(feature, &baseline): (usize, &f64)| {
            let own = std::mem::replace(without.get_mut(feature)?, baseline);
            let adds = whole - self.predict(&without);
            without[feature] = own;
            Some(Contribution { feature, baseline, adds })
        };
        let mut each: Vec<_> = self.usual().iter().enumerate().filter_map(part).collect();
        each.sort_by(|one, other| other.adds.abs().total_cmp(&one.adds.abs()));
        each
    }
}

/// The usual value of each figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usual(pub(crate) Vec<f64>);

impl Usual {
    /// The means of what is a number; 0 where nothing is.
    pub(crate) fn of(rows: &[Vec<f64>]) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let column = |at: usize| rows.iter().map(move |row| row[at]).filter(|x| x.is_finite());
        let mean = |at: usize| crate::features::mean(column(at));
        Self((0..width).map(mean).map(|mean| if mean.is_finite() { mean } else { 0.0 }).collect())
    }
}

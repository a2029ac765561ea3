//! What is fitted to rows of figures and answers a number for another row.

mod conformal;
mod folds;
mod ridge;

pub use conformal::Conformal;
pub(crate) use conformal::quantile;
pub use folds::{Fold, folds};
pub use ridge::{Design, Ridge};

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

    /// What each figure adds, the largest first.
    fn explain(&self, row: &[f64]) -> Vec<Contribution>;
}

//! Validation on a time series: blocks of it are left out, with a distance to what is learned.

use std::ops::Range;

/// What is learned from, and what is predicted with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Moments that may be learned from.
    pub learn: Vec<usize>,
    /// Moments that are predicted.
    pub predict: Vec<usize>,
}

/// Cuts a stretch of time into blocks and deals them out to `count` folds. Nothing is learned from
/// moments whose past (`before` samples) or whose target (`after` samples) touches a block that
/// is predicted, so that neither leaks into the other.
pub fn folds(
    span: Range<usize>,
    every: usize,
    block: usize,
    count: usize,
    before: usize,
    after: usize,
) -> Vec<Fold> {
    let (block, count) = (block.max(1), count.max(2));
    let moments = || span.clone().step_by(every.max(1));
    let fold_of = |moment: usize| (moment - span.start) / block % count;
    let near = |moment: usize, fold: usize| {
        let from = moment.saturating_sub(before).max(span.start);
        let to = (moment + after).min(span.end - 1);
        // The blocks of one fold lie `count` apart: a window touches one if its ends or a step
        // between them do.
        (from..=to).step_by(block).chain([to]).any(|at| fold_of(at) == fold)
    };
    let fold = |fold: usize| Fold {
        learn: moments().filter(|&moment| !near(moment, fold)).collect(),
        predict: moments().filter(|&moment| fold_of(moment) == fold).collect(),
    };
    (0..count).map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_is_predicted_once_and_learned_from_at_a_distance() {
        let folds = folds(100..1100, 5, 100, 4, 30, 60);

        let mut predicted: Vec<_> = folds.iter().flat_map(|fold| fold.predict.clone()).collect();
        predicted.sort_unstable();
        assert_eq!(predicted, (100..1100).step_by(5).collect::<Vec<_>>());
        for fold in &folds {
            assert!(!fold.learn.is_empty());
            for learned in &fold.learn {
                let touches = |&predicted: &usize| {
                    let block = (predicted - 100) / 100 * 100 + 100;
                    learned.saturating_sub(30) < block + 100 && learned + 60 >= block
                };
                assert!(!fold.predict.iter().any(touches), "{learned}");
            }
        }
    }
}

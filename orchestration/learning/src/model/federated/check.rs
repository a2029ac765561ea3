//! Whether a site's answer can be one.

use crate::{
    Error, Result,
    model::{
        quantile,
        tree::{Branch, Tree},
    },
};

/// Numbers that a site tells.
pub(super) type Answer = Result<Vec<f64>>;

/// A site has no more rows than can be trained on.
const ROWS_MAX: f64 = 16_777_215.0;
/// The truths of a site lie at most so many usual deviations from those of the others.
const FAR: f64 = 20.0;
/// Leaves say no more than so many deviations of the truths.
const LEAF_MAX: f64 = 20.0;

/// Why a training ended before its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// A site's answer cannot be used: it is left out.
    Site(usize, String),
    /// The training itself is not possible.
    Training(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Training(error)
    }
}

/// A site's numbers, if they are as many as they should be and all are numbers.
pub(super) fn numbers(
    at: usize,
    told: Answer,
    length: usize,
    what: &str,
) -> std::result::Result<Vec<f64>, Fault> {
    let fault = |why: String| Err(Fault::Site(at, why));
    match told {
        Err(error) => fault(format!("{what}: {}", types::chain(&error))),
        Ok(told) if told.len() != length => {
            fault(format!("{what}: {length} numbers were to be told, it told {}", told.len()))
        }
        Ok(told) if told.iter().any(|number| !number.is_finite()) => {
            fault(format!("{what}: not all that it told are numbers"))
        }
        Ok(told) => Ok(told),
    }
}

/// Whether a site has as many rows and values as it can have.
pub(super) fn counts(at: usize, sums: &[f64]) -> std::result::Result<(), Fault> {
    let rows = sums[0];
    let whole = |count: f64| count >= 0.0 && count <= rows && count.fract() == 0.0;
    let sound = (1.0..=ROWS_MAX).contains(&rows) && sums.iter().step_by(2).all(|sum| whole(*sum));
    match sound {
        true => Ok(()),
        false => Err(Fault::Site(at, format!("sums: it cannot have {rows} rows of such counts"))),
    }
}

/// Whether the truths of all sites are of one world: their means lie near each other, by the usual
/// deviation within a site. Of two sites nobody can say which one is wrong.
pub(super) fn truths(each: &[(f64, f64)]) -> std::result::Result<(), Fault> {
    if each.len() < 3 {
        return Ok(());
    }
    let middle = median(each.iter().map(|(mean, _)| *mean));
    let usual = median(each.iter().map(|(_, deviation)| *deviation));
    let apart = median(each.iter().map(|(mean, _)| (mean - middle).abs()));
    let most = FAR * usual.max(apart).max(1e-9 * middle.abs().max(1e-9));
    let far = |(mean, deviation): &(f64, f64)| (mean - middle).abs().max(*deviation);
    let worst = each.iter().enumerate().max_by(|one, other| far(one.1).total_cmp(&far(other.1)));
    match worst {
        Some((at, told)) if far(told) > most => {
            let why = format!(
                "its truths ({:.4} on average, {:.4} apart) are far from those of the others \
                 ({middle:.4}, {usual:.4})",
                told.0, told.1
            );
            Err(Fault::Site(at, why))
        }
        _ => Ok(()),
    }
}

/// A site's tree with its leaves multiplied by the site's weight; values beyond what truths can be
/// are cut.
pub(super) fn tree(
    at: usize,
    tree: &Tree,
    (width, deviation, weight): (usize, f64, f64),
) -> std::result::Result<Tree, Fault> {
    if !tree.is_sound(width) {
        return Err(Fault::Site(at, "it told a tree that cannot be walked".into()));
    }
    let most = LEAF_MAX * deviation.max(1e-12);
    let weighted = |branch: Branch| match branch {
        Branch::Leaf { value } => Branch::Leaf { value: value.clamp(-most, most) * weight },
        split @ Branch::Split { .. } => split,
    };
    Ok(Tree::of(tree.branches().map(weighted)))
}

/// The steps of all sites, each at most so long as the usual one.
pub(super) fn clipped(steps: &mut [Vec<f64>]) {
    let length = |step: &[f64]| step.iter().map(|x| x * x).sum::<f64>().sqrt();
    if steps.len() < 3 {
        return;
    }
    let most = 2.0 * median(steps.iter().map(|step| length(step)));
    for step in steps {
        let by = (most / length(step).max(1e-300)).min(1.0);
        step.iter_mut().for_each(|x| *x *= by);
    }
}

/// Weighted by rows, the mean of each number.
pub(super) fn averaged(told: &[Vec<f64>], rows: &[f64]) -> Vec<f64> {
    let all: f64 = rows.iter().sum();
    let length = told.first().map_or(0, Vec::len);
    let one = |at: usize| told.iter().zip(rows).map(|(told, rows)| told[at] * rows).sum::<f64>();
    (0..length).map(|at| one(at) / all).collect()
}

/// The sum of each number.
pub(super) fn summed(told: &[Vec<f64>]) -> Vec<f64> {
    let length = told.first().map_or(0, Vec::len);
    (0..length).map(|at| told.iter().map(|told| told[at]).sum()).collect()
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { quantile(&sorted, 0.5) }
}

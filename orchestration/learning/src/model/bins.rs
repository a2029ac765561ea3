//! Figures as small whole numbers: what trees are grown from.
//!
//! Each figure's values are cut into at most 255 bins with about as many rows in each, as in
//! G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
//! What is no number has a bin of its own, below all others.

use crate::{Error, Result};

/// The bin of what is no number.
const MISSING: u8 = 0;
/// Bins of numbers.
pub(super) const BINS_MAX: usize = 255;
/// Of more rows, evenly chosen ones decide where cuts are.
const SAMPLE_MAX: usize = 200_000;
/// What a model may be trained on, at most: a byte each.
const CELLS_MAX: u64 = 4 << 30;

/// Rows of figures in bins, figure after figure.
#[derive(Debug)]
pub(super) struct Bins {
    rows: usize,
    /// By figure: the highest value of each bin but the last, ascending.
    cuts: Vec<Vec<f64>>,
    /// By figure, then by row.
    bins: Vec<u8>,
}

impl Bins {
    /// # Errors
    /// No rows, rows of different lengths, or more than memory is meant for.
    pub(super) fn new(rows: &[Vec<f64>]) -> Result<Self> {
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Error::Unfit("a model needs rows of figures, all of one length".into()));
        }
        if (rows.len() as u64).saturating_mul(width as u64) > CELLS_MAX {
            let what = format!("{} rows of {width} figures", rows.len());
            return Err(Error::TooMuch { what, limit: CELLS_MAX });
        }
        let cuts: Vec<_> = (0..width).map(|at| cuts(rows, at)).collect();
        let mut bins = Vec::with_capacity(rows.len() * width);
        for (at, cuts) in cuts.iter().enumerate() {
            bins.extend(rows.iter().map(|row| bin(cuts, row[at])));
        }
        Ok(Self { rows: rows.len(), cuts, bins })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn width(&self) -> usize {
        self.cuts.len()
    }

    /// A figure's bin in each row.
    pub(super) fn of(&self, figure: usize) -> &[u8] {
        &self.bins[figure * self.rows..][..self.rows]
    }

    /// How many bins a figure has, that of what is no number among them.
    pub(super) fn count(&self, figure: usize) -> usize {
        self.cuts[figure].len() + 2
    }

    /// The highest value of a bin: what is no number lies below all numbers.
    pub(super) fn highest(&self, figure: usize, bin: usize) -> f64 {
        if bin == usize::from(MISSING) { f64::NEG_INFINITY } else { self.cuts[figure][bin - 1] }
    }
}

fn cuts(rows: &[Vec<f64>], at: usize) -> Vec<f64> {
    let every = rows.len().div_ceil(SAMPLE_MAX).max(1);
    let values = rows.iter().step_by(every).map(|row| row[at]).filter(|value| !value.is_nan());
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    let between = |pair: &[f64]| f64::midpoint(pair[0], pair[1]);
    if distinct.len() <= BINS_MAX {
        return distinct.windows(2).map(between).collect();
    }
    let mut cuts: Vec<_> = (1..BINS_MAX)
        .map(|part| {
            let place = part * values.len() / BINS_MAX;
            between(&values[place - 1..=place])
        })
        .collect();
    cuts.dedup();
    cuts
}

fn bin(cuts: &[f64], value: f64) -> u8 {
    if value.is_nan() {
        return MISSING;
    }
    // At most 254 cuts: the sum fits.
    cuts.partition_point(|cut| *cut < value) as u8 + 1
}

//! What one site does with its own data, and what it tells of them.

use super::{Party, check::Answer};
use crate::{
    Result,
    model::{
        Examples, Growth, Network, Polynomial, Tenths,
        bins::Bins,
        grow::{Counted, Grower},
        lstm::Lstm,
        method::Body,
        quantile, ridge,
        trained::{Reference, spread},
        tree::Tree,
    },
};
use std::fmt::Debug;

/// Errors that the site with the most rows tells, at most; the others by their rows fewer.
pub(super) const ERRORS_MAX: usize = 300;

/// Through what rows are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lens<'a> {
    /// The figures.
    Plain,
    /// Figures, squares and products.
    Wide(&'a Polynomial),
}

/// The middle and the scale of each column, and the mean of the truths.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) usual: Vec<f64>,
    pub(super) scale: Vec<f64>,
    pub(super) base: f64,
}

/// A site as the coordinator knows it: by its answers alone.
pub(super) trait Site: Debug {
    fn name(&self) -> &str;
    /// Learns from this first share of its rows from now on.
    fn take(&mut self, share: f64);
    /// The number of truths and their sum, then of each column the number of values and their sum.
    fn sums(&self, lens: Lens) -> Answer;
    /// Squared distances from the common middle: of the truths, then of each column.
    fn squares(&self, lens: Lens, common: &Common) -> Answer;
    /// Products of the standardised columns, then of each with the truths.
    fn products(&self, lens: Lens, common: &Common) -> Answer;
    /// How far each figure goes with the truths.
    fn goes_with(&self, polynomial: &Polynomial, base: f64) -> Answer;
    /// Begins boosting from the mean of all truths.
    fn begin(&mut self, base: f64) -> Result<()>;
    /// A tree of what is left.
    fn grow(&mut self, growth: Growth) -> Result<Tree>;
    /// Takes from what is left what these say.
    fn correct(&mut self, rate: f64, trees: &[Tree]);
    /// Of the network's channels and the truths: numbers, sums, and with their middles squares.
    fn channels(&self, middles: Option<&[f64]>) -> Answer;
    /// Goes once over its moments, and tells the weights that came of it.
    fn further(&self, network: &Lstm, how: &Network, seed: u64) -> Answer;
    /// The level of high truths, the mean of the series, and of each figure the nine cuts.
    fn reference(&self) -> Answer;
    /// How many rows lie between these cuts, figure after figure.
    fn shares(&self, tenths: &[Tenths]) -> Answer;
    /// Errors on the rows that it does not learn from, in spreads; of more than `most`, evenly chosen ones.
    fn errors(&self, body: &Body, grain: f64, most: usize) -> Vec<f64>;
}

/// A site in this process.
#[derive(Debug)]
pub(super) struct Local<'a> {
    site: &'a str,
    examples: &'a Examples<'a>,
    /// The rows that it learns from are those before.
    until: usize,
    boosting: Option<Rest>,
}

/// Boosting under way.
#[derive(Debug)]
struct Rest {
    bins: Bins,
    rest: Vec<f64>,
}

impl<'a> Local<'a> {
    pub(super) fn new(party: &Party<'a>) -> Self {
        let until = party.examples.rows.len();
        Self { site: party.site, examples: party.examples, until, boosting: None }
    }

    fn rows(&self) -> &'a [Vec<f64>] {
        &self.examples.rows[..self.until]
    }

    fn truths(&self) -> &'a [f64] {
        &self.examples.truths[..self.until]
    }

    fn chosen(&self) -> Vec<usize> {
        (0..self.until).collect()
    }

    fn through(&self, lens: Lens) -> impl Iterator<Item = Vec<f64>> {
        self.rows().iter().map(move |row| match lens {
            Lens::Plain => row.clone(),
            Lens::Wide(polynomial) => polynomial.widened(row),
        })
    }
}

impl Site for Local<'_> {
    fn name(&self) -> &str {
        self.site
    }

    fn take(&mut self, share: f64) {
        self.until = (self.examples.rows.len() as f64 * share) as usize;
        self.boosting = None;
    }

    fn sums(&self, lens: Lens) -> Answer {
        let mut sums = vec![self.truths().len() as f64, self.truths().iter().sum()];
        for row in self.through(lens) {
            sums.resize(2 + 2 * row.len(), 0.0);
            for (at, x) in row.iter().enumerate().filter(|(_, x)| x.is_finite()) {
                sums[2 + 2 * at] += 1.0;
                sums[3 + 2 * at] += x;
            }
        }
        Ok(sums)
    }

    fn squares(&self, lens: Lens, common: &Common) -> Answer {
        let mut squares = vec![0.0; common.usual.len() + 1];
        squares[0] = self.truths().iter().map(|truth| (truth - common.base).powi(2)).sum();
        for row in self.through(lens) {
            for (sum, (x, usual)) in squares[1..].iter_mut().zip(row.iter().zip(&common.usual)) {
                *sum += if x.is_finite() { (x - usual).powi(2) } else { 0.0 };
            }
        }
        Ok(squares)
    }

    fn products(&self, lens: Lens, common: &Common) -> Answer {
        let width = common.usual.len();
        let scales = || common.usual.iter().zip(&common.scale);
        let standard = |row: Vec<f64>| -> Vec<f64> {
            let each = row.into_iter().zip(scales());
            each.map(|(x, (usual, scale))| if x.is_finite() { (x - usual) / scale } else { 0.0 })
                .collect()
        };
        let rows: Vec<f64> = self.through(lens).flat_map(standard).collect();
        let mut told = ridge::products(&rows, width);
        let mut right = vec![0.0; width];
        for (row, truth) in rows.chunks_exact(width.max(1)).zip(self.truths()) {
            for (sum, x) in right.iter_mut().zip(row) {
                *sum += x * (truth - common.base);
            }
        }
        told.extend(right);
        Ok(told)
    }

    fn goes_with(&self, polynomial: &Polynomial, base: f64) -> Answer {
        Ok(polynomial.goes_with(self.rows(), self.truths(), base))
    }

    fn begin(&mut self, base: f64) -> Result<()> {
        let rest = self.truths().iter().map(|truth| truth - base).collect();
        self.boosting = Some(Rest { bins: Bins::new(self.rows())?, rest });
        Ok(())
    }

    fn grow(&mut self, growth: Growth) -> Result<Tree> {
        let Some(Rest { bins, rest }) = &self.boosting else {
            return Ok(Tree::of(std::iter::empty()));
        };
        let mut values = Counted::default();
        values.set(rest, |_| 1);
        let all: Vec<u32> = (0..bins.rows() as u32).collect();
        Ok(Grower::new(bins, growth, 0).grow(&all, &values))
    }

    fn correct(&mut self, rate: f64, trees: &[Tree]) {
        let rows = self.rows();
        let Some(Rest { rest, .. }) = &mut self.boosting else { return };
        for (rest, row) in rest.iter_mut().zip(rows) {
            *rest -= rate * trees.iter().map(|tree| tree.predict(row)).sum::<f64>();
        }
    }

    fn channels(&self, middles: Option<&[f64]>) -> Answer {
        Ok(Lstm::channels(self.examples, &self.chosen(), middles))
    }

    fn further(&self, network: &Lstm, how: &Network, seed: u64) -> Answer {
        network.further(self.examples, &self.chosen(), how, seed)
    }

    fn reference(&self) -> Answer {
        let reference = Reference::of(self.examples, &self.chosen());
        let mut told = vec![reference.high, reference.series];
        told.extend(reference.tenths.iter().flat_map(|tenths| tenths.cuts));
        Ok(told)
    }

    fn shares(&self, tenths: &[Tenths]) -> Answer {
        let mut counts = vec![0.0; 10 * tenths.len()];
        for row in self.rows() {
            let known = row.iter().zip(tenths).enumerate().filter(|(_, (x, _))| x.is_finite());
            known.for_each(|(at, (x, tenths))| counts[10 * at + tenths.of(*x)] += 1.0);
        }
        Ok(counts)
    }

    fn errors(&self, body: &Body, grain: f64, most: usize) -> Vec<f64> {
        let (examples, question) = (self.examples, &self.examples.question);
        let error = |at: usize| {
            let past = examples.past(examples.each[at]);
            let said = body.value(&past, &examples.rows[at], question.target, question.ahead);
            (examples.truths[at] - said) / spread(&past, question.target, grain)
        };
        let errors = (self.until..examples.rows.len()).map(error);
        let mut errors: Vec<f64> = errors.filter(|error| error.is_finite()).collect();
        errors.sort_by(f64::total_cmp);
        if errors.len() <= most {
            return errors;
        }
        let share = |at: usize| (at as f64 + 0.5) / most as f64;
        (0..most).map(|at| quantile(&errors, share(at))).collect()
    }
}

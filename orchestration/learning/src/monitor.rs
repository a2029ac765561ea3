//! Whether a model still fits: its errors, and what it sees.
//!
//! A pure state machine, fed with each prediction that met its truth and with the figures that were
//! seen; it answers what changed. Sources: E. S. Page, "Continuous Inspection Schemes", Biometrika 41,
//! 1954, for the test of Page and Hinkley on errors; the population stability index, as in N. Siddiqi,
//! "Credit Risk Scorecards", 2006, for figures.

use crate::model::{Reference, Tenths};
use serde::{Deserialize, Serialize};

/// Errors that are waited for before they can be high: what is usual is learned from them.
const WARM_UP: u32 = 60;
/// By which share of their usual size errors may rise unnoticed.
const SLACK: f64 = 0.25;
/// How many usual errors too much there must be.
const ALARM: f64 = 30.0;
/// Figures that are looked at together.
pub(crate) const WINDOW: u32 = 500;
/// From this index on a figure is distributed otherwise; 0.1 to 0.25 is a small change.
const SHIFTED: f64 = 0.25;
/// Into which figures are counted.
const TENTHS: usize = 10;

/// Something changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "drift")]
pub enum Drift {
    /// Errors are larger than they were.
    Errors {
        /// The mean of the last ones, in spreads.
        now: f64,
        /// The mean before.
        usual: f64,
    },
    /// A figure is distributed otherwise than in training.
    Figure {
        /// Its name.
        name: String,
        /// The population stability index.
        index: f64,
    },
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors { now, usual } => {
                write!(f, "errors are {:.1} times as large as they were", now / usual)
            }
            Self::Figure { name, index } => {
                write!(f, "`{name}` is distributed otherwise than in training (index {index:.2})")
            }
        }
    }
}

/// Watches one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    names: Vec<String>,
    tenths: Vec<Tenths>,
    /// Rows by figure and tenth since the window began, and how many.
    counts: Vec<[u32; TENTHS]>,
    seen: u32,
    /// Figures that are distributed otherwise, so that each is told once.
    shifted: Vec<bool>,
    errors: u32,
    usual: f64,
    /// The mean of the last errors.
    lately: f64,
    /// What errors had too much, together, and the least of that.
    sum: f64,
    least: f64,
}

impl Monitor {
    /// Watches a model with these figures.
    pub fn new(names: Vec<String>, reference: &Reference) -> Self {
        let figures = reference.tenths.len();
        Self {
            names,
            tenths: reference.tenths.clone(),
            counts: vec![[0; TENTHS]; figures],
            seen: 0,
            shifted: vec![false; figures],
            errors: 0,
            usual: 0.0,
            lately: 0.0,
            sum: 0.0,
            least: 0.0,
        }
    }

    /// Takes the error of a prediction in spreads (`Trained::spread`); what is not a number says nothing.
    pub fn met(&mut self, said: f64, truth: f64, spread: f64) -> Option<Drift> {
        // One absurd value is no drift.
        let error = ((truth - said) / spread).abs().min(20.0);
        if error.is_nan() {
            return None;
        }
        self.errors = self.errors.saturating_add(1);
        self.lately += (error - self.lately) / f64::from(self.errors.min(30));
        if self.errors <= WARM_UP {
            self.usual += (error - self.usual) / f64::from(self.errors);
            return None;
        }
        let usual = self.usual.max(1e-3);
        self.sum += error / usual - 1.0 - SLACK;
        self.least = self.least.min(self.sum);
        if self.sum - self.least <= ALARM {
            return None;
        }
        let drift = Drift::Errors { now: self.lately, usual };
        // What is usual is learned anew, and the next change is found again.
        (self.errors, self.usual, self.lately) = (0, 0.0, 0.0);
        (self.sum, self.least) = (0.0, 0.0);
        Some(drift)
    }

    /// Takes the figures of a moment (`Trained::figures`); tells what changed once a window is full.
    pub fn saw(&mut self, row: &[f64]) -> Vec<Drift> {
        for ((counts, tenths), x) in self.counts.iter_mut().zip(&self.tenths).zip(row) {
            if x.is_finite() {
                counts[tenths.of(*x)] += 1;
            }
        }
        self.seen += 1;
        if self.seen < WINDOW {
            return Vec::new();
        }
        let mut drifts = Vec::new();
        for figure in 0..self.counts.len() {
            let index = index(&self.counts[figure], &self.tenths[figure]);
            let shifted = index.is_some_and(|index| index > SHIFTED);
            if let Some(index) = index.filter(|_| shifted && !self.shifted[figure]) {
                let name = self.names.get(figure).cloned().unwrap_or_default();
                drifts.push(Drift::Figure { name, index });
            }
            self.shifted[figure] = shifted;
            self.counts[figure] = [0; TENTHS];
        }
        self.seen = 0;
        drifts
    }
}

/// How far a distribution is from tenths; nothing where too little was measured.
fn index(counts: &[u32; TENTHS], tenths: &Tenths) -> Option<f64> {
    let all: u32 = counts.iter().sum();
    if all < WINDOW / 2 {
        return None;
    }
    // That nobody came is no certainty: half a row stands for none.
    let least = 0.5 / f64::from(all);
    let each = counts.iter().zip(&tenths.shares).map(|(&count, &share)| {
        let (found, expected) = ((f64::from(count) / f64::from(all)).max(least), share.max(least));
        (found - expected) * (found / expected).ln()
    });
    Some(each.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Draw;

    fn monitor() -> Monitor {
        let even: Vec<_> = (0..1000).map(|at| f64::from(at) / 1000.0).collect();
        let rare: Vec<_> = (0..1000).map(|at| f64::from(u8::from(at % 50 == 0))).collect();
        let tenths = vec![Tenths::new(even), Tenths::new(rare)];
        let reference = Reference { usual: 1.0, high: 2.0, grain: 0.1, series: 1.0, tenths };
        Monitor::new(vec!["here.a".into(), "here.b".into()], &reference)
    }

    fn part(draw: &mut Draw) -> f64 {
        draw.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    #[test]
    fn errors_that_rise_are_told_once_and_those_that_do_not_never() {
        let (mut monitor, mut draw) = (monitor(), Draw(4));
        let calm = (0..5000).find_map(|_| monitor.met(0.0, part(&mut draw), 1.0));
        assert_eq!(calm, None);

        let told: Vec<_> =
            (0..300).filter_map(|_| monitor.met(0.0, 3.0 * part(&mut draw), 1.0)).collect();

        assert_eq!(told.len(), 1, "{told:?}");
        let Drift::Errors { now, usual } = told[0] else { panic!("{told:?}") };
        assert!((1.5..6.0).contains(&(now / usual)), "{told:?}");
        assert_eq!(monitor.met(f64::NAN, 1.0, 1.0), None);
    }

    #[test]
    fn a_figure_that_moves_is_named_once_and_one_that_is_rare_as_before_is_not() {
        let (mut monitor, mut draw) = (monitor(), Draw(9));
        let mut window = |by: f64| -> Vec<Drift> {
            let rare = |at: u32| f64::from(u8::from(at.is_multiple_of(60)));
            (0..WINDOW).flat_map(|at| monitor.saw(&[part(&mut draw) + by, rare(at)])).collect()
        };

        assert_eq!(window(0.0), []);
        let told = window(0.5);
        assert_eq!(window(0.5), []);

        let [Drift::Figure { name, index }] = &told[..] else { panic!("{told:?}") };
        assert!(name == "here.a" && *index > 1.0, "{told:?}");
    }
}

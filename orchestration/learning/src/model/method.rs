//! The kinds of models that can be trained, each with its settings.

use super::{
    Boosting, Design, Draw, Fitted, Forest, Growth, Polynomial,
    examples::Examples,
    lstm::{Lstm, Network},
    path::{Path, SEASON_MAX_S},
    polynomial::CROSSED_MAX,
};
use crate::{
    Error, Past, Result,
    forecast::Ahead,
    model::{Model, Target},
};
use serde::{Deserialize, Serialize};

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As it is now.
    Naive,
    /// As it was a season ago.
    SeasonalNaive {
        /// Seconds of a season.
        season_s: u32,
    },
    /// As the exponentially weighted mean; its half-life is fitted.
    Ewma,
    /// Exponential smoothing of level, trend and season; its weights are fitted.
    HoltWinters {
        /// Seconds of a season.
        season_s: u32,
    },
    /// Ridge regression.
    Ridge {
        /// As if so many rows had said that weights are nothing.
        penalty: f64,
    },
    /// Ridge regression of figures, their squares and products.
    Polynomial {
        /// As for ridge.
        penalty: f64,
        /// Of how many figures squares and products are taken, at most 24.
        crossed: usize,
    },
    /// A random forest.
    Forest(Forest),
    /// Gradient boosting over histograms.
    Gbm(Boosting),
    /// A small recurrent network over the last half hour.
    Lstm(Network),
    /// Trained elsewhere and imported.
    Onnx,
}

/// What came out of training: what a moment says of what comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Body {
    Row(Fitted),
    Path {
        path: Path,
        /// Added to the figure of its path.
        shift: f64,
    },
    Lstm(Lstm),
}

impl Method {
    /// The names of what can be trained.
    pub const NAMES: [&'static str; 9] = [
        "naive",
        "seasonal-naive",
        "ewma",
        "holt-winters",
        "ridge",
        "polynomial",
        "forest",
        "gbm",
        "lstm",
    ];

    /// The method of this name as it is used when nothing is said of it; nothing if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let season_s = 3600;
        let growth = Growth { leaves: 8, leaf_rows: 60, ..Growth::default() };
        let method = match name {
            "naive" => Self::Naive,
            "seasonal-naive" => Self::SeasonalNaive { season_s },
            "ewma" => Self::Ewma,
            "holt-winters" => Self::HoltWinters { season_s },
            "ridge" => Self::Ridge { penalty: 300.0 },
            "polynomial" => Self::Polynomial { penalty: 1000.0, crossed: 12 },
            "forest" => {
                let growth = Growth { leaf_rows: 20, ..Forest::default().growth };
                Self::Forest(Forest { growth, ..Forest::default() })
            }
            "gbm" => Self::Gbm(Boosting { trees: 100, rate: 0.05, growth }),
            "lstm" => Self::Lstm(Network::default()),
            _ => return None,
        };
        Some(method)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::SeasonalNaive { .. } => "seasonal-naive",
            Self::Ewma => "ewma",
            Self::HoltWinters { .. } => "holt-winters",
            Self::Ridge { .. } => "ridge",
            Self::Polynomial { .. } => "polynomial",
            Self::Forest(_) => "forest",
            Self::Gbm(_) => "gbm",
            Self::Lstm(_) => "lstm",
            Self::Onnx => "onnx",
        }
    }

    /// The same kind with other settings, drawn from where good ones are found; itself where there is
    /// nothing to choose.
    pub(super) fn drawn(&self, draw: &mut Draw) -> Self {
        let mut part = || draw.below(1 << 30) as f64 / f64::from(1 << 30);
        // As many draws between 1 and 10 as between 10 and 100.
        let mut between = |low: f64, high: f64| low * (high / low).powf(part());
        match *self {
            Self::Ridge { .. } => Self::Ridge { penalty: between(1.0, 1e4) },
            Self::Polynomial { .. } => {
                let penalty = between(10.0, 1e5);
                Self::Polynomial { penalty, crossed: between(4.0, CROSSED_MAX as f64) as usize }
            }
            Self::Forest(forest) => {
                let leaf_rows = between(3.0, 200.0) as u32;
                Self::Forest(Forest { growth: Growth { leaf_rows, ..forest.growth }, ..forest })
            }
            Self::Gbm(boosting) => Self::Gbm(Boosting {
                trees: between(40.0, 300.0) as usize,
                rate: between(0.01, 0.15),
                growth: Growth {
                    leaves: between(4.0, 32.0) as usize,
                    leaf_rows: between(10.0, 300.0) as u32,
                    shrink_rows: between(0.1, 100.0),
                    ..boosting.growth
                },
            }),
            Self::Lstm(network) => Self::Lstm(Network {
                units: between(6.0, 24.0) as usize,
                epochs: between(6.0, 24.0) as usize,
                rate: between(1e-3, 1e-2),
                ..network
            }),
            Self::SeasonalNaive { .. } => {
                Self::SeasonalNaive { season_s: 60 * between(10.0, 360.0) as u32 }
            }
            Self::HoltWinters { .. } => {
                Self::HoltWinters { season_s: 60 * between(10.0, 360.0) as u32 }
            }
            Self::Naive | Self::Ewma | Self::Onnx => *self,
        }
    }

    /// Fits it to some of the moments.
    ///
    /// # Errors
    /// Settings that make no sense, as the kind's own `fit` says.
    pub(super) fn fit(&self, examples: &Examples, chosen: &[usize], seed: u64) -> Result<Body> {
        match *self {
            Self::Naive => Ok(path(Path::Naive, examples, chosen)),
            Self::SeasonalNaive { season_s } => {
                let season = season(season_s)? / 60;
                Ok(path(Path::Seasonal { season }, examples, chosen))
            }
            Self::Ewma => Ok(path(Path::ewma(examples, chosen), examples, chosen)),
            Self::HoltWinters { season_s } => {
                let winters = Path::winters(season(season_s)?, examples, chosen);
                Ok(path(winters, examples, chosen))
            }
            Self::Lstm(network) => Lstm::fit(examples, chosen, &network, seed).map(Body::Lstm),
            _ => {
                let (rows, truths) = examples.of(chosen);
                self.fit_rows(&rows, &truths, seed).map(Body::Row)
            }
        }
    }

    fn fit_rows(&self, rows: &[Vec<f64>], truths: &[f64], seed: u64) -> Result<Fitted> {
        match *self {
            Self::Ridge { penalty } => Design::new(rows)?.fit(truths, penalty).map(Fitted::Ridge),
            Self::Polynomial { penalty, crossed } => {
                Polynomial::fit(rows, truths, penalty, crossed).map(Fitted::Polynomial)
            }
            Self::Forest(forest) => Forest { seed, ..forest }.fit(rows, truths).map(Fitted::Trees),
            Self::Gbm(boosting) => boosting.fit(rows, truths).map(Fitted::Trees),
            _ => Err(Error::Unfit(format!("`{}` is not fitted to rows", self.name()))),
        }
    }
}

fn season(season_s: u32) -> Result<u32> {
    match (60..=SEASON_MAX_S).contains(&season_s) {
        true => Ok(season_s),
        false => Err(Error::Unfit(format!(
            "a season of {season_s} s: it is from a minute to {SEASON_MAX_S} s long"
        ))),
    }
}

/// The highest of what is expected lies below the highest that comes: what is missing on average is
/// added. Means are left as they are.
fn path(path: Path, examples: &Examples, chosen: &[usize]) -> Body {
    let (target, ahead) = (examples.question.target, examples.question.ahead);
    let off = chosen.iter().map(|&at| {
        examples.truths[at] - path.value(&examples.past(examples.each[at]), target, ahead)
    });
    let shift = match target.is_linear() {
        true => 0.0,
        false => crate::features::mean(off.filter(|off| off.is_finite())),
    };
    Body::Path { path, shift: if shift.is_finite() { shift } else { 0.0 } }
}

impl Body {
    /// The prediction for a past, or not a number where nothing of it was measured; `row` are the
    /// figures of the past.
    pub(super) fn value(&self, past: &Past, row: &[f64], target: Target, ahead: Ahead) -> f64 {
        match self {
            Self::Row(model) => model.predict(row),
            Self::Path { path, shift } => path.value(past, target, ahead) + shift,
            Self::Lstm(model) => model.value(past),
        }
    }

    /// Whether it can be asked about rows of so many figures: what came from outside is asked first.
    pub(super) fn is_sound(&self, width: usize) -> bool {
        match self {
            Self::Row(model) => model.usual().len() == width && model.is_sound(),
            Self::Path { path, shift } => path.is_sound() && shift.is_finite(),
            Self::Lstm(model) => model.is_sound(),
        }
    }
}

//! The kinds of models that can be asked for by name.

use super::{Boosting, Design, Forest, Growth, Model, Onnx, Polynomial, Ridge, Trees};
use crate::Result;
use serde::{Deserialize, Serialize};

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Ridge regression.
    Ridge,
    /// Gradient boosting over histograms.
    Gbm,
    /// A random forest.
    Forest,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ridge, Self::Gbm, Self::Forest];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ridge => "ridge",
            Self::Gbm => "gbm",
            Self::Forest => "forest",
        }
    }

    /// Fits a target to rows that were made ready; `penalty`, in rows, is for all kinds how many
    /// of them have to say something before it is believed.
    ///
    /// # Errors
    /// As of the kind's own `fit`.
    pub fn fit(
        self,
        design: &Design,
        rows: &[Vec<f64>],
        targets: &[f64],
        penalty: f64,
    ) -> Result<Fitted> {
        // A tree believes a leaf, not a whole column: a tenth of the rows is as careful.
        let leaf_rows = (penalty / 10.0).clamp(1.0, 1e6) as u32;
        match self {
            Self::Ridge => design.fit(targets, penalty).map(Fitted::Ridge),
            Self::Gbm => {
                let growth = Growth { leaves: 8, leaf_rows, ..Growth::default() };
                let boosting = Boosting { rate: 0.05, growth, ..Boosting::default() };
                boosting.fit(rows, targets).map(Fitted::Trees)
            }
            Self::Forest => {
                let growth = Growth { leaf_rows: leaf_rows / 5 + 1, ..Forest::default().growth };
                Forest { growth, ..Forest::default() }.fit(rows, targets).map(Fitted::Trees)
            }
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no kind of model: write one of {names}")
        })
    }
}

/// A model of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fitted {
    /// Ridge regression.
    Ridge(Ridge),
    /// Gradient boosting or a forest.
    Trees(Trees),
    /// Polynomial regression.
    Polynomial(Polynomial),
    /// What an ONNX file says.
    Onnx(Onnx),
}

impl Fitted {
    /// Whether it can be asked for any row: what came from outside is asked first.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Ridge(model) => model.is_sound(),
            Self::Trees(model) => model.is_sound(),
            Self::Polynomial(model) => model.is_sound(),
            // It was checked when it was read.
            Self::Onnx(_) => true,
        }
    }
}

impl Model for Fitted {
    fn predict(&self, row: &[f64]) -> f64 {
        match self {
            Self::Ridge(model) => model.predict(row),
            Self::Trees(model) => model.predict(row),
            Self::Polynomial(model) => model.predict(row),
            Self::Onnx(model) => model.predict(row),
        }
    }

    fn usual(&self) -> &[f64] {
        match self {
            Self::Ridge(model) => model.usual(),
            Self::Trees(model) => model.usual(),
            Self::Polynomial(model) => model.usual(),
            Self::Onnx(model) => model.usual(),
        }
    }
}

impl Fitted {
    /// The model as an ONNX file with texts about it.
    pub fn to_onnx(&self, about: &[(String, String)]) -> Vec<u8> {
        super::onnx::Exported(self).file(about)
    }
}

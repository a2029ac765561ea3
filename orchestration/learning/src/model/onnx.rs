//! Models as ONNX files: strangers' are read within limits and run, ours are written.
//!
//! A file is untrusted. What it may do is decided before anything of it is run: its operators are
//! of a list of those whose work and memory follow from the shapes of what goes in, shapes are
//! followed from the input to the output, and their sums are limited ([`bounds`]). An answer then
//! takes bounded time and memory for every row.

mod bounds;
mod read;
#[cfg(test)]
mod tests;
mod trees;
mod write;

pub(super) use write::Exported;

use super::{Fitted, Model, Usual};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tract_onnx::prelude::*;

/// A larger file is refused before it is read.
const FILE_MAX_BYTES: u64 = 32 << 20;

/// A model that an ONNX file holds: a row of figures in, a number out.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Onnx {
    stored: Stored,
    plan: Arc<TypedRunnableModel>,
    width: usize,
}

/// What is kept: the file, and the usual value of each figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    file: Vec<u8>,
    usual: Usual,
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Onnx({} figures, {} bytes)", self.width, self.stored.file.len())
    }
}

impl PartialEq for Onnx {
    fn eq(&self, other: &Self) -> bool {
        self.stored == other.stored
    }
}

impl From<Onnx> for Stored {
    fn from(model: Onnx) -> Self {
        model.stored
    }
}

impl TryFrom<Stored> for Onnx {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let width = stored.usual.0.len();
        let plan = planned(&stored.file, width)?;
        Ok(Self { stored, plan, width })
    }
}

impl Onnx {
    /// Reads a file whose model takes a row of as many figures as `usual` has. A forest becomes one of
    /// ours.
    ///
    /// # Errors
    /// A file that is damaged, too large, of another shape, or does what is not run, with what.
    pub fn read(file: Vec<u8>, usual: Vec<f64>) -> Result<Fitted> {
        let proto = read::decoded(&file, usual.len())?;
        let usual = Usual(usual);
        if let Some(node) = proto.graph.as_ref().and_then(trees::forest) {
            return trees::read(node, usual).map(Fitted::Trees);
        }
        Self::try_from(Stored { file, usual }).map(Fitted::Onnx)
    }

    /// The file as it was read.
    pub(crate) fn file(&self) -> &[u8] {
        &self.stored.file
    }

    fn run(&self, row: &[f64]) -> Option<f64> {
        let usual = &self.stored.usual.0;
        let figure = |at: usize| {
            let given = row.get(at).copied().filter(|x| x.is_finite());
            given.unwrap_or(usual[at]) as f32
        };
        let row: Vec<_> = (0..self.width).map(figure).collect();
        let input = Tensor::from_shape(&[1, self.width], &row).ok()?;
        let plan = &self.plan;
        // It ran when it was read; but what a stranger's file does with another row is not ours.
        let said = catch_unwind(AssertUnwindSafe(|| plan.run(tvec!(input.into())).ok())).ok()??;
        number(said.first()?)
    }
}

impl Model for Onnx {
    fn predict(&self, row: &[f64]) -> f64 {
        self.run(row).unwrap_or(f64::NAN)
    }

    fn usual(&self) -> &[f64] {
        &self.stored.usual.0
    }
}

/// The only number of a tensor.
fn number(tensor: &Tensor) -> Option<f64> {
    let cast = tensor.cast_to::<f64>().ok()?;
    let view = cast.to_plain_array_view::<f64>().ok()?;
    (view.len() == 1).then(|| view.iter().next().copied()).flatten()
}

/// Checks the file, and makes it ready to be run.
fn planned(file: &[u8], width: usize) -> Result<Arc<TypedRunnableModel>> {
    let proto = read::decoded(file, width)?;
    read::check(&proto, width)?;
    let ready = AssertUnwindSafe(|| -> TractResult<_> {
        let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let shape = InferenceFact::dt_shape(f32::datum_type(), tvec!(1, width));
        let plan = onnx
            .model_for_proto_model(&proto)?
            .with_input_fact(0, shape)?
            .into_optimized()?
            .into_runnable()?;
        let row = Tensor::zero::<f32>(&[1, width])?;
        Ok((plan.run(tvec!(row.into()))?, plan))
    });
    let told = |text: String| Error::Unfit(format!("the ONNX file cannot be run: {text}"));
    let (said, plan) = match catch_unwind(ready) {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return Err(told(brief(&error.to_string()))),
        Err(_) => return Err(told("its operators do not fit together".into())),
    };
    match said.len() == 1 && number(&said[0]).is_some() {
        true => Ok(plan),
        false => Err(told("its answer is not one number for a row".into())),
    }
}

/// What a stranger's file makes an error say may be long.
fn brief(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

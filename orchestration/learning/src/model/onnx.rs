//! Models as ONNX files: strangers' are read and run within [`inference`]'s limits, ours are written.

#[cfg(test)]
mod tests;
mod trees;
mod write;

pub(super) use write::Exported;

use super::{Fitted, Model, Usual};
use crate::{Error, Result};
use inference::{File, Kind, Limits, Tensor};
use serde::{Deserialize, Serialize};

/// A model that an ONNX file holds: a row of figures in, a number out.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Onnx {
    stored: Stored,
    ready: inference::Model,
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
        let ready = ready(&decoded(&stored.file, width)?, width)?;
        Ok(Self { stored, ready, width })
    }
}

impl Onnx {
    /// Reads a file whose model takes a row of as many figures as `usual` has. A forest becomes one of
    /// ours.
    ///
    /// # Errors
    /// A file that is damaged, too large, of another shape, or does what is not run, with what.
    pub fn read(file: Vec<u8>, usual: Vec<f64>) -> Result<Fitted> {
        let decoded = decoded(&file, usual.len())?;
        let usual = Usual(usual);
        if let Some(node) = trees::forest(decoded.graph()) {
            return trees::read(node, usual).map(Fitted::Trees);
        }
        let (width, stored) = (usual.0.len(), Stored { file, usual });
        Ok(Fitted::Onnx(Self { ready: ready(&decoded, width)?, stored, width }))
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
        let row = Tensor::row((0..self.width).map(figure).collect());
        self.ready.run(&[&row], None).ok()?.first()?.only()
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

/// The file, if it is about rows of so many figures.
fn decoded(file: &[u8], width: usize) -> Result<File> {
    let file = File::read(file, &Limits::for_figures())?;
    let (inputs, outputs) = (file.inputs()?, file.graph().output.len());
    let ([input], 1) = (&inputs[..], outputs) else {
        let text = format!(
            "the ONNX model has {} inputs and {outputs} outputs: it must have one of each",
            inputs.len()
        );
        return Err(Error::Unfit(text));
    };
    let (Some(Kind::F32), [_, figures]) = (input.kind, &input.dims[..]) else {
        let text = "the ONNX model must take rows of 32-bit floats, of shape [1, figures]";
        return Err(Error::Unfit(text.into()));
    };
    match figures.filter(|&figures| figures != width as u64) {
        None => Ok(file),
        Some(other) => Err(Error::Unfit(format!(
            "the ONNX model takes rows of {other} figures; here a row has {width}"
        ))),
    }
}

/// Checks the file, and makes it ready to be run.
fn ready(file: &File, width: usize) -> Result<inference::Model> {
    let model = file.model_of(&[vec![1, width as u64]], &Limits::for_figures())?;
    let answer = &model.outputs()[0];
    if answer.dims.iter().product::<usize>() != 1 {
        return Err(Error::Unfit(format!(
            "the ONNX model's answer has the shape {:?}: it must be one number for a row",
            answer.dims
        )));
    }
    // What cannot be computed at all is better known now.
    model.run(&[&Tensor::row(vec![0.0; width])], None)?;
    Ok(model)
}

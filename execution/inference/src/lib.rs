//! ONNX models: strangers' files are read within limits, and run.
//!
//! A file is untrusted. What it may do is decided before anything of it is run: its operators are
//! of a list of those whose work and memory follow from the shapes of what goes in, shapes are
//! followed from the inputs to the outputs, and their sums are limited. An answer then takes
//! bounded time and memory whatever the numbers are.
//!
//! Start at [`File::read`], which counts and decodes a file, and [`File::model`], which makes it
//! ready; [`Model::run`] answers. Files of our own are written with [`write`].

mod bounds;
mod error;
mod file;
mod limits;
mod model;
mod tensor;
#[cfg(test)]
mod tests;
pub mod write;

pub use error::{Error, Result};
pub use file::{Declared, File};
pub use limits::Limits;
pub use model::{Info, Model};
pub use tensor::{Kind, Tensor};
/// The messages that a file consists of.
pub use tract_onnx::pb as message;

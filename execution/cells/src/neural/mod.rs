//! Models for cells: wasi-nn, the functions of `wasi_ephemeral_nn`, over [`inference`].
//!
//! A model is [`Given`] to a cell under a name, which it loads with `load_by_name`; or the cell
//! brings one as bytes, which it loads with `load`. Graphs, contexts, and the tensors that were set
//! and computed belong to the cell: a snapshot has them all, named models by name and digest, others
//! whole. What a guest does wrong it is told as an error number; what it may take is limited.

mod given;
mod graphs;
mod image;
mod link;
#[cfg(test)]
mod tests;

pub use given::{Given, ModelFile, open};
pub(crate) use graphs::Neural;
pub(crate) use image::NeuralImage;
pub(crate) use link::{MODULE, add_to_linker};

/// Graphs that one cell may load.
const GRAPHS_MAX: usize = 16;
/// Contexts that one cell may make.
const CONTEXTS_MAX: usize = 64;
/// Most bytes that a snapshot has of a cell's models: the files that it brought, and tensors. A section of a
/// snapshot takes 256 MiB, with whatever else the cell's system has.
const CARRIED_MAX_BYTES: u64 = 192 << 20;
/// Largest name of a model, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 128;

/// The error numbers of wasi-nn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    Success = 0,
    /// An address, number or tensor that does not fit.
    InvalidArgument = 1,
    /// The bytes are no model that is run.
    InvalidEncoding = 2,
    /// Another thread computes in this context, or others take the memory.
    Busy = 4,
    /// Nothing was computed, or computing failed.
    RuntimeError = 5,
    /// A kind of numbers or a device that we do not have.
    UnsupportedOperation = 6,
    /// More than a cell may have, or than the buffer takes.
    TooLarge = 7,
    /// No model has this name.
    NotFound = 8,
}

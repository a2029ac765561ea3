//! C-Cells.

pub mod wasi;

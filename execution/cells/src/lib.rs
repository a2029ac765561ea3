//! C-Cells.

pub mod toolchain;

//! C-Cells.

//! C-Cells: WebAssembly that runs programs and services, and moves while it runs.

pub mod limits;
pub mod record;
pub mod toolchain;
pub mod worker;

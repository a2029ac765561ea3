//! Facts about the WASI host.

mod host;
mod programs;

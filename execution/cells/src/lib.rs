//! C-Cells: WebAssembly that runs programs and services, and moves while it runs.
//!
//! Start at [`Runtime::load`], which makes a module ready, and [`run::Run`], which runs it to its
//! end; [`tissue::Tissue`] runs the ranks of an MPI program, [`parallel::Parallel`] the threads of
//! one with OpenMP. Services live in worker processes: [`worker`]. What a suspended cell is in
//! bytes is in [`snapshot`]; what guests may call is in [`wasi`], and with [`open_models`] wasi-nn; how guests are built is in
//! [`toolchain`].

mod asyncify;
mod cache;
mod cell;
mod compiler;
mod dirty;
mod door;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod globals;
mod host;
pub mod limits;
mod memory;
mod neural;
pub mod parallel;
mod precopy;
mod program;
mod ranks;
pub mod record;
mod requests;
pub mod run;
mod service;
pub mod snapshot;
pub mod tissue;
pub mod toolchain;
mod trap;
pub mod twin;
pub mod wasi;
pub mod worker;

pub use cache::Cache;
pub use cell::{Cell, Pause, Suspender};
pub use compiler::{
    Compiler, CompilerLimits, MALFORMED_EXIT_CODE, backend_name, compile_here, end_with_parent,
    limit_compiler_process, purpose_name,
};
pub use engine::Use;
pub use error::{Error, Result};
pub use neural::{Given, ModelFile, open as open_models};
pub use program::{Program, Runtime, digest_file};

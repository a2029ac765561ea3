//! Facts about the WASI host.

mod calls;
mod confinement;
mod host;
mod images;
mod mounts;
mod objects;
mod programs;
mod support;

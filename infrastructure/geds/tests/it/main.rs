//! What the store promises to other crates.

mod basics;
mod children;
mod hostile;
mod killed;
mod limits;
mod model;
mod processes;
mod rig;

//! The C library of the store: `include/geds.h` says what each function does.
//!
//! Handles are numbers that are looked up, so that a wrong one is refused and not followed. Pointers
//! are looked at in [`border`] alone. No panic leaves a function of [`object`] or [`file`].

pub mod border;
pub mod file;
pub mod object;

mod failure;
mod handles;

//! What the store promises to other crates.

mod basics;

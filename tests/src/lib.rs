//! What the cross-layer tests share: where the repository is, and what Cargo and git say of it.
//!
//! The tests themselves are in `tests/`, one file for each subject. `layers`, `licences` and
//! `public_text` look at the repository; the others run the whole system.

mod repository;

pub use repository::{cargo_metadata, list, manifest, read, root, text, tracked_files};

//! Helpers that tests share: own folders, waiting on conditions, printed seeds.

mod folder;
mod random;
mod wait;

pub use folder::Folder;
pub use random::{Random, soak_rounds};
pub use wait::wait_until;

//! Whole continua, as users start them: processes, kills, moves and strangers.
//!
//! Each test starts `cloudskin up -d` on a loopback network and in folders of its own, and leaves
//! nothing behind. Where the guest toolchain is not installed the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
#![expect(clippy::print_stderr, reason = "a failed test shows what it did")]

mod failures;
mod guests;
mod hostile;
mod http;
mod kills;
mod life;
mod load;
mod machines;
mod models;
mod moves;
mod objects;
mod orphans;
mod ranks;
mod restores;
mod shared;
mod strangers;
mod tissues;
mod world;

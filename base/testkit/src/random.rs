//! Randomness that a failed test can repeat.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that repeats a run.
const SEED: &str = "CLOUDSKIN_SEED";
/// The variable that makes a run long.
const ROUNDS: &str = "CLOUDSKIN_SOAK_ROUNDS";

/// Random numbers from a seed that is printed (SplitMix64); `CLOUDSKIN_SEED` repeats a run.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Takes the seed from the environment or the time, and prints it for `test`.
    pub fn printed(test: &str) -> Self {
        let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_micros() as u64 ^ u64::from(std::process::id()) << 48
        });
        eprintln!("{test}: repeat with {SEED}={seed}");
        Self(seed)
    }

    /// Starts from a seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How many rounds a random test makes: `short`, or what `CLOUDSKIN_SOAK_ROUNDS` says.
pub fn soak_rounds(short: u64) -> u64 {
    std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

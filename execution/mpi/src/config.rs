//! Limits and habits of one world.

use std::time::Duration;

/// How the ranks of a world exchange messages and wait.
#[derive(Debug, Clone)]
pub struct Config {
    /// Messages up to this many bytes are copied into the peer's queue at once; longer ones wait
    /// for their receiver and are copied once. At most [`Config::EAGER_BYTES_MAX`].
    pub eager_bytes: usize,
    /// What one sender may have queued at one receiver beyond their ring; after that its messages
    /// wait as long ones do, so that a flood costs the sender and not the memory of the host.
    pub backlog_bytes_max: usize,
    /// How long a rank polls before it sleeps, where every rank has a processor.
    pub spin: Duration,
    /// How many processors the ranks share. With fewer processors than ranks, waits are short.
    pub processors: usize,
    /// Whether ranks that all wait for each other end the world with a description. It is off in
    /// a world at several sites, where messages come from outside of this process.
    pub deadlocks: bool,
    /// What `MPI_Get_processor_name` tells.
    pub processor_name: String,
}

impl Config {
    /// The longest message that may be copied at once.
    pub const EAGER_BYTES_MAX: usize = 8192;
    /// The most ranks in a world: rings are made for pairs that talk, but their table is square.
    pub const RANKS_MAX: u32 = 1024;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            eager_bytes: 2048,
            backlog_bytes_max: 16 << 20,
            spin: Duration::from_micros(50),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            deadlocks: true,
            processor_name: "cell".to_owned(),
        }
    }
}

//! What the host must offer: functions of the program, and threads.

use crate::{Result, Worker};

/// The program, as one thread of it sees it.
pub trait Guest {
    /// Calls the function at this index of the program's table. All arguments are words; so is
    /// the result, which is 0 unless the function `returns` one.
    ///
    /// # Errors
    /// If there is no such function, it has another type, or it traps.
    fn call(&mut self, function: u32, args: &[u32], returns: bool) -> Result<u32>;

    /// Memory from the program's own allocator, aligned to 8; 0 if there is none left.
    ///
    /// # Errors
    /// If the allocator traps.
    fn malloc(&mut self, bytes: u32) -> Result<u32>;

    /// Gives memory back.
    ///
    /// # Errors
    /// If the allocator traps.
    fn free(&mut self, address: u32) -> Result<()>;
}

/// Where threads come from.
pub trait Threads: Send + Sync {
    /// Starts a thread with a guest of its own that calls [`Worker::serve`]. `parent` is the
    /// guest of the calling thread, from whose allocator the new one's stack comes.
    ///
    /// # Errors
    /// If no thread can be had.
    fn start(&self, parent: &mut dyn Guest, worker: Worker) -> Result<()>;
}

//! What can go wrong in a program's use of OpenMP.

/// The result of an entry point.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a program cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument points outside the memory, or is not aligned.
    #[error("{length} bytes at address {address:#x} do not exist or are not aligned")]
    Address {
        /// Where.
        address: u32,
        /// How many.
        length: u32,
    },
    /// A loop has a schedule that does not exist.
    #[error("a loop asks for schedule {code}, which does not exist")]
    Schedule {
        /// As the program gave it.
        code: u32,
    },
    /// A loop steps by zero or has more iterations than can be counted.
    #[error("a loop cannot be shared: {reason}")]
    Loop {
        /// What is wrong.
        reason: &'static str,
    },
    /// The program calls in an order that no compiler makes.
    #[error("the program misuses OpenMP: {0}")]
    Misuse(&'static str),
    /// A lock is used wrongly.
    #[error("the lock at {address:#x} {reason}")]
    Lock {
        /// Where it is.
        address: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// The program nests or queues more than it may.
    #[error("the program uses more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// The guest's allocator has no room left.
    #[error("the program has no memory left: OpenMP needs {bytes} bytes")]
    Memory {
        /// How much was needed.
        bytes: u32,
    },
    /// An environment variable has a value that means nothing.
    #[error("`{name}={value}` is not understood: {expected}")]
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What could be there.
        expected: &'static str,
    },
    /// A thread could not be started.
    #[error("an OpenMP thread cannot be started")]
    Thread(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The guest's own code failed or ended the program.
    #[error("thread {thread} of the program ended")]
    Guest {
        /// Which thread: 0 is the one that runs `main`.
        thread: u32,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was saved of a program cannot be used.
    #[error("what was saved of OpenMP cannot be used: {reason}")]
    Image {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another thread failed, or the program ends.
    #[error("the program ends because another of its threads did")]
    Stopped,
}

//! What can go wrong with a cell.

use std::{io, path::PathBuf};
use types::{Digest, ErrorKind};

/// The result of what a cell or its runtime does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a module cannot be used, a cell ended, or the runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The objects that a program is granted cannot be reached.
    #[error("the objects of the program cannot be used")]
    Objects {
        /// Why.
        #[source]
        source: Box<geds::Error>,
    },
    /// A model that the cell is given cannot be used.
    #[error("the model `{name}` cannot be used")]
    Model {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: inference::Error,
    },
    /// The bytes are not a WebAssembly module.
    #[error("`{module}` is not a WebAssembly module that can run here: {reason}")]
    Malformed {
        /// The module's name.
        module: String,
        /// What is wrong, with the offset where there is one.
        reason: String,
    },
    /// The file is another one than was named.
    #[error("`{module}` has digest {found}, not {expected}")]
    Digest {
        /// The module's name.
        module: String,
        /// What was named.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The module needs functions that the host does not have.
    #[error(
        "`{module}` imports {}, which this host does not provide{}",
        list(imports),
        hint(imports)
    )]
    Imports {
        /// The module's name.
        module: String,
        /// `module.function` of each.
        imports: Vec<String>,
    },
    /// The module is not a program.
    #[error("`{module}` has no `_start` function: only programs (WASI commands) run as cells")]
    NoStart {
        /// The module's name.
        module: String,
    },
    /// The compiler process failed or was stopped.
    #[error("cannot compile `{module}`: {reason}")]
    Compile {
        /// The module's name.
        module: String,
        /// What the compiler said, or which limit it met.
        reason: String,
    },
    /// The module declares more memory than the cell may have.
    #[error(
        "`{module}` starts with {needs_bytes} bytes of memory: the cell's limit is {limit_bytes} bytes"
    )]
    Memory {
        /// The module's name.
        module: String,
        /// Its initial memory.
        needs_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// It runs on threads, which one cell does not have.
    #[error(
        "`{module}` runs on threads (it was built with --openmp), which is not possible here: \
         build it without --openmp for one thread"
    )]
    Threads {
        /// The module's name.
        module: String,
    },
    /// No place for another running cell.
    #[error("this worker holds as many running cells as it can ({limit})")]
    Cells {
        /// How many.
        limit: u32,
    },
    /// The guest trapped.
    #[error("the program failed: {trap}{}", place(frames))]
    Trap {
        /// What happened, in words.
        trap: String,
        /// Guest functions, innermost first.
        frames: Vec<String>,
    },
    /// The guest ran too long.
    #[error("the program was stopped: it ran longer than {limit_ms} ms{}", place(frames))]
    Deadline {
        /// What was allowed.
        limit_ms: u64,
        /// Guest functions, innermost first.
        frames: Vec<String>,
    },
    /// The service does not read.
    #[error(
        "the service asked for no request within {limit_ms} ms of its start: a service reads requests from standard input"
    )]
    Deaf {
        /// What was allowed.
        limit_ms: u64,
    },
    /// The module was not built to be suspended.
    #[error(
        "`{module}` cannot be suspended: {reason}; build it with `cloudskin build --migratable`, or instrument the module with `cloudskin build {module} --migratable -o NEW.wasm`"
    )]
    NotMigratable {
        /// The module's name.
        module: String,
        /// What is missing.
        reason: String,
    },
    /// The call stack at the barrier point is too deep to be kept.
    #[error(
        "the program's call stack is too deep to be suspended: it does not fit into the {area_bytes} bytes kept for it"
    )]
    StackTooDeep {
        /// Size of the unwind area.
        area_bytes: u32,
    },
    /// The program did not come to a point where it can be suspended.
    #[error("the program met no barrier point within {waited_ms} ms: it computes; try again later")]
    NoBarrier {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The threads of a program did not come to a point where all but the first are idle.
    #[error(
        "the program did not leave its parallel region{place} within {waited_ms} ms: a program on \
         threads is saved between regions; try again later"
    )]
    InRegion {
        /// How long was waited.
        waited_ms: u64,
        /// Where the region is, if the program was built with `-g`.
        place: String,
    },
    /// A snapshot cannot be used.
    #[error("the snapshot cannot be used")]
    Snapshot(#[from] crate::snapshot::SnapshotError),
    /// What the guest wrote could not be kept when it ended.
    #[error(transparent)]
    Close(#[from] crate::wasi::CloseError),
    /// The guest broke the record protocol.
    #[error("the service broke the record protocol")]
    Record(#[from] crate::record::RecordError),
    /// The service ended by itself.
    #[error(
        "the service ended by itself with exit code {code}: a service reads requests until its input ends"
    )]
    Ended {
        /// What it returned.
        code: i32,
    },
    /// The state at hand was written under a later right to serve.
    #[error("the state was written under epoch {held}: epoch {asked} has no right to it any more")]
    Fenced {
        /// The state's epoch.
        held: types::Epoch,
        /// The epoch that asked for it.
        asked: types::Epoch,
    },
    /// A journal is not as it was written.
    #[error(
        "the journal `{}` is damaged at byte {offset}: requests that were answered after that would be lost; put back a copy of it, or remove it to go on from the last checkpoint without them",
        path.display()
    )]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Where the first wrong record begins.
        offset: u64,
    },
    /// A journalled request was answered differently when it was replayed.
    #[error(
        "replaying request `{request}` from the journal gave another answer: the program depends on something that is not recorded"
    )]
    Diverged {
        /// The request's id.
        request: String,
    },
    /// The other side of a migration did not do its part.
    #[error("the state could not be handed over: {0}")]
    Handover(String),
    /// The ranks of an MPI program did not all stop; they go on.
    #[error("the program was not stopped: {0}")]
    NotStopped(mpi::NotStopped),
    /// The MPI program that the cell is a rank of has ended.
    #[error(transparent)]
    Mpi(mpi::Abort),
    /// The runtime failed.
    #[error("{what}")]
    Runtime {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failure of the runtime itself.
    pub(crate) fn runtime(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Runtime { what, source: source.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Read { .. } | Self::Write { .. } | Self::Runtime { .. } => ErrorKind::Internal,
            Self::Objects { source } => source.kind(),
            Self::Model { source, .. } => source.kind(),
            Self::Malformed { .. }
            | Self::Imports { .. }
            | Self::NoStart { .. }
            | Self::Compile { .. } => ErrorKind::Invalid,
            Self::Digest { .. } => ErrorKind::Corrupt,
            Self::Memory { .. } | Self::Cells { .. } => ErrorKind::Exhausted,
            Self::Trap { .. }
            | Self::Record(_)
            | Self::Ended { .. }
            | Self::Mpi(_)
            | Self::StackTooDeep { .. } => ErrorKind::Guest,
            Self::Deadline { .. }
            | Self::Deaf { .. }
            | Self::NoBarrier { .. }
            | Self::InRegion { .. }
            | Self::NotStopped(_) => ErrorKind::Timeout,
            Self::NotMigratable { .. } | Self::Threads { .. } => ErrorKind::Unsupported,
            Self::Snapshot(_) | Self::Journal { .. } | Self::Diverged { .. } => ErrorKind::Corrupt,
            Self::Close(error) => error.kind(),
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Handover(_) => ErrorKind::Unavailable,
        }
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Names what a module was probably built for.
fn hint(imports: &[String]) -> &'static str {
    let any = |prefix: &str| imports.iter().any(|import| import.starts_with(prefix));
    if any("env.") {
        " (an unresolved C function, or a module built for another host)"
    } else if any("wasi_unstable.") {
        " (an old WASI: build for `wasm32-wasip1`)"
    } else if any("wasi:") {
        " (a component's imports: build for `wasm32-wasip1`)"
    } else {
        ""
    }
}

fn place(frames: &[String]) -> String {
    if frames.is_empty() { String::new() } else { format!("\n  in {}", frames.join("\n  by ")) }
}

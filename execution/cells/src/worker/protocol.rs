//! What an agent and a worker say to each other over the worker's Unix socket.
//!
//! Every message is a frame: a header of 16 bytes — payload length (u32), version (u8), kind (u8),
//! two zero bytes, id (u64), all little-endian — and the payload.
//! Commands, replies, failures and events are postcard; a request's payload is the service's
//! handle (u32), the request id's length (u16), the request id, and the record frame for the
//! guest; an answer's is the guest's record frame. The first command must be [`Command::Hello`].

use super::objects::Objects;
use crate::{limits::Limits, neural::ModelFile};
use api::{
    cell::Form,
    service::{Durability, Engine, Lost},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use types::{Digest, Epoch, ErrorKind};

/// Version of this protocol. An agent that finds another one in a worker it would adopt lets the
/// worker checkpoint and exit, and starts its own.
pub const WORKER_VERSION: u8 = 5;

/// Length of a frame's header.
pub(crate) const HEADER_BYTES: usize = 16;

/// Largest payload: a request's body limit is at most 1 GiB.
pub(crate) const PAYLOAD_MAX_BYTES: u32 = (1 << 30) + (1 << 20);

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Command = 1,
    Reply = 2,
    Failure = 3,
    Request = 4,
    Answer = 5,
    Event = 6,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FrameKind,
    pub(crate) id: u64,
    pub(crate) size_bytes: u32,
}

/// The bytes on the socket are not a frame of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The other side speaks another version.
    #[error("the other side speaks worker protocol {found}, this one {WORKER_VERSION}")]
    Version {
        /// What stands there.
        found: u8,
    },
    /// The kind is unknown.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// The payload is over the limit.
    #[error("a frame declares {0} bytes: at most {PAYLOAD_MAX_BYTES} are allowed")]
    TooLarge(u32),
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.size_bytes.to_le_bytes());
        bytes[4] = WORKER_VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [a, b, c, d, version, kind, _, _, id @ ..] = *bytes;
        if version != WORKER_VERSION {
            return Err(FrameError::Version { found: version });
        }
        let kind = match kind {
            1 => FrameKind::Command,
            2 => FrameKind::Reply,
            3 => FrameKind::Failure,
            4 => FrameKind::Request,
            5 => FrameKind::Answer,
            6 => FrameKind::Event,
            other => return Err(FrameError::Kind(other)),
        };
        let size_bytes = u32::from_le_bytes([a, b, c, d]);
        if size_bytes > PAYLOAD_MAX_BYTES {
            return Err(FrameError::TooLarge(size_bytes));
        }
        Ok(Self { kind, id: u64::from_le_bytes(id), size_bytes })
    }
}

/// What an agent asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Shows the worker's token; adopts the worker.
    Hello {
        /// From the worker's token file.
        token: String,
    },
    /// Serves a service: from what its state folder holds, else from the beginning.
    Start(Box<ServiceStart>),
    /// Ends a service after the request in hand; with a last checkpoint if asked.
    Stop {
        /// Which.
        uid: String,
        /// Whether its state shall be in the state folder afterwards.
        checkpoint: bool,
    },
    /// Writes a checkpoint now.
    Checkpoint {
        /// Of which.
        uid: String,
    },
    /// Migration, 1, at the target: makes an empty cell ready and listens for its state.
    Prepare {
        /// The migration.
        migration: String,
        /// As for `Start`, under the epoch that it will have here.
        start: Box<ServiceStart>,
        /// The address to listen on; the system chooses the port.
        listen: IpAddr,
    },
    /// Migration, 2, at the source: sends the state; in the end the cell stands still.
    Transfer {
        /// The migration.
        migration: String,
        /// Which service.
        uid: String,
        /// Where the target listens.
        address: SocketAddr,
        /// Lets the sender in, once.
        secret: String,
    },
    /// Migration, 3, at the target: serves. Its state folder holds the state by then.
    Activate {
        /// The migration.
        migration: String,
    },
    /// The migration failed: a source serves on, a target drops what it has. Idempotent.
    Abort {
        /// The migration.
        migration: String,
    },
    /// The migration is over: the source drops the cell and empties its state folder. Idempotent.
    Release {
        /// The migration.
        migration: String,
    },
    /// Refuses (`true`) or again takes (`false`) requests: the site's lease ran out or is back.
    Fence {
        /// Which service.
        uid: String,
        /// Whether to refuse.
        fenced: bool,
    },
    /// What it holds.
    Status,
    /// Reads what a service or cell wrote to its standard error (and output, for a cell).
    Logs {
        /// Of which.
        uid: String,
        /// From this byte on.
        offset: u64,
        /// At most so many bytes.
        limit: u64,
    },
    /// Writes a snapshot of a service or cell into a file, at its next barrier point.
    Snapshot {
        /// Of which.
        uid: String,
        /// The file, made anew.
        path: PathBuf,
    },
    /// Runs a program to its end; this worker then belongs to it alone.
    Run(Box<CellStart>),
    /// Says how many processors the program of `Run`, which is on threads, has from its next
    /// parallel region on.
    Grant {
        /// Which.
        uid: String,
        /// So many.
        cpus: u32,
    },
    /// Takes a step towards another layout of the ranks of `Run`.
    Tissue {
        /// Of which.
        uid: String,
        /// Which layout.
        number: u64,
        /// What to do.
        step: api::tissue::Step,
        /// Where to listen, if it does.
        listen: IpAddr,
        /// Snapshots to restore from, or where to write one.
        files: Vec<PathBuf>,
    },
    /// Ends all it holds, with last checkpoints if asked, and exits.
    Shutdown {
        /// Whether the states shall be in the state folders afterwards.
        checkpoint: bool,
    },
    /// Shows the worker's token on a further connection, which carries one request at a time.
    Lane {
        /// From the worker's token file.
        token: String,
    },
}

/// How to serve a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStart {
    /// Names it for ever.
    pub uid: String,
    /// For messages: `tenant/name`.
    pub name: String,
    /// The right to serve it.
    pub epoch: Epoch,
    /// Counts starts within the epoch.
    pub incarnation: u32,
    /// The module's file.
    pub module: PathBuf,
    /// The file's digest; checked.
    pub digest: Digest,
    /// Arguments after the module's name.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// How it is executed.
    pub engine: Engine,
    /// What it may use.
    pub limits: Limits,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// What survives a crash.
    pub durability: Durability,
    /// Between checkpoints.
    pub checkpoint_every: Duration,
    /// Its own folder, which outlives the worker: checkpoints and journal.
    pub state_folder: PathBuf,
    /// Objects that it sees as files.
    pub objects: Option<Objects>,
    /// Models that it may load by name.
    pub models: Vec<ModelFile>,
}

/// How to run a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellStart {
    /// Names it for ever.
    pub uid: String,
    /// The module's file.
    pub module: PathBuf,
    /// The file's digest; checked.
    pub digest: Digest,
    /// The program's name and arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Folders: (host path, guest path).
    pub dirs: Vec<(PathBuf, String)>,
    /// Objects that it sees as files.
    pub objects: Option<Objects>,
    /// Models that it may load by name.
    pub models: Vec<ModelFile>,
    /// How it is executed.
    pub engine: Engine,
    /// What it may use.
    pub limits: Limits,
    /// How long it may run.
    pub deadline: Option<Duration>,
    /// A snapshot to continue from.
    pub restore: Option<PathBuf>,
    /// What it is made of, if not one cell.
    pub form: Option<Form>,
    /// Where its standard output and error are written.
    pub log: PathBuf,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The worker is adopted.
    Hello(WorkerStatus),
    /// The service takes requests.
    Started(Started),
    /// The target listens.
    Prepared {
        /// Here.
        address: SocketAddr,
        /// For who shows this.
        secret: String,
    },
    /// The state has arrived whole; the source stands still.
    Transferred(api::link::Transferred),
    /// The service is served here; requests may be sent to this handle.
    Activated {
        /// For requests.
        handle: u32,
    },
    /// What it holds.
    Status(WorkerStatus),
    /// A checkpoint or snapshot was written.
    Written(Checkpointed),
    /// A piece of a log.
    Logs {
        /// Where the piece begins; later than asked when older bytes are gone.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
        /// Nothing more will come.
        ended: bool,
    },
}

/// A service that takes requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// For requests.
    pub handle: u32,
    /// What crashes lost that no agent has noted, latest first.
    pub lost: Vec<Lost>,
    /// Whether its state came from the state folder.
    pub restored: bool,
}

/// A checkpoint in the state folder, or a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpointed {
    /// Of which service.
    pub uid: String,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Within which incarnation.
    pub incarnation: u32,
    /// Counts up within the service's life.
    pub sequence: u64,
    /// The file; replaced, never changed, by later ones.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// What a worker holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its process id.
    pub pid: u32,
    /// Services.
    pub services: Vec<ServiceStatus>,
    /// Its cell of `Run`, if any.
    pub cell: Option<CellStatus>,
}

/// One service in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Names it for ever.
    pub uid: String,
    /// For requests.
    pub handle: u32,
    /// The right to serve it.
    pub epoch: Epoch,
    /// Counts starts within the epoch.
    pub incarnation: u32,
    /// What it does.
    pub state: ServiceState,
    /// Why it failed, if it did.
    pub message: String,
    /// Requests answered within this incarnation.
    pub requests_answered: u64,
    /// The last checkpoint.
    pub last_checkpoint: Option<Checkpointed>,
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Microseconds of processor time that its requests took, within this incarnation.
    pub cpu_us: u64,
    /// The migration that it takes part in.
    pub migration: Option<String>,
    /// What crashes had lost when it was started, latest first.
    pub lost: Vec<Lost>,
}

/// What a worker does with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// It answers.
    Serving,
    /// It received a state, or waits for it.
    Prepared,
    /// Its state has left; it waits for the verdict.
    HandedOver,
    /// Requests are refused.
    Fenced,
    /// It cannot run.
    Failed,
}

/// The program of `Run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellStatus {
    /// Names it for ever.
    pub uid: String,
    /// Its exit code, once ended.
    pub exit_code: Option<i32>,
    /// Why it ended, if not by itself.
    pub error: Option<String>,
    /// That it ended was not its own fault: another site that had ranks of it was lost.
    pub lost: bool,
}

/// What a worker says unasked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A checkpoint was written.
    Checkpointed(Checkpointed),
    /// A service ended or cannot go on.
    Failed {
        /// Which.
        uid: String,
        /// Why.
        message: String,
    },
    /// The program of `Run` ended.
    Exited(CellStatus),
}

/// Why a command or request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the caller may do about it.
    pub kind: ErrorKind,
    /// Causes included.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

//! What can go wrong: errors that the program may handle, and ends of the whole world.

use crate::abi;
use std::sync::Arc;

/// Why the world ended. Every rank gets the same one, but for [`Abort::Stopped`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// The program asked for it.
    #[error("rank {rank} called MPI_Abort on `{communicator}` with code {code}")]
    Called {
        /// Who called, by its rank in MPI_COMM_WORLD.
        rank: u32,
        /// The communicator's name.
        communicator: Arc<str>,
        /// What the program gave as the exit status.
        code: i32,
    },
    /// An error on a communicator whose handler is MPI_ERRORS_ARE_FATAL.
    #[error(
        "{function} failed at rank {rank} on `{communicator}`: {detail} ({class}); errors there are fatal"
    )]
    Fatal {
        /// The MPI function.
        function: &'static str,
        /// Where, by its rank in MPI_COMM_WORLD.
        rank: u32,
        /// The communicator's or the window's name.
        communicator: Arc<str>,
        /// The name of the error class.
        class: &'static str,
        /// What was wrong.
        detail: Arc<str>,
    },
    /// Every rank waits, and nothing is under way that could end it.
    #[error("deadlock: {waits}")]
    Deadlock {
        /// Who waits for what.
        waits: Arc<str>,
    },
    /// A rank ended while others could still wait for it.
    #[error("rank {rank} ended without calling MPI_Finalize")]
    Left {
        /// Who ended, by its rank in MPI_COMM_WORLD.
        rank: u32,
    },
    /// A rank died, or its host gave up.
    #[error("rank {rank} died: {reason}")]
    Died {
        /// Who died, by its rank in MPI_COMM_WORLD.
        rank: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// The host ended the world.
    #[error("ended from outside: {reason}")]
    Ended {
        /// Why.
        reason: Arc<str>,
    },
    /// A function was called before MPI_Init or after MPI_Finalize.
    #[error("rank {rank} called {function} {when}")]
    OutOfTurn {
        /// The MPI function.
        function: &'static str,
        /// Where, by its rank in MPI_COMM_WORLD.
        rank: u32,
        /// Before or after what.
        when: &'static str,
    },
    /// The rank was asked to stop, and its world goes on: once it does, the same call is to be made
    /// again, with the same arguments.
    #[error("the rank has stopped in this call, which is to be made again")]
    Stopped,
    /// The connection to another site that has ranks of this world broke.
    #[error("the connection to site {site} broke: {reason}")]
    Lost {
        /// The other site's number.
        site: u32,
        /// How it broke.
        reason: Arc<str>,
    },
    /// A world can not be made, or a rank is taken twice.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: Arc<str>,
    },
}

/// An error of one call: its class and what was wrong.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) class: i32,
    pub(crate) detail: String,
}

/// How a call fails.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The error handler decides.
    Failure(Failure),
    /// The world ends.
    Abort(Abort),
}

impl From<Abort> for Fault {
    fn from(abort: Abort) -> Self {
        Self::Abort(abort)
    }
}

pub(crate) type Result<T = (), E = Fault> = std::result::Result<T, E>;

/// A failure of a class.
pub(crate) fn fault(class: i32, detail: impl Into<String>) -> Fault {
    Fault::Failure(Failure { class, detail: detail.into() })
}

/// Fails with a class unless something holds.
pub(crate) fn ensure(holds: bool, class: i32, detail: impl FnOnce() -> String) -> Result {
    if holds { Ok(()) } else { Err(fault(class, detail())) }
}

/// A count that a program gave as an `int`.
pub(crate) fn count(value: i32) -> Result<u64> {
    u64::try_from(value)
        .map_err(|_| fault(abi::ERR_COUNT, format!("the count {value} is negative")))
}

/// Names and texts of the error classes, by number.
const CLASSES: [(&str, &str); abi::ERR_LASTCODE as usize + 1] = [
    ("MPI_SUCCESS", "no error"),
    ("MPI_ERR_BUFFER", "invalid buffer pointer"),
    ("MPI_ERR_COUNT", "invalid count argument"),
    ("MPI_ERR_TYPE", "invalid datatype argument"),
    ("MPI_ERR_TAG", "invalid tag argument"),
    ("MPI_ERR_COMM", "invalid communicator"),
    ("MPI_ERR_RANK", "invalid rank"),
    ("MPI_ERR_ROOT", "invalid root"),
    ("MPI_ERR_GROUP", "invalid group"),
    ("MPI_ERR_OP", "invalid operation"),
    ("MPI_ERR_TOPOLOGY", "invalid topology"),
    ("MPI_ERR_DIMS", "invalid dimension argument"),
    ("MPI_ERR_ARG", "invalid argument"),
    ("MPI_ERR_UNKNOWN", "unknown error"),
    ("MPI_ERR_TRUNCATE", "message truncated on receive"),
    ("MPI_ERR_OTHER", "known error not in this list"),
    ("MPI_ERR_INTERN", "internal error"),
    ("MPI_ERR_IN_STATUS", "error code is in the status"),
    ("MPI_ERR_PENDING", "pending request"),
    ("MPI_ERR_REQUEST", "invalid request"),
    ("MPI_ERR_KEYVAL", "invalid key value"),
    ("MPI_ERR_NO_MEM", "memory is exhausted"),
    ("MPI_ERR_BASE", "invalid base address"),
    ("MPI_ERR_INFO_KEY", "info key is too long or empty"),
    ("MPI_ERR_INFO_VALUE", "info value is too long"),
    ("MPI_ERR_INFO_NOKEY", "info key is not defined"),
    ("MPI_ERR_INFO", "invalid info object"),
    ("MPI_ERR_WIN", "invalid window"),
    ("MPI_ERR_SIZE", "invalid size argument"),
    ("MPI_ERR_DISP", "invalid displacement argument"),
    ("MPI_ERR_LOCKTYPE", "invalid lock type"),
    ("MPI_ERR_ASSERT", "invalid assert argument"),
    ("MPI_ERR_RMA_CONFLICT", "conflicting accesses to a window"),
    ("MPI_ERR_RMA_SYNC", "wrong synchronisation of one-sided calls"),
    ("MPI_ERR_RMA_RANGE", "target memory is not part of the window"),
    ("MPI_ERR_NAME", "name is not known"),
    ("MPI_ERR_UNSUPPORTED_OPERATION", "operation is not supported"),
    ("MPI_ERR_RMA_SHARED", "memory can not be shared"),
    ("MPI_ERR_RMA_ATTACH", "memory can not be attached"),
    ("MPI_ERR_RMA_FLAVOR", "window has the wrong flavor"),
    ("MPI_ERR_LASTCODE", "last error code"),
];

/// The name of an error class that another site tells of.
pub(crate) fn class_named(name: &str) -> &'static str {
    let known = CLASSES.iter().find(|(class, _)| *class == name);
    known.map_or("MPI_ERR_UNKNOWN", |(class, _)| class)
}

/// The name of an error class and its text.
pub(crate) fn describe(class: i32) -> (&'static str, &'static str) {
    let index = usize::try_from(class).unwrap_or(usize::MAX);
    CLASSES.get(index).copied().unwrap_or(("MPI_ERR_UNKNOWN", "a class of the program's own"))
}

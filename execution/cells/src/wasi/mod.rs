//! WASI preview 1 for cells: every function of `wasi_snapshot_preview1`, over a descriptor table
//! that can be saved and restored.
//!
//! A [`Wasi`] is one program's view of the system: arguments, variables, descriptors, clocks and
//! randomness. Its methods are the functions of the specification over a guest's memory;
//! [`add_to_linker`] gives them to a module. Files come from [`Mount`]s, time and randomness from
//! [`Sources`], standard streams from [`Input`] and [`Output`].
//!
//! Only [`Wasi::fd_read`] and [`Wasi::poll_oneoff`] may have to wait. They then answer
//! [`Outcome::Wait`] and have changed nothing the guest can see, so the caller may suspend the
//! cell, or block, and simply call again.
//!
//! Where the specification leaves a choice, the choice is what POSIX says, and:
//! - A path that leads out of its directory is [`Errno::ESCAPE`].
//! - Using a descriptor for what its access mode or type excludes is `BADF` (`NOTDIR` where a
//!   directory is wanted); using it without the right is `NOTCAPABLE`.
//! - A directory opened with no rights asked for has those that its parent passes on.
//! - `fd_pwrite` writes at its offset in append mode too.

mod config;
mod descriptor;
mod errno;
mod error;
mod image;
mod limits;
mod link;
mod local;
pub(crate) mod memory;
mod mount;
mod objects;
mod path;
mod poll;
mod process;
mod readdir;
mod restore;
mod rights;
mod sources;
mod stdio;
mod stream;
mod table;

#[cfg(test)]
mod tests;

pub use config::{Config, Grant, Streams};
pub use errno::Errno;
pub use error::{CloseError, ConfigError, RestoreError, SaveError};
pub(crate) use image::Bytes;
pub use image::WasiImage;
pub use limits::Limits;
pub(crate) use link::with_memory;
pub use link::{Exit, Host, MODULE, Waited, add_to_linker};
pub use local::LocalFolder;
pub use mount::{
    Advice, Directory, DirectoryEntry, File, FileType, Mount, Node, OpenHow, SetTime, Stat,
};
pub use objects::{FileKey, ObjectFolder, Transform};
pub use rights::Rights;
pub use sources::{Sources, SystemSources};
pub use stdio::{Buffer, HostInput, HostOutput, Input, InputState, Null, Output};

use crate::neural::Neural;
use table::{Kind, OpenFile, Table};

/// What a call that may wait comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; this is what the guest gets.
    Return(Errno),
    /// Nothing happened yet: call again when this has.
    Wait(Wait),
    /// The program ends with this code.
    Exit(u32),
}

/// What a cell waits for; moments are the guest's monotonic time, see [`Wasi::until`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Standard input has bytes, or ends.
    Input,
    /// A moment comes.
    Until(u64),
    /// Whichever is first.
    InputOrUntil(u64),
}

impl Wait {
    /// Whether input ends the wait.
    pub fn is_for_input(self) -> bool {
        !matches!(self, Self::Until(_))
    }
}

impl From<Result<(), Errno>> for Outcome {
    fn from(result: Result<(), Errno>) -> Self {
        Self::Return(result.err().unwrap_or(Errno::Success))
    }
}

/// One program's view of the system.
pub struct Wasi {
    arguments: Vec<String>,
    variables: Vec<String>,
    table: Table,
    grants: Vec<Grant>,
    streams: Streams,
    sources: Box<dyn Sources>,
    limits: Limits,
    clock: process::Clocks,
    output_bytes: u64,
    poll: Option<poll::Pending>,
    neural: Neural,
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi")
            .field("arguments", &self.arguments)
            .field("table", &self.table)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Wasi {
    /// The standard streams, to exchange or inspect them between calls.
    pub fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// Its models, and what it has made of them.
    pub(crate) fn neural(&mut self) -> &mut Neural {
        &mut self.neural
    }

    /// Bytes that the program has written to standard output and standard error.
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes
    }

    /// Closes all files, as the end of a program does that ends in order. A [`Wasi`] that is
    /// dropped instead leaves no trace of what was written to files that become visible only when
    /// they are closed.
    ///
    /// # Errors
    /// The first file that could not be closed; the others are.
    pub fn close_files(&mut self) -> Result<(), CloseError> {
        let mut failed = None;
        for (fd, entry) in self.table.take_all() {
            let Kind::File(OpenFile { node, mount, .. }) = &entry.kind else { continue };
            let (path, mount) = (node.locate(), *mount);
            let Err(source) = entry.close() else { continue };
            let mount = self.grants.get(mount).map(|grant| grant.guest_path.clone());
            failed.get_or_insert(CloseError {
                fd,
                mount: mount.unwrap_or_default(),
                path: path.unwrap_or_else(|| "removed file".to_owned()),
                source,
            });
        }
        failed.map_or(Ok(()), Err)
    }

    /// The program's arguments, its name first.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

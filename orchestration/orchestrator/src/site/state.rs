//! What a site remembers across restarts, and its file.

use super::{Error, error::Result};
use api::cell::Form;
use api::{
    link::{Assignment, CellAssignment, Decided, Desired, Stamp, Tail},
    service::Lost,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};
use types::Epoch;

/// Version of the file.
const STATE_VERSION: u32 = 1;

/// Most losses that are remembered for one service.
const LOST_MAX: usize = 16;

/// Most services that are remembered after they moved away; the oldest are forgotten.
const MOVED_MAX: usize = 4096;

/// All that a site remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    version: u32,
    /// The control plane's last word.
    pub(crate) desired: Desired,
    /// Services that the site holds, by uid.
    pub(crate) records: BTreeMap<String, Record>,
    /// Services that moved away, by uid.
    pub(crate) moved: BTreeMap<String, Moved>,
    /// Cells of `run`, by uid.
    pub(crate) cells: BTreeMap<String, CellRecord>,
    /// What was answered under epochs that were given up, until the control plane has noted it.
    #[serde(default)]
    pub(crate) tails: Vec<Tail>,
    /// What policies decided while the site was cut off, until the control plane has noted it.
    #[serde(default)]
    pub(crate) decided: Vec<Decided>,
}

/// A service that the site holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// What it runs and under which epoch.
    pub(crate) assignment: Assignment,
    /// How often it was started within this epoch; raised before each start.
    pub(crate) incarnation: u32,
    /// What the site may do with it.
    pub(crate) role: Role,
    /// A `Desired` named it since it was taken over in a migration. Until then one that does not
    /// name it may be older than the migration, and is no reason to drop it.
    pub(crate) confirmed: bool,
    /// The migration that brought it here.
    pub(crate) arrived_by: Option<String>,
    /// The state folder is not yet as this epoch wants it.
    pub(crate) fresh: bool,
    /// The epoch whose state the folder holds while `fresh`.
    pub(crate) previous: Option<Epoch>,
    /// What crashes lost, latest first.
    pub(crate) lost: Vec<Lost>,
    /// The checkpoint from which this epoch went on, if that was not what the folder held.
    #[serde(default)]
    pub(crate) started_from: Option<Stamp>,
}

/// What a site may do with a service that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Role {
    /// Serve it.
    Serve,
    /// Wait, as a migration's target, for the verdict.
    Prepared {
        /// The migration.
        migration: String,
    },
    /// Serve until the state has left, as a migration's source; then wait for the verdict.
    HandedOver {
        /// The migration.
        migration: String,
    },
}

impl Role {
    /// The migration whose verdict is open.
    pub(crate) fn migration(&self) -> Option<&str> {
        match self {
            Self::Serve => None,
            Self::Prepared { migration } | Self::HandedOver { migration } => Some(migration),
        }
    }
}

impl Record {
    /// What is known of a service before its first start.
    pub(crate) fn new(assignment: Assignment, role: Role) -> Self {
        Self {
            assignment,
            incarnation: 0,
            role,
            confirmed: true,
            arrived_by: None,
            fresh: true,
            previous: None,
            lost: Vec::new(),
            started_from: None,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.assignment.epoch
    }

    /// Remembers what a crash lost.
    pub(crate) fn add_lost(&mut self, lost: Lost) {
        if !self.lost.contains(&lost) {
            self.lost.insert(0, lost);
            self.lost.truncate(LOST_MAX);
        }
    }
}

/// A service that moved away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moved {
    /// As it was held; its epoch is never served here again.
    pub(crate) assignment: Assignment,
    /// The migration that took it.
    pub(crate) migration: String,
    /// The ingress of its new site.
    pub(crate) to: SocketAddr,
    /// Milliseconds since the Unix epoch until when requests are forwarded.
    pub(crate) forward_until_ms: u64,
    /// What crashes had lost here: the move may have been faster than the report of it.
    #[serde(default)]
    pub(crate) lost: Vec<Lost>,
}

/// A cell of `run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CellRecord {
    /// What it runs.
    pub(crate) assignment: CellAssignment,
    /// How far it is.
    pub(crate) progress: Progress,
    /// Processors of which the worker was told, for a program on threads.
    #[serde(default)]
    pub(crate) granted: Option<u32>,
}

impl CellRecord {
    /// One that was never started.
    pub(crate) fn new(assignment: CellAssignment) -> Self {
        Self { assignment, progress: Progress::New, granted: None }
    }

    /// Processors that it shall have, if it is on threads.
    pub(crate) fn wants(&self) -> Option<u32> {
        match &self.assignment.spec.form {
            Some(Form::Threads(threads)) => Some(threads.cpus),
            _ => None,
        }
    }
}

/// How far a cell of `run` is. It runs at most once, whatever crashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Progress {
    /// It was never started.
    New,
    /// It was, or was about to be.
    Started,
    /// It ended.
    Ended {
        /// Its exit code, if it gave one.
        exit_code: Option<i32>,
        /// Why it ended, if not by itself.
        error: Option<String>,
        /// It did nothing wrong: its worker, or another site that had ranks of it, was lost.
        #[serde(default)]
        lost: bool,
    },
}

impl State {
    fn empty() -> Self {
        Self {
            version: STATE_VERSION,
            desired: Desired::default(),
            records: BTreeMap::new(),
            moved: BTreeMap::new(),
            cells: BTreeMap::new(),
            tails: Vec::new(),
            decided: Vec::new(),
        }
    }

    /// Remembers that a service moved away, and forgets the oldest such beyond the limit.
    pub(crate) fn add_moved(&mut self, mut moved: Moved) {
        let before = self.moved.remove(&moved.assignment.uid);
        moved.lost.extend(before.into_iter().flat_map(|before| before.lost));
        moved.lost.truncate(LOST_MAX);
        self.moved.insert(moved.assignment.uid.clone(), moved);
        while self.moved.len() > MOVED_MAX {
            let oldest = self.moved.iter().min_by_key(|(_, moved)| moved.forward_until_ms);
            let Some(uid) = oldest.map(|(uid, _)| uid.clone()) else { return };
            self.moved.remove(&uid);
        }
    }
}

/// The file that [`State`] lives in.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Held as long as the agent lives, so that no second one uses the folder.
    _lock: File,
}

impl StateFile {
    /// Takes the data folder for this agent alone and reads what is there.
    pub(crate) fn open(folder: &Path) -> Result<(Self, State)> {
        let lock_path = folder.join("agent.lock");
        let disk = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Disk { path, source }
        };
        let lock = File::create(&lock_path).map_err(disk(&lock_path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::InUse { path: folder.to_owned() })?;
        let path = folder.join("state.json");
        let state = match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::empty(),
            Err(source) => return Err(Error::Disk { path, source }),
        };
        Ok((Self { path, _lock: lock }, state))
    }

    /// Replaces the file; blocks until the disk has it.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write_atomically(&self.path, bytes)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<State> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let memory = |source| Error::Memory { path: path.to_owned(), source };
    let Version { version: found } = serde_json::from_slice(bytes).map_err(memory)?;
    if found != STATE_VERSION {
        let path = path.to_owned();
        return Err(Error::MemoryVersion { path, found, known: STATE_VERSION });
    }
    serde_json::from_slice(bytes).map_err(memory)
}

/// Writes beside the file, syncs, renames and syncs the folder: after a crash the file is whole,
/// old or new.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// Makes a rename in the file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ErrorKind;

    #[test]
    fn remembers_across_restarts_and_serves_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut state) = StateFile::open(folder.path()).unwrap();
        state.desired.revision = 7;
        file.write(&serde_json::to_vec(&state).unwrap()).unwrap();

        let second = StateFile::open(folder.path()).unwrap_err();
        drop(file);
        let (_file, again) = StateFile::open(folder.path()).unwrap();

        assert_eq!(second.kind(), ErrorKind::Conflict);
        assert_eq!(again, state);
    }

    #[test]
    fn refuses_damage_and_other_versions() {
        let folder = tempfile::tempdir().unwrap();
        let open = |text: &str| {
            fs::write(folder.path().join("state.json"), text).unwrap();
            StateFile::open(folder.path()).unwrap_err().kind()
        };

        assert_eq!(open("{\"version\": 1, \"desi"), ErrorKind::Corrupt);
        assert_eq!(open("{\"version\": 2}"), ErrorKind::Unsupported);
    }
}

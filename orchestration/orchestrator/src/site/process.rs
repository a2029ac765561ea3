//! Worker processes as the system sees them: started apart from the agent, found again, ended.

use super::state::write_atomically;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal, setsid};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{io::unix::AsyncFd, time::timeout};

/// A worker's log is begun anew above this size; the last one is kept.
const LOG_MAX_BYTES: u64 = 16 << 20;

/// How long a process may take to end after it was killed, before that is worth a warning.
const KILL_WARNING: Duration = Duration::from_secs(5);

/// A process by its number and start, which together are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    pid: u32,
    /// Clock ticks from the machine's start to its own.
    started: u64,
    /// The machine's start itself differs between boots.
    boot: u64,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Microseconds of processor time.
    pub(crate) cpu_us: u64,
    /// Bytes in memory.
    pub(crate) memory_bytes: u64,
}

impl Usage {
    /// As the system tells it (proc_pid_stat(5), proc_pid_statm(5)).
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which may hold anything, ends with the last parenthesis; then come the state
        // and, eleven fields on, the ticks in user and in system mode.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut ticks = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self {
            cpu_us: ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
            memory_bytes: pages * rustix::param::page_size() as u64,
        })
    }
}

/// A process that can be waited for and killed without ever meaning another.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: AsyncFd<OwnedFd>,
    pub(crate) pid: u32,
}

impl Process {
    /// The process of this number, if there is one now.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.filter(|number| *number != getpid());
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let pidfd = pidfd_open(number, PidfdFlags::NONBLOCK)?;
        Ok(Self { pidfd: watched(pidfd)?, pid })
    }

    /// The process that the file names, if it still runs.
    pub(crate) fn from_file(path: &Path) -> Option<Self> {
        let written: Identity = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        // Opened before it is compared: the descriptor cannot change its meaning any more.
        let process = Self::open(written.pid).ok()?;
        (identity(written.pid)? == written).then_some(process)
    }

    /// Lets a later agent find the process.
    pub(crate) fn to_file(&self, path: &Path) -> io::Result<()> {
        let identity = identity(self.pid).ok_or(io::ErrorKind::NotFound)?;
        write_atomically(path, &serde_json::to_vec(&identity)?)
    }

    /// Returns once the process is gone.
    pub(crate) async fn ended(&self) {
        // An error means that there is nothing to wait for any more.
        let _ = self.pidfd.readable().await;
    }

    /// Whether it is gone by then.
    pub(crate) async fn ended_within(&self, limit: Duration) -> bool {
        timeout(limit, self.ended()).await.is_ok()
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::TERM);
    }

    /// Kills it and returns once it is gone: only then may its successor start.
    pub(crate) async fn kill(&self) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
        while !self.ended_within(KILL_WARNING).await {
            tracing::warn!(pid = self.pid, "a killed worker does not end; nothing replaces it");
        }
    }
}

/// A descriptor whose readiness can be waited for.
#[expect(unsafe_code, reason = "the runtime watches descriptors by their number")]
pub(crate) fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and keeps its number until it is dropped, which the `AsyncFd`
    // that owns it does only after it has left the runtime.
    Ok(unsafe { AsyncFd::register(pidfd) }?)
}

fn identity(pid: u32) -> Option<Identity> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    let after_name = stat.rsplit_once(')')?.1;
    let started = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let all = fs::read_to_string("/proc/stat").ok()?;
    let boot = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Identity { pid, started, boot })
}

/// What a worker process is started with.
#[derive(Debug)]
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) socket: &'a Path,
    pub(crate) token: &'a Path,
    pub(crate) data: &'a Path,
    pub(crate) log: PathBuf,
}

impl Spawn<'_> {
    /// Starts the process in a session of its own, so that it outlives the agent.
    pub(crate) fn start(&self) -> io::Result<(tokio::process::Child, Process)> {
        let log = open_log(&self.log)?;
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .arg("--socket")
            .arg(self.socket)
            .arg("--token-file")
            .arg(self.token)
            .arg("--data")
            .arg(self.data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        start_apart(command)
    }
}

/// Opens a process's log, begun anew when it has grown too large.
pub(crate) fn open_log(path: &Path) -> io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_MAX_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Starts a process in a session of its own, so that it outlives the agent.
pub(crate) fn start_apart(mut command: Command) -> io::Result<(tokio::process::Child, Process)> {
    own_session(&mut command);
    let child = tokio::process::Command::from(command).kill_on_drop(false).spawn()?;
    let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
    let process = Process::open(pid)?;
    Ok((child, process))
}

#[expect(unsafe_code, reason = "the standard library has no stable way to begin a session")]
fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| setsid().map(|_| ()).map_err(io::Error::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finds_a_process_again_and_never_mistakes_another_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.pid");
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id().unwrap()).unwrap();
        process.to_file(&file).unwrap();

        assert!(Process::from_file(&file).is_some());
        let mut wrong: Identity = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        wrong.started += 1;
        fs::write(folder.path().join("wrong.pid"), serde_json::to_vec(&wrong).unwrap()).unwrap();
        assert!(Process::from_file(&folder.path().join("wrong.pid")).is_none());
        process.kill().await;
        child.wait().await.unwrap();

        assert!(Process::from_file(&file).is_none());
    }
}

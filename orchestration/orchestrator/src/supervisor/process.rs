//! Processes: who they are, when they end, how they are ended.

use super::{ChildSpec, Error, Result, logs};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::{io::unix::AsyncFd, process::Child, time::timeout};

/// A process, distinct from every other that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it was started, in clock ticks since the machine was.
    pub(super) start_ticks: u64,
    args: Vec<String>,
}

/// A process that is watched: a child, or one that another supervisor started.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) identity: Identity,
    descriptor: AsyncFd<OwnedFd>,
    child: Option<Child>,
}

impl Identity {
    /// The process with this number; none if there is none, or it has ended and is not yet reaped.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_ticks) = parse_stat(&stat)?;
        let args = command_line(pid)?;
        (state != "Z" && state != "X").then_some(Self { pid, start_ticks, args })
    }

    /// Every process of this machine.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::of(entry.file_name().to_str()?.parse().ok()?))
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks)
    }

    /// Whether it runs just this program with just these arguments; a program that was replaced
    /// on disk since is another one.
    pub(super) fn runs(&self, program: &Path, args: &[String]) -> bool {
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid)).ok();
        let wanted = program.canonicalize().ok();
        exe.is_some() && exe == wanted && self.args.get(1..) == Some(args)
    }

    /// Its command line.
    pub(super) fn args(&self) -> &[String] {
        &self.args
    }
}

/// State and start of a line of `/proc/<pid>/stat`. The name in it may hold anything, brackets
/// too; what follows the last one is plain.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    // Field 22 of the line; the state is field 3.
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_ticks))
}

/// The arguments of a process, its program first.
pub(super) fn command_line(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|byte| *byte == 0);
    Some(args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
}

impl Process {
    /// Starts a child in its own process group, so that a Ctrl-C at the terminal reaches only the
    /// supervisor; what it says goes to its log.
    pub(super) fn spawn(spec: &ChildSpec, log: &Path) -> Result<Self> {
        let out = logs::open(log)?;
        let err = out.try_clone().map_err(Error::file("open", log))?;
        let child = tokio::process::Command::new(&spec.program)
            .args(&spec.args)
            .env_remove("CLOUDSKIN_TOKEN")
            .env_remove("CLOUDSKIN_URL")
            .envs(&spec.env)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn {
                child: spec.name.clone(),
                program: spec.program.display().to_string(),
                source,
            })?;
        // An unreaped child keeps its number, so these find it even if it has ended already.
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        let args = std::iter::once(spec.program.to_string_lossy().into_owned())
            .chain(spec.args.iter().cloned())
            .collect();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let start_ticks = parse_stat(&stat).map_or(0, |(_, start_ticks)| start_ticks);
        let descriptor = open(pid).map_err(system("watch a child"))?;
        Ok(Self { identity: Identity { pid, start_ticks, args }, descriptor, child: Some(child) })
    }

    /// Watches a process that some other one started; none if it has ended.
    pub(super) fn adopt(identity: &Identity) -> Result<Option<Self>> {
        let descriptor = match open(identity.pid) {
            Ok(descriptor) => descriptor,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return Ok(None);
            }
            Err(source) => return Err(system("watch a process")(source)),
        };
        // Checked after opening: from here on the descriptor means this process and no other.
        let process = Self { identity: identity.clone(), descriptor, child: None };
        Ok(identity.is_alive().then_some(process))
    }

    /// Waits for its end and says how it came, as far as that can be known.
    pub(super) async fn ended(&mut self) -> String {
        if let Some(child) = &mut self.child {
            return match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
        }
        match self.descriptor.readable().await {
            Ok(_) => "it ended".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Asks it to end, and after `grace` makes it.
    pub(super) async fn end(&mut self, what: &str, grace: Duration) -> Result<()> {
        for (signal, limit) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(5))] {
            // It may have ended by itself just now, which is as good.
            let _ = pidfd_send_signal(self.descriptor.get_ref().as_fd(), signal);
            if timeout(limit, self.ended()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(what, pid = self.identity.pid, "did not end when asked; killed");
        }
        Err(Error::Undying {
            what: what.to_owned(),
            pid: self.identity.pid,
            limit_s: grace.as_secs() + 5,
        })
    }
}

fn open(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    #[expect(unsafe_code, reason = "the safe constructor is deprecated as unsound")]
    // SAFETY: an `OwnedFd` returns the same open descriptor until it is dropped.
    let registered = unsafe { AsyncFd::register(descriptor) };
    Ok(registered?)
}

fn system(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sleeper(script: &str) -> ChildSpec {
        ChildSpec {
            name: "sleeper".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";

        assert_eq!(parse_stat(stat), Some(("S", 4242)));
        for odd in ["", ")", "1 (a) S", "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"] {
            assert_eq!(parse_stat(odd), None);
        }
    }

    #[tokio::test]
    async fn a_process_is_adopted_and_ended_by_who_did_not_start_it() {
        let folder = tempfile::tempdir().unwrap();
        let spec = sleeper("read never; sleep 60");
        let spec = ChildSpec { args: vec!["-c".into(), "exec sleep 60".into()], ..spec };
        let mut own = Process::spawn(&spec, &folder.path().join("log")).unwrap();
        let identity = own.identity.clone();

        let mut adopted = Process::adopt(&identity).unwrap().unwrap();
        adopted.end("sleeper", Duration::from_secs(5)).await.unwrap();

        assert!(own.ended().await.contains("signal"), "ended by the signal");
        assert!(!identity.is_alive());
        assert!(Process::adopt(&identity).unwrap().is_none());
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let spec = sleeper("trap '' TERM; echo deaf; while :; do sleep 0.01; done");
        let mut own = Process::spawn(&spec, &log).unwrap();
        while !fs::read_to_string(&log).unwrap().contains("deaf") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        own.end("sleeper", Duration::from_millis(50)).await.unwrap();

        assert!(!own.identity.is_alive());
    }

    #[test]
    fn this_process_knows_itself() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = Identity::of(pid).unwrap();

        assert!(own.is_alive());
        let program = std::env::current_exe().unwrap();
        assert!(own.runs(&program, &own.args()[1..]));
        assert!(!own.runs(Path::new("/bin/sh"), &own.args()[1..]));
        let earlier = Identity { start_ticks: own.start_ticks - 1, ..own };
        assert!(!earlier.is_alive());
    }
}

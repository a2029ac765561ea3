//! Ending what a supervisor started, whether or not it still lives.

use super::{
    DataFolder, Error, Lock, Result,
    process::{Identity, Process},
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long a process may take to end when asked: an agent checkpoints and ends its workers.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// How long a supervisor may take: its agents, then its control plane, with some to spare.
const SUPERVISOR_GRACE: Duration = Duration::from_secs(45);

/// How long a store may take to write to disk what is in memory: gigabytes, to a slow disk.
const STORE_GRACE: Duration = Duration::from_secs(120);

/// What was ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The supervisor, if it lived.
    pub supervisor: Option<i32>,
    /// Children that had outlived their supervisor.
    pub children: Vec<String>,
    /// Workers and stores that had outlived their agent.
    pub workers: Vec<i32>,
}

/// Ends everything that runs for the folder. Nothing runs for it afterwards.
///
/// # Errors
/// If the folder is not ours or something cannot be ended.
pub async fn down(folder: &DataFolder) -> Result<Report> {
    let mut report = Report::default();
    if !folder.is_ours()? {
        return match fs::read_dir(folder.root()).is_ok_and(|mut entries| entries.next().is_some()) {
            true => Err(Error::ForeignFolder(folder.root().to_owned())),
            false => Ok(report),
        };
    }
    let _lock = match folder.try_lock()? {
        Some(lock) => lock,
        None => {
            let (lock, pid) = end_supervisor(folder).await?;
            report.supervisor = Some(pid);
            lock
        }
    };
    report.children = end_children(folder).await?;
    report.workers = end_workers(folder).await?;
    folder.remove_state()?;
    Ok(report)
}

/// Asks the supervisor to end, and waits until the folder is free.
async fn end_supervisor(folder: &DataFolder) -> Result<(Lock, i32)> {
    // A supervisor takes the lock a moment before it writes who it is.
    let known =
        wait_for(Duration::from_secs(5), || Ok(folder.state()?.filter(super::State::is_alive)));
    let Some(state) = known.await? else {
        return Err(folder.lock().err().unwrap_or_else(|| Error::Locked {
            path: folder.root().to_owned(),
            holder: "a process that just ended; try again".into(),
        }));
    };
    let pid = state.supervisor.pid;
    if let Some(mut supervisor) = Process::adopt(&state.supervisor)? {
        supervisor.end("the supervisor", SUPERVISOR_GRACE).await?;
    }
    let freed = wait_for(Duration::from_secs(5), || folder.try_lock()).await?;
    let lock = freed.map_or_else(|| folder.lock(), Ok)?;
    Ok((lock, pid))
}

/// Ends children that are left, agents before the control plane.
async fn end_children(folder: &DataFolder) -> Result<Vec<String>> {
    let mut children = folder.children()?;
    children.sort_by_key(|(name, _)| name == "control");
    let mut ended = Vec::new();
    for (name, identity) in children {
        if let Some(mut process) = Process::adopt(&identity)? {
            process.end(&name, GRACE).await?;
            ended.push(name.clone());
        }
        folder.remove_child(&name)?;
    }
    // A supervisor that was killed may have started one and not yet noted it.
    for identity in Identity::all().filter(|found| is_child(found.args(), folder.root())) {
        if let Some(mut process) = Process::adopt(&identity)? {
            let name = identity.args()[1].clone();
            process.end(&name, GRACE).await?;
            ended.push(name);
        }
    }
    Ok(ended)
}

/// Whether a command line is that of a child of this folder: `cloudskin control --data-dir …`.
fn is_child(args: &[String], root: &Path) -> bool {
    let is_below =
        |pair: &[String]| pair[0] == "--data-dir" && Path::new(&pair[1]).starts_with(root);
    is_ours(args)
        && args.get(1).is_some_and(|arg| arg == "control" || arg == "site")
        && args.windows(2).any(is_below)
}

/// Ends the workers and stores whose pid files are left. Agents end their own; this is for those whose
/// agent was killed, and for stores that take longer than their agent waits.
pub(super) async fn end_workers(folder: &DataFolder) -> Result<Vec<i32>> {
    let mut ended = Vec::new();
    for path in folder.worker_files()? {
        if let Some(mut worker) = left_worker(&path)? {
            let (what, grace) =
                match worker.identity.args().get(1).is_some_and(|arg| arg == "store") {
                    true => ("a store", STORE_GRACE),
                    false => ("a worker", Duration::from_secs(5)),
                };
            worker.end(what, grace).await?;
            ended.push(worker.identity.pid);
        }
        // It may be its worker's own, which removes it as it ends.
        let _ = fs::remove_file(&path);
    }
    Ok(ended)
}

/// The process that an agent noted for a worker: its number and its start.
#[derive(Debug, Deserialize)]
struct Noted {
    pid: i32,
    started: u64,
}

/// The worker that the file names, if it is one: its number may be another process's by now.
fn left_worker(path: &Path) -> Result<Option<Process>> {
    let bytes = fs::read(path).unwrap_or_default();
    let Ok(noted) = serde_json::from_slice::<Noted>(&bytes) else { return Ok(None) };
    match Identity::of(noted.pid).filter(|now| now.start_ticks == noted.started) {
        Some(identity) if is_worker(identity.args()) => Process::adopt(&identity),
        _ => Ok(None),
    }
}

/// Whether a command line is a worker's or a store's: `cloudskin worker …`.
fn is_worker(args: &[String]) -> bool {
    is_ours(args) && args.get(1).is_some_and(|arg| arg == "worker" || arg == "store")
}

/// Whether the program is ours, by its name.
fn is_ours(args: &[String]) -> bool {
    args.first().map(PathBuf::from).is_some_and(|program| {
        program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cloudskin"))
    })
}

/// Asks again and again until there is an answer or `limit` is over.
async fn wait_for<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let started = Instant::now();
    loop {
        match ask()? {
            Some(answer) => return Ok(Some(answer)),
            None if started.elapsed() >= limit => return Ok(None),
            None => sleep(Duration::from_millis(10)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command};

    /// A folder with one worker file that names a process with this command line.
    fn left_behind(arg0: &str, shift: u64) -> (tempfile::TempDir, DataFolder, std::process::Child) {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(parent.path()).unwrap();
        folder.prepare().unwrap();
        let script = "while :; do sleep 0.01; done";
        fs::write(parent.path().join("worker"), script).unwrap();
        let mut command = Command::new("/bin/sh");
        let child = command.arg0(arg0).arg("worker").current_dir(parent.path()).spawn().unwrap();
        let workers = folder.site("edge").join("workers");
        fs::create_dir_all(&workers).unwrap();
        // Until it has become what its command line says it is its parent's copy.
        let pid = i32::try_from(child.id()).unwrap();
        let started = loop {
            match Identity::of(pid) {
                Some(identity) if identity.args()[0] == arg0 => break identity.start_ticks,
                _ => std::thread::yield_now(),
            }
        };
        let noted = format!(r#"{{"pid": {pid}, "started": {}, "boot": 1}}"#, started - shift);
        fs::write(workers.join("default.pid"), noted).unwrap();
        (parent, folder, child)
    }

    #[test]
    fn a_child_is_known_by_its_command_line() {
        let is_child = |line: &str| {
            let args: Vec<_> = line.split(' ').map(str::to_owned).collect();
            super::is_child(&args, Path::new("/d"))
        };
        assert!(is_child("/usr/bin/cloudskin control --data-dir /d/control --listen a"));
        assert!(is_child("cloudskin site --name edge --data-dir /d/sites/edge"));
        for other in [
            "cloudskin control --data-dir /data/control",
            "cloudskin up --data-dir /d",
            "cat control --data-dir /d/control",
            "cloudskin site --name /d --data-dir",
            "cloudskin",
            "",
        ] {
            assert!(!is_child(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_left_worker_is_ended_and_its_file_removed() {
        let (_parent, folder, mut child) = left_behind("/opt/cloudskin", 0);
        let pid = i32::try_from(child.id()).unwrap();

        let report = down(&folder).await.unwrap();

        assert_eq!(report.workers, [pid]);
        assert!(!child.wait().unwrap().success());
        assert!(folder.worker_files().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_number_that_is_another_processs_now_is_left_alone() {
        for (arg0, shift) in [("/opt/other", 0), ("/opt/cloudskin", 1)] {
            let (_parent, folder, mut child) = left_behind(arg0, shift);

            let report = down(&folder).await.unwrap();

            assert_eq!(report, Report::default());
            assert!(child.try_wait().unwrap().is_none(), "it still runs");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_to_end_is_no_error_and_a_foreign_folder_is() {
        let parent = tempfile::tempdir().unwrap();
        let absent = DataFolder::at(&parent.path().join("absent")).unwrap();

        assert_eq!(down(&absent).await.unwrap(), Report::default());
        fs::write(parent.path().join("letter"), "dear").unwrap();
        let foreign = DataFolder::at(parent.path()).unwrap();
        assert!(matches!(down(&foreign).await, Err(Error::ForeignFolder(_))));
    }
}

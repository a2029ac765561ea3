//! A kernel of tests: one hierarchy of version 2, with the rules that matter here, and files that
//! only hold what is written to them.

use crate::files::Files;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// The kernel, shared by all that look at it.
#[derive(Debug)]
pub(crate) struct Model {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, String>,
    groups: BTreeMap<PathBuf, Group>,
    own: PathBuf,
    read_only: BTreeSet<PathBuf>,
    /// Each process that is moved starts another in its old group, so often.
    forks: u32,
    age: Duration,
}

#[derive(Debug, Default)]
struct Group {
    processes: BTreeSet<u32>,
    handed_on: BTreeSet<String>,
}

pub(crate) const MOUNT: &str = "/sys/fs/cgroup";

impl Model {
    /// A hierarchy in which this process and `beside` are in the group `own`, which has these
    /// controllers.
    pub(crate) fn v2(own: &str, controllers: &[&str], beside: &[u32]) -> Self {
        let model = Self { state: Mutex::default() };
        {
            let mut state = model.state();
            let mountinfo = format!("40 30 0:38 / {MOUNT} rw - cgroup2 cgroup2 rw\n");
            state.files.insert("/proc/self/mountinfo".into(), mountinfo);
            state.own = Path::new(MOUNT).join(own.trim_start_matches('/'));
            let own = state.own.clone();
            for folder in own.ancestors().take_while(|folder| folder.starts_with(MOUNT)) {
                let handed_on = if folder == own { &[][..] } else { controllers };
                let handed_on = handed_on.iter().map(ToString::to_string).collect();
                state.groups.insert(folder.into(), Group { handed_on, ..Group::default() });
            }
            let group = state.groups.get_mut(&own).unwrap();
            group.processes = beside.iter().copied().collect();
        }
        model
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn file(&self, path: &str) -> Option<String> {
        self.state().files.get(&Path::new(MOUNT).join(path)).cloned()
    }

    pub(crate) fn processes(&self, group: &str) -> Vec<u32> {
        let path = Path::new(MOUNT).join(group);
        let state = self.state();
        state.groups.get(&path).map(|group| group.processes.iter().copied().collect()).unwrap()
    }

    pub(crate) fn has(&self, group: &str) -> bool {
        self.state().groups.contains_key(&Path::new(MOUNT).join(group))
    }

    /// This process is found in that group from now on.
    pub(crate) fn live_in(&self, group: &str) {
        self.state().own = Path::new(MOUNT).join(group);
    }

    pub(crate) fn make_read_only(&self, path: &str) {
        self.state().read_only.insert(Path::new(MOUNT).join(path));
    }

    pub(crate) fn fork_when_moved(&self, times: u32) {
        self.state().forks = times;
    }

    pub(crate) fn let_groups_age(&self, age: Duration) {
        self.state().age = age;
    }

    pub(crate) fn end(&self, pid: u32) {
        for group in self.state().groups.values_mut() {
            group.processes.remove(&pid);
        }
    }
}

impl State {
    fn group(&self, path: &Path) -> io::Result<&Group> {
        self.groups.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What the group above hands on; the root has all.
    fn controllers(&self, folder: &Path) -> BTreeSet<String> {
        if folder == Path::new(MOUNT) {
            return CONTROLLERS.map(ToOwned::to_owned).into();
        }
        let above = folder.parent().and_then(|above| self.groups.get(above));
        above.map(|above| above.handed_on.clone()).unwrap_or_default()
    }

    fn hand_on(&mut self, folder: &Path, controller: &str) -> io::Result<()> {
        if !self.controllers(folder).contains(controller) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let group = self.groups.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        if folder != Path::new(MOUNT) && !group.processes.is_empty() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        group.handed_on.insert(controller.to_owned());
        Ok(())
    }

    fn move_to(&mut self, folder: &Path, pid: u32) -> io::Result<()> {
        if !self.group(folder)?.handed_on.is_empty() && folder != Path::new(MOUNT) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let from = self.groups.values_mut().find(|group| group.processes.contains(&pid));
        let gone = || io::Error::from(rustix::io::Errno::SRCH);
        let from = from.ok_or_else(gone)?;
        from.processes.remove(&pid);
        if self.forks > 0 {
            self.forks -= 1;
            from.processes.insert(pid + 1000);
        }
        self.groups.entry(folder.to_owned()).or_default().processes.insert(pid);
        Ok(())
    }
}

impl Files for Model {
    fn read(&self, path: &Path) -> io::Result<String> {
        let state = self.state();
        if path == Path::new("/proc/self/cgroup") {
            let own = state.own.strip_prefix(MOUNT).unwrap();
            return Ok(format!("0::/{}\n", own.display()));
        }
        let folder = path.parent().unwrap_or(path);
        match path.file_name().and_then(|name| name.to_str()) {
            Some("cgroup.procs") => {
                let group = state.group(folder)?;
                Ok(group.processes.iter().map(|pid| format!("{pid}\n")).collect())
            }
            Some("cgroup.controllers") => {
                state.group(folder)?;
                Ok(state.controllers(folder).into_iter().collect::<Vec<_>>().join(" "))
            }
            Some("cgroup.subtree_control") => {
                Ok(state.group(folder)?.handed_on.iter().cloned().collect::<Vec<_>>().join(" "))
            }
            Some("cpuset.cpus.effective") => Ok("0-3\n".into()),
            _ => state.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let mut state = self.state();
        let folder = path.parent().unwrap_or(path).to_owned();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("cgroup.procs") => state.move_to(&folder, value.parse().unwrap()),
            Some("cgroup.subtree_control") => {
                state.hand_on(&folder, value.strip_prefix('+').unwrap())
            }
            Some(name) => {
                let controller = name.split('.').next().unwrap_or_default();
                if !state.controllers(&folder).contains(controller) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.files.insert(path.to_owned(), value.to_owned());
                Ok(())
            }
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        self.state().groups.entry(folder.to_owned()).or_default();
        Ok(())
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        let has_groups = state.groups.keys().any(|path| path.parent() == Some(folder));
        let has_processes =
            state.groups.get(folder).is_some_and(|group| !group.processes.is_empty());
        if has_groups || has_processes {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        state.groups.remove(folder);
        Ok(())
    }

    fn groups(&self, folder: &Path) -> io::Result<Vec<(String, Duration)>> {
        let state = self.state();
        let below = state.groups.keys().filter(|path| path.parent() == Some(folder));
        let names = below.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        Ok(names.map(|name| (name, state.age)).collect())
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        let state = self.state();
        let folder = if state.groups.contains_key(path) { path } else { path.parent().unwrap() };
        state.group(folder)?;
        match state.read_only.contains(path) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }
}

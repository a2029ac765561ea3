//! One group, in all hierarchies that have a controller for it.

use crate::{
    Controller, CpuSet, Error, Limits, Missing, Result, Version, delegation::is_gone, files::Files,
    groups::check, settings::settings,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// How often, and after which pause, a group is removed whose last process is just ending.
const REMOVALS_MAX: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// A folder of one hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) version: Version,
    pub(crate) folder: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

/// A group of processes with limits. It stays when this is dropped: processes may outlive
/// whoever put them there.
#[derive(Debug, Clone)]
pub struct Group {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) places: Vec<Place>,
    pub(crate) missing: Vec<Missing>,
}

/// What the processes of a group have used, those that have ended included. What nobody counts
/// on this host is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Memory now, caches of files included.
    pub memory_bytes: Option<u64>,
    /// How long they were held back by a hard quota.
    pub throttled: Option<Duration>,
}

impl Group {
    /// Makes its folders, as far as they are not there.
    pub(crate) fn make(&self) -> Result<()> {
        for place in &self.places {
            let path = &place.folder;
            self.files.make(path).map_err(|source| Error::Group { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Puts a process here, with all its threads. Those that it starts from then on are here too;
    /// memory that it has already stays charged where it was.
    ///
    /// # Errors
    /// [`Error::Ended`] if it has ended, another [`Error`] if this process may not move it.
    pub fn add(&self, pid: u32) -> Result<()> {
        for place in &self.places {
            let path = place.folder.join("cgroup.procs");
            let value = pid.to_string();
            self.files.write(&path, &value).map_err(|source| match is_gone(&source) {
                true => Error::Ended(pid),
                false => Error::Refused { path, value, source },
            })?;
        }
        Ok(())
    }

    /// Replaces all limits, while the processes run.
    ///
    /// # Errors
    /// [`Error`] says which limit cannot be kept. Others may have been replaced by then.
    pub fn set(&self, limits: &Limits) -> Result<()> {
        check(limits, &self.missing)?;
        for place in &self.places {
            for &controller in &place.controllers {
                if controller == Controller::Cpuset {
                    self.set_cpus(place, limits.cpus.as_ref())?;
                }
                for setting in settings(controller, place.version, limits) {
                    let path = place.folder.join(setting.file);
                    // A kernel without quotas has no file for them, and nothing to reset.
                    if setting.is_default && self.files.may_write(&path).is_err() {
                        continue;
                    }
                    self.write(path, setting.value)?;
                }
            }
        }
        Ok(())
    }

    /// Groups of version 1 have no processors and memory nodes at first, and take no process
    /// until they do.
    fn set_cpus(&self, place: &Place, cpus: Option<&CpuSet>) -> Result<()> {
        let above = place.folder.parent().unwrap_or(Path::new("/"));
        let of_above = match place.version {
            Version::V1 => "cpuset.cpus",
            Version::V2 => "cpuset.cpus.effective",
        };
        let allowed = self.read(&above.join(of_above))?;
        if let (Some(asked), Ok(allowed)) = (cpus, allowed.parse::<CpuSet>())
            && !asked.is_subset(&allowed)
        {
            return Err(Error::Cpus { asked: asked.clone(), allowed });
        }
        if place.version == Version::V1 {
            let nodes = self.read(&above.join("cpuset.mems"))?;
            self.write(place.folder.join("cpuset.mems"), nodes.trim().to_owned())?;
        }
        let value = match (cpus, place.version) {
            (Some(cpus), _) => cpus.to_string(),
            (None, Version::V1) => allowed.trim().to_owned(),
            // Those of the group above. The kernel does not see a write of nothing.
            (None, Version::V2) => "\n".to_owned(),
        };
        self.write(place.folder.join("cpuset.cpus"), value)
    }

    /// What its processes have used so far.
    ///
    /// # Errors
    /// [`Error`] if the group is gone, or the kernel writes what nobody knows.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        for place in &self.places {
            let v2 = place.version == Version::V2;
            if v2 && usage.cpu.is_none() {
                usage.cpu = self.field(place, "usage_usec")?.map(Duration::from_micros);
            }
            for controller in &place.controllers {
                match (controller, v2) {
                    (Controller::Cpuacct, _) => {
                        let nanos = self.number(place, *controller, "cpuacct.usage")?;
                        usage.cpu = Some(Duration::from_nanos(nanos));
                    }
                    (Controller::Cpu, true) => {
                        let micros = self.field(place, "throttled_usec")?;
                        usage.throttled = micros.map(Duration::from_micros);
                    }
                    (Controller::Cpu, false) => {
                        let nanos = self.field(place, "throttled_time")?;
                        usage.throttled = nanos.map(Duration::from_nanos);
                    }
                    (Controller::Memory, _) => {
                        let file = if v2 { "memory.current" } else { "memory.usage_in_bytes" };
                        usage.memory_bytes = Some(self.number(place, *controller, file)?);
                    }
                    (Controller::Cpuset | Controller::Pids, _) => {}
                }
            }
        }
        Ok(usage)
    }

    /// Removes the group, which must have no processes; it kills none. One that is gone already
    /// will do. Waits a moment for processes that are just ending.
    ///
    /// # Errors
    /// [`Error::Busy`] if it still has processes.
    pub fn remove(&self) -> Result<()> {
        for _ in 1..REMOVALS_MAX {
            match self.try_remove() {
                Err(Error::Busy { .. }) => thread::sleep(REMOVAL_PAUSE),
                answer => return answer,
            }
        }
        self.try_remove()
    }

    pub(crate) fn try_remove(&self) -> Result<()> {
        for place in &self.places {
            self.files.remove(&place.folder).map_err(|source| {
                let path = place.folder.clone();
                match source.kind() {
                    io::ErrorKind::ResourceBusy => Error::Busy { path },
                    _ => Error::Group { path, source },
                }
            })?;
        }
        Ok(())
    }

    fn write(&self, path: PathBuf, value: String) -> Result<()> {
        self.files.write(&path, &value).map_err(|source| Error::Refused { path, value, source })
    }

    fn read(&self, path: &Path) -> Result<String> {
        self.files.read(path).map_err(|source| Error::Group { path: path.to_owned(), source })
    }

    fn number(&self, place: &Place, controller: Controller, file: &str) -> Result<u64> {
        let path = place.folder.join(file);
        let text = self.read(&path)?;
        text.trim().parse().map_err(|_| Error::Counter { controller, path })
    }

    /// A field of `cpu.stat`; not every kernel writes each.
    fn field(&self, place: &Place, name: &str) -> Result<Option<u64>> {
        let path = place.folder.join("cpu.stat");
        let text = self.read(&path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let parsed = value.map(|value| value.trim().parse());
        parsed.transpose().map_err(|_| Error::Counter { controller: Controller::Cpu, path })
    }
}

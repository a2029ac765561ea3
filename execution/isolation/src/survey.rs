//! Which controllers are where, and which of them this process may use.

use crate::{
    Controller, Version,
    files::{Files, Kernel},
    proc::{Membership, Mount, memberships, mounts},
};
use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

/// The group of version 2 that takes this process and those beside it, so that the group they
/// were in may be divided.
pub(crate) const SELF_GROUP: &str = "cloudskin.self";

/// What this process can limit, as far as looking tells.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Controllers with which groups can be made.
    pub found: Vec<Found>,
    /// Those with which they cannot.
    pub missing: Vec<Missing>,
}

/// A controller with which groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub controller: Controller,
    /// Where it is bound to.
    pub version: Version,
    /// The group below which groups can be made: this process' own.
    pub folder: PathBuf,
}

/// A controller with which no groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub controller: Controller,
    /// Why.
    pub reason: Reason,
}

/// Why no groups can be made with a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is in no hierarchy that is mounted.
    NotMounted,
    /// Version 2 has it, but not in this process' group.
    NotGranted(PathBuf),
    /// The file system shows no folder of this process' group.
    Hidden,
    /// This process may not write there.
    NotWritable(Version, PathBuf, io::ErrorKind),
    /// The kernel does not let this process' group be divided.
    Undivided(PathBuf, String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.controller;
        match &self.reason {
            Reason::NotMounted => write!(f, "{name} is in no mounted hierarchy"),
            Reason::NotGranted(at) => write!(f, "{name} is not granted to `{}`", at.display()),
            Reason::Hidden => write!(f, "{name} has this process in a group that cannot be seen"),
            Reason::NotWritable(_, at, io::ErrorKind::ReadOnlyFilesystem) => {
                write!(f, "{name} is mounted read-only at `{}`", at.display())
            }
            Reason::NotWritable(_, at, io::ErrorKind::PermissionDenied) => {
                write!(f, "{name} is not delegated to this user: `{}`", at.display())
            }
            Reason::NotWritable(_, at, kind) => {
                write!(f, "{name} cannot be used at `{}`: {kind}", at.display())
            }
            Reason::Undivided(at, why) => {
                write!(f, "{name} cannot be handed on by `{}`: {why}", at.display())
            }
        }
    }
}

impl fmt::Display for Survey {
    /// `cpu, memory (v2), pids (v1)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.found.iter().filter(|found| found.controller != Controller::Cpuacct);
        let mut shown = shown.peekable();
        while let Some(found) = shown.next() {
            write!(f, "{}", found.controller)?;
            let next = shown.peek();
            if next.is_none_or(|next| next.version != found.version) {
                write!(f, " ({})", found.version)?;
            }
            if next.is_some() {
                f.write_str(", ")?;
            }
        }
        Ok(())
    }
}

impl Survey {
    /// Looks, and makes nothing.
    pub fn of_this_process() -> Self {
        Self::with(&Kernel)
    }

    /// What a user can do who wants the missing controllers.
    pub fn advice(&self) -> &'static str {
        crate::error::advice(&self.missing)
    }

    pub(crate) fn with(files: &dyn Files) -> Self {
        let text = |path: &str| files.read(Path::new(path)).unwrap_or_default();
        let mounts = mounts(&text("/proc/self/mountinfo"));
        let memberships = memberships(&text("/proc/self/cgroup"));
        let mut survey = Self::default();
        for controller in Controller::LIMITING {
            match find(files, &mounts, &memberships, controller) {
                Ok(found) => survey.found.push(found),
                Err(reason) => survey.missing.push(Missing { controller, reason }),
            }
        }
        // Without it time is not counted by version 1; nobody needs it to limit anything.
        survey.found.extend(find_v1(files, &mounts, &memberships, Controller::Cpuacct).ok());
        survey
    }

    /// The controllers of version 2, and the group that has them.
    pub(crate) fn v2(&self) -> Option<(PathBuf, BTreeSet<Controller>)> {
        let v2 = self.found.iter().filter(|found| found.version == Version::V2);
        let folder = v2.clone().next()?.folder.clone();
        Some((folder, v2.map(|found| found.controller).collect()))
    }
}

fn find(
    files: &dyn Files,
    mounts: &[Mount],
    memberships: &[Membership],
    controller: Controller,
) -> Result<Found, Reason> {
    // A controller is bound to one version; whoever mounts it as version 1 takes it from version 2.
    match find_v1(files, mounts, memberships, controller) {
        Err(Reason::NotMounted) => find_v2(files, mounts, memberships, controller),
        answer => answer,
    }
}

fn find_v1(
    files: &dyn Files,
    mounts: &[Mount],
    memberships: &[Membership],
    controller: Controller,
) -> Result<Found, Reason> {
    let has = |v1: &Option<Vec<String>>| {
        v1.as_ref().is_some_and(|names| names.iter().any(|name| name == controller.name()))
    };
    let mounts: Vec<_> = mounts.iter().filter(|mount| has(&mount.v1)).collect();
    let own = memberships.iter().find(|membership| has(&membership.v1));
    let own = own.filter(|_| !mounts.is_empty()).ok_or(Reason::NotMounted)?;
    let folder = first_usable(files, &mounts, Version::V1, &own.group)?;
    Ok(Found { controller, version: Version::V1, folder })
}

fn find_v2(
    files: &dyn Files,
    mounts: &[Mount],
    memberships: &[Membership],
    controller: Controller,
) -> Result<Found, Reason> {
    let mounts: Vec<_> = mounts.iter().filter(|mount| mount.v1.is_none()).collect();
    let own = memberships.iter().find(|membership| membership.v1.is_none());
    let own = own.filter(|_| !mounts.is_empty()).ok_or(Reason::NotMounted)?;
    let listed = |folder: &Path| {
        let names = files.read(&folder.join("cgroup.controllers")).unwrap_or_default();
        names.split_ascii_whitespace().any(|name| name == controller.name())
    };
    if let [mount] = mounts[..]
        && !listed(&mount.point)
    {
        return Err(Reason::NotGranted(mount.point.clone()));
    }
    let folder = first_usable(files, &mounts, Version::V2, &own.group)?;
    match listed(&folder) {
        true => Ok(Found { controller, version: Version::V2, folder }),
        false => Err(Reason::NotGranted(folder)),
    }
}

/// The group to divide: a process that an earlier one moved aside has it above its own.
fn divided(own: &Path) -> PathBuf {
    match (own.file_name(), own.parent()) {
        (Some(name), Some(parent)) if name == SELF_GROUP => parent.to_owned(),
        _ => own.to_owned(),
    }
}

/// The folder of the group in the first mount where groups can be made below it.
fn first_usable(
    files: &dyn Files,
    mounts: &[&Mount],
    version: Version,
    group: &Path,
) -> Result<PathBuf, Reason> {
    let mut answer = Err(Reason::Hidden);
    for own in mounts.iter().filter_map(|mount| mount.folder(group)) {
        let folder = if version == Version::V2 { divided(&own) } else { own };
        // Who may make a group may not yet move a process into it.
        let processes = folder.join("cgroup.procs");
        match files.may_write(&folder).and_then(|()| files.may_write(&processes)) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => answer = Err(Reason::NotWritable(version, folder, error.kind())),
        }
    }
    answer
}

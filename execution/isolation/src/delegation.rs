//! Makes a group of version 2 ready to have groups with controllers below it.

use crate::{Controller, Missing, Reason, Version, files::Files, survey::SELF_GROUP};
use std::{collections::BTreeSet, io, path::Path};

/// How often processes are moved aside: those that start meanwhile are met the next time.
const MOVES_MAX: u32 = 100;

/// Hands the controllers on to the groups below `folder`; which it could not, and why.
///
/// A group that hands controllers on may hold no processes itself. If this one does, they are
/// moved into a group below it: this process and those that were started beside it.
pub(crate) fn hand_on(
    files: &dyn Files,
    folder: &Path,
    controllers: &BTreeSet<Controller>,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    for &controller in controllers {
        if let Err(error) = hand_one_on(files, folder, controller) {
            let reason = match error.kind() {
                kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    Reason::NotWritable(Version::V2, folder.to_owned(), kind)
                }
                _ => Reason::Undivided(folder.to_owned(), error.to_string()),
            };
            missing.push(Missing { controller, reason });
        }
    }
    missing
}

fn hand_one_on(files: &dyn Files, folder: &Path, controller: Controller) -> io::Result<()> {
    let file = folder.join("cgroup.subtree_control");
    let has = |names: String| names.split_ascii_whitespace().any(|name| name == controller.name());
    if has(files.read(&file)?) {
        return Ok(());
    }
    let value = format!("+{controller}");
    match files.write(&file, &value) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            move_aside(files, folder)?;
            files.write(&file, &value)
        }
        answer => answer,
    }
}

/// Moves all processes of the group into one below it.
fn move_aside(files: &dyn Files, folder: &Path) -> io::Result<()> {
    let aside = folder.join(SELF_GROUP);
    files.make(&aside)?;
    for _ in 0..MOVES_MAX {
        let processes = files.read(&folder.join("cgroup.procs"))?;
        // Processes of other namespaces are shown as 0, which would mean ourselves.
        let mut movable = processes.split_ascii_whitespace().filter(|pid| *pid != "0").peekable();
        if movable.peek().is_none() {
            return match processes.trim().is_empty() {
                true => Ok(()),
                false => Err(io::Error::other("it has processes that cannot be seen from here")),
            };
        }
        for pid in movable {
            match files.write(&aside.join("cgroup.procs"), pid) {
                Err(error) if is_gone(&error) => {}
                moved => moved?,
            }
        }
    }
    Err(io::Error::other("its processes multiply faster than they can be moved"))
}

/// Whether it says that the process has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::SRCH)
}

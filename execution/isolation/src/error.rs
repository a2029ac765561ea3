//! Why processes cannot be isolated.

use crate::{Controller, CpuSet, Missing, Reason, Version};
use std::{io, path::PathBuf};

/// No groups can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The name cannot be part of a group's name.
    #[error("`{0}` cannot name groups: use up to 64 letters, digits, `-` and `_`")]
    Name(String),
    /// No controller can be used.
    #[error("processes cannot be isolated by control groups: {}; {}", list(.0), advice(.0))]
    Controllers(Vec<Missing>),
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a user can do who wants these controllers.
pub(crate) fn advice(missing: &[Missing]) -> &'static str {
    let is = |wanted: fn(&Reason) -> bool| missing.iter().any(|missing| wanted(&missing.reason));
    if missing.iter().all(|missing| missing.reason == Reason::NotMounted) {
        return "mount them, as with `mount -t cgroup2 none /sys/fs/cgroup`";
    }
    if is(|reason| matches!(reason, Reason::NotWritable(_, _, io::ErrorKind::ReadOnlyFilesystem))) {
        return "in a container, let it write its own groups (`--cgroupns=private` with a writable `/sys/fs/cgroup`)";
    }
    if is(|reason| matches!(reason, Reason::NotWritable(Version::V1, ..))) {
        return "version 1 is for root alone: start as root, or let the host use version 2 (kernel option `systemd.unified_cgroup_hierarchy=1`)";
    }
    "start in a group of your own: `systemd-run --user --scope -p Delegate=yes COMMAND`"
}

/// A group could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The identifier cannot be part of a group's name.
    #[error("`{0}` cannot name a group: use up to 128 letters, digits, `-` and `_`")]
    Id(String),
    /// A limit needs a controller that is not there.
    #[error("`{limit}` cannot be kept: {missing}; {}", advice(std::slice::from_ref(.missing)))]
    Missing {
        /// The limit.
        limit: &'static str,
        /// What it needs.
        missing: Missing,
    },
    /// The group may not use these processors.
    #[error("`cpus` may name `{allowed}`, which this process has, and not `{asked}`")]
    Cpus {
        /// What was asked for.
        asked: CpuSet,
        /// What can be given.
        allowed: CpuSet,
    },
    /// The process is gone.
    #[error("process {0} has ended")]
    Ended(u32),
    /// The kernel refused a value.
    #[error("the kernel refuses `{value}` for `{}`", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder of a group cannot be used.
    #[error("cannot use the control group's `{}`", path.display())]
    Group {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the kernel counts cannot be read.
    #[error("cannot read the {controller} counters in `{}`", path.display())]
    Counter {
        /// Whose.
        controller: Controller,
        /// Where.
        path: PathBuf,
    },
    /// The group still has processes.
    #[error("the control group `{}` still has processes: end them first", path.display())]
    Busy {
        /// Its folder.
        path: PathBuf,
    },
}

/// What this crate's functions give.
pub type Result<T> = std::result::Result<T, Error>;

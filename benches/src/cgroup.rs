//! A control group of its own for a process, to count its memory as an operator would.

use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A fresh group below this process' own; removed on drop, once its processes are gone.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    version: u8,
}

impl Cgroup {
    /// Makes the group, with version 1's memory controller or version 2's.
    ///
    /// # Errors
    /// Why there can be none: most often, too few rights.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let version1 = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let folder = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
            controllers.split(',').any(|name| name == "memory").then_some((folder, 1))
        });
        let version2 = own.lines().find_map(|line| {
            let path = line.strip_prefix("0::/")?;
            Some((Path::new("/sys/fs/cgroup").join(path), 2))
        });
        let (parent, version) = version1
            .or(version2)
            .filter(|(parent, _)| parent.is_dir())
            .context("this process is in no control group that counts memory")?;
        let folder = parent.join(format!("cloudskin-bench-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let group = Self { folder, version };
        group.usage_bytes().context("the control group does not count memory")?;
        Ok(group)
    }

    /// A command that enters the group before it becomes `program`.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// What is charged to it now, caches included.
    pub(crate) fn usage_bytes(&self) -> anyhow::Result<u64> {
        let file = if self.version == 1 { "memory.usage_in_bytes" } else { "memory.current" };
        Ok(fs::read_to_string(self.folder.join(file))?.trim().parse()?)
    }

    /// Has the kernel take back what it can without loss: clean pages of files, unused entries of
    /// its own tables.
    ///
    /// # Errors
    /// If it cannot, or would swap.
    pub(crate) fn reclaim(&self) -> anyhow::Result<()> {
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        anyhow::ensure!(swaps.lines().count() <= 1, "this machine swaps");
        let file = if self.version == 1 { "memory.force_empty" } else { "memory.reclaim" };
        // Once frees what a second time finds unused. Version 2 says that it could not take back
        // so much, which is certain.
        for _ in 0..3 {
            let asked = fs::write(self.folder.join(file), "64G");
            anyhow::ensure!(asked.is_ok() || self.version == 2, "`{file}` is refused");
        }
        Ok(())
    }

    /// How it counts, for people.
    pub(crate) fn method(&self) -> String {
        format!("cgroup v{}", self.version)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("`{}` could not be removed", self.folder.display());
    }
}

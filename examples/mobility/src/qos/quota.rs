//! An edge that is slower than its machine: a hard quota of processor time for its workers.

use crate::{Error, Result};
use isolation::{Controller, Found, Survey, Version};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The kernel's least quota; the shorter the period, the more the quota is like a slower processor.
const QUOTA_US: f64 = 1000.0;
/// The shortest and the longest period that the kernel takes.
const PERIOD_US: std::ops::RangeInclusive<f64> = 1000.0..=1_000_000.0;
/// How soon a worker that was started anew gets its quota.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The share of a processor that each worker of a site gets.
#[derive(Debug)]
pub(super) struct Quota {
    workers: PathBuf,
    found: Found,
    /// The share of each worker's group, by its process.
    given: HashMap<u32, f64>,
}

impl Quota {
    /// For the workers of the site in this data folder.
    pub(super) fn of(data: &Path, site: &str) -> Result<Self> {
        let survey = Survey::of_this_process();
        let found = survey.found.into_iter().find(|found| found.controller == Controller::Cpu);
        let found = found.ok_or(Error::NoQuota)?;
        let workers = data.join("sites").join(site).join("workers");
        Ok(Self { workers, found, given: HashMap::new() })
    }

    /// Gives each worker that has not got it this share; answers how many have it.
    pub(super) fn give(&mut self, share: f64) -> Result<usize> {
        let pids = pids(&self.workers);
        for &pid in &pids {
            if self.given.get(&pid) == Some(&share) {
                continue;
            }
            // One that has just begun is not in its group yet.
            if let Some(group) = self.group(pid) {
                set(&group, self.found.version, share)?;
                self.given.insert(pid, share);
            }
        }
        self.given.retain(|pid, _| pids.contains(pid));
        Ok(self.given.len())
    }

    /// The group of a worker, which is below that of whoever started it.
    fn group(&self, pid: u32) -> Option<PathBuf> {
        let pid = pid.to_string();
        let groups = fs::read_dir(&self.found.folder).ok()?.flatten().map(|entry| entry.path());
        let holds = |group: &PathBuf| {
            let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            processes.lines().any(|line| line == pid)
        };
        groups.filter(|group| group.is_dir()).find(holds)
    }
}

/// The processes of a site's workers.
fn pids(folder: &Path) -> Vec<u32> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let pid = |path: PathBuf| {
        let written: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        u32::try_from(written.get("pid")?.as_u64()?).ok()
    };
    files.filter(|path| path.extension().is_some_and(|end| end == "pid")).filter_map(pid).collect()
}

fn set(group: &Path, version: Version, share: f64) -> Result<()> {
    let each = settings(version, share);
    each.into_iter().try_for_each(|(file, value)| {
        let path = group.join(file);
        fs::write(&path, value).map_err(Error::file("write", path))
    })
}

/// What is written where. The quota goes first: with it the period would have to fit at once.
fn settings(version: Version, share: f64) -> Vec<(&'static str, String)> {
    let period = (QUOTA_US / share).clamp(*PERIOD_US.start(), *PERIOD_US.end());
    let quota = (share * period).max(QUOTA_US);
    match version {
        Version::V1 => vec![
            ("cpu.cfs_quota_us", "-1".to_owned()),
            ("cpu.cfs_period_us", format!("{period:.0}")),
            ("cpu.cfs_quota_us", format!("{quota:.0}")),
        ],
        Version::V2 => vec![("cpu.max", format!("{quota:.0} {period:.0}"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_the_shortest_that_the_kernel_takes() {
        assert_eq!(settings(Version::V2, 0.05), [("cpu.max", "1000 20000".to_owned())]);
        assert_eq!(settings(Version::V2, 2.0), [("cpu.max", "2000 1000".to_owned())]);
        let first = settings(Version::V1, 0.0001);
        assert_eq!(first[1], ("cpu.cfs_period_us", "1000000".to_owned()));
    }
}

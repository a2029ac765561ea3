//! Whether this machine can do what CloudSkin offers, and what to do where it cannot.

use super::{DataFolder, Plan, ports};
use isolation::{Controller, Survey};
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Space for compiled modules, checkpoints and logs of a first day.
const SPACE_MIN_BYTES: u64 = 1 << 30;

/// The first kernel with PAGEMAP_SCAN and asynchronous write protection.
const PAGEMAP_SCAN_SINCE: (u32, u32) = (6, 7);

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// Something does not work, the rest does.
    Note,
    /// `cloudskin up` does not work.
    Problem,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub finding: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, finding: finding.into(), advice: None }
    }

    fn note(name: &'static str, finding: impl Into<String>, advice: &str) -> Self {
        Self { name, level: Level::Note, finding: finding.into(), advice: Some(advice.into()) }
    }

    fn problem(name: &'static str, finding: impl Into<String>, advice: &str) -> Self {
        Self { name, level: Level::Problem, finding: finding.into(), advice: Some(advice.into()) }
    }
}

/// Looks at everything.
pub fn examine(folder: &DataFolder, plan: &Plan) -> Vec<Check> {
    let mut checks =
        vec![data_folder(folder), free_ports(folder, plan), dirty_tracking(), cgroups()];
    checks.push(compiler());
    checks.push(sysroot());
    let programs = [
        ("wasm-opt", "binaryen", "`cloudskin build --migratable` instruments modules with it"),
        ("ffmpeg", "ffmpeg", "`cloudskin play` decodes video with it"),
        ("dig", "bind9-dnsutils", "the demo shows our DNS with it"),
    ];
    checks.extend(programs.map(|(name, package, use_of)| program(name, package, use_of)));
    checks
}

fn data_folder(folder: &DataFolder) -> Check {
    const NAME: &str = "data folder";
    let root = folder.root();
    let shown = root.display();
    let Some(existing) = root.ancestors().find(|path| path.exists()) else {
        return Check::problem(NAME, format!("`{shown}` cannot be made"), "give --data-dir");
    };
    if let Err(error) = folder.is_ours() {
        return Check::problem(NAME, types::chain(&error), "give another --data-dir");
    }
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let finding = format!("`{}` cannot be written by this user", existing.display());
        return Check::problem(NAME, finding, "give --data-dir a folder of your own");
    }
    match statvfs(existing) {
        Ok(space) if space.f_flag.contains(StatVfsMountFlags::RDONLY) => Check::problem(
            NAME,
            format!("`{shown}` lies on a read-only file system"),
            "give --data-dir a folder elsewhere",
        ),
        Ok(space) if space.f_bavail * space.f_frsize < SPACE_MIN_BYTES => Check::note(
            NAME,
            format!("`{shown}` has {} MiB left", (space.f_bavail * space.f_frsize) >> 20),
            "free 1 GiB for compiled modules and checkpoints",
        ),
        Ok(space) => Check::ok(
            NAME,
            format!(
                "`{shown}` can be written, {} GiB are free",
                (space.f_bavail * space.f_frsize) >> 30
            ),
        ),
        Err(error) => Check::note(NAME, format!("`{shown}`: {error}"), "look at its file system"),
    }
}

fn free_ports(folder: &DataFolder, plan: &Plan) -> Check {
    const NAME: &str = "ports";
    let state = folder.state().ok().flatten();
    if let Some(state) = state.filter(|state| state.is_alive() && state.url == plan.url()) {
        return Check::ok(NAME, format!("in use by the continuum that runs (pid {})", state.pid()));
    }
    let listeners = plan.listeners();
    let count = listeners.len();
    match ports::check(listeners) {
        Ok(taken) if taken.is_empty() => {
            Check::ok(NAME, format!("all {count} on {} are free", plan.network))
        }
        Ok(taken) => {
            let finding: Vec<_> = taken.iter().map(ToString::to_string).collect();
            let advice = "end what holds them, or use `--loopback 127.77.3.0`";
            Check::problem(NAME, finding.join(", and "), advice)
        }
        Err(error) => {
            let advice = "the loopback interface must be up with 127.0.0.0/8";
            Check::problem(NAME, types::chain(&error), advice)
        }
    }
}

/// Migration finds changed pages by these; without them it compares memory.
fn dirty_tracking() -> Check {
    const NAME: &str = "dirty-page tracking";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let (major, minor) = PAGEMAP_SCAN_SINCE;
    if kernel_version(release).is_none_or(|version| version < PAGEMAP_SCAN_SINCE) {
        return Check::note(
            NAME,
            format!("kernel {release} has no PAGEMAP_SCAN"),
            &format!(
                "migration compares memory instead, which stops services for longer; use kernel {major}.{minor} or newer"
            ),
        );
    }
    // A kernel without userfaultfd has neither.
    let setting = Path::new("/proc/sys/vm/unprivileged_userfaultfd");
    if !setting.exists() && !Path::new("/dev/userfaultfd").exists() {
        return Check::note(
            NAME,
            format!("kernel {release} is built without userfaultfd"),
            "migration compares memory instead, which stops services for longer",
        );
    }
    Check::ok(NAME, format!("kernel {release} has PAGEMAP_SCAN and userfaultfd"))
}

/// The first two numbers of a kernel's release.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Workers of different tenants get their shares of processors by these.
fn cgroups() -> Check {
    const NAME: &str = "cgroups";
    let survey = Survey::of_this_process();
    if survey.missing.is_empty() {
        return Check::ok(NAME, format!("workers are held apart by {survey}"));
    }
    let missing: Vec<_> = survey.missing.iter().map(ToString::to_string).collect();
    let finding = match survey.found.iter().any(|found| found.controller != Controller::Cpuacct) {
        true => format!("{survey}; {}", missing.join(", ")),
        false => missing.join(", "),
    };
    let advice = format!(
        "limits inside cells hold all the same; for shares of processors: {}",
        survey.advice()
    );
    Check::note(NAME, finding, &advice)
}

fn compiler() -> Check {
    const NAME: &str = "compiler";
    let clang = ["clang-19", "clang"].iter().find_map(|name| find(name));
    let linker = ["wasm-ld-19", "wasm-ld"].iter().find_map(|name| find(name));
    match (clang, linker) {
        (Some(clang), Some(_)) => Check::ok(NAME, format!("`{}` and wasm-ld", clang.display())),
        (clang, _) => Check::note(
            NAME,
            format!("{} is missing", if clang.is_none() { "clang" } else { "wasm-ld" }),
            "for `cloudskin build`: apt-get install clang-19 lld-19",
        ),
    }
}

fn sysroot() -> Check {
    const NAME: &str = "Wasm libraries";
    let parts = [
        ("wasi-libc", &["/usr/include/wasm32-wasi/stdio.h"][..]),
        (
            "libclang-rt-19-dev-wasm32",
            &[
                "/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a",
                "/usr/lib/llvm-19/lib/clang/19/lib/wasm32-unknown-wasi/libclang_rt.builtins.a",
            ],
        ),
        (
            "libc++-19-dev-wasm32",
            &["/usr/lib/wasm32-wasi/libc++.a", "/usr/lib/llvm-19/lib/wasm32-wasi/libc++.a"],
        ),
    ];
    let missing: Vec<_> = parts
        .iter()
        .filter(|(_, paths)| !paths.iter().any(|path| Path::new(path).exists()))
        .map(|(package, _)| *package)
        .collect();
    match missing.is_empty() {
        true => Check::ok(NAME, "C and C++ for wasm32-wasi"),
        false => Check::note(
            NAME,
            format!("{} missing", missing.join(", ")),
            &format!("for `cloudskin build`: apt-get install {}", missing.join(" ")),
        ),
    }
}

fn program(name: &'static str, package: &str, use_of: &str) -> Check {
    match find(name) {
        Some(path) => Check::ok(name, format!("`{}`", path.display())),
        None => {
            let advice = format!("{use_of}: apt-get install {package}");
            Check::note(name, "not installed", &advice)
        }
    }
}

/// The program in PATH.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_well_says_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::at(&parent.path().join("new")).unwrap();
        let plan = Plan::new("127.93.7.0".parse().unwrap(), &["edge".into()]).unwrap();

        let checks = examine(&folder, &plan);

        assert!(checks.iter().all(|check| (check.level == Level::Ok) == check.advice.is_none()));
        assert_eq!(checks[0].level, Level::Ok, "{:?}", checks[0]);
        assert_eq!(checks[1].level, Level::Ok, "{:?}", checks[1]);
        assert!(!folder.root().exists(), "looking makes nothing");
    }

    #[test]
    fn taken_ports_and_foreign_folders_are_problems() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("CLOUDSKIN-DATA"), "99").unwrap();
        let folder = DataFolder::at(parent.path()).unwrap();
        let plan = Plan::new("127.93.8.0".parse().unwrap(), &["edge".into()]).unwrap();
        let _held = std::net::TcpListener::bind("127.93.8.1:8470").unwrap();

        let checks = examine(&folder, &plan);

        assert_eq!(checks[0].level, Level::Problem);
        assert_eq!(checks[1].level, Level::Problem);
        assert!(checks[1].finding.contains("8470"), "{:?}", checks[1]);
    }

    #[test]
    fn releases_of_kernels_are_read() {
        assert_eq!(kernel_version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(kernel_version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("odd"), None);
    }
}

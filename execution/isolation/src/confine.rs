//! A program that is not trusted, held to itself: what it may use, read and reach.
//!
//! Unlike control groups this needs no privileges: resource limits, an empty set of capabilities,
//! Landlock for files, and a filter of system calls. All of it is inherited and cannot be undone by
//! the program.

use crate::filter;
use rustix::{
    fs::{Mode, OFlags},
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit, setsid},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};
use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::Command,
};

/// What a confined program may use, read and reach.
///
/// It writes no files and starts no other programs; it ends with the thread that started it.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// Most address space.
    pub memory_bytes: u64,
    /// Most processor time of its life.
    pub cpu_seconds: u64,
    /// Most open files.
    pub files_max: u64,
    /// Whether it may speak IP; other sockets than pairs of its own it never has.
    pub network: bool,
    /// Files, and folders with all in them, that it may read; those that do not exist are left out.
    pub readable: Vec<PathBuf>,
}

/// The rights on files that a kernel of each version of Landlock knows, from the first on.
const RIGHTS: [u64; 5] =
    [(1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1];
/// To execute, to read a file, to list a folder.
const READS: u64 = 1 | 1 << 2 | 1 << 3;
/// Those of these that a file can have.
const READS_OF_A_FILE: u64 = 1 | 1 << 2;

/// `landlock_path_beneath_attr` of the kernel.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

const RULE_PATH_BENEATH: libc::c_int = 1;
const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// What the child does between its beginning and the program; made before, for there it may
/// neither allocate nor lock.
struct Prepared {
    limits: [(Resource, u64); 5],
    rules: OwnedFd,
    filter: Vec<libc::sock_filter>,
}

impl Confinement {
    /// Lets the command's process be confined from its first instruction on.
    ///
    /// # Errors
    /// If the kernel is without Landlock (before 5.13, or switched off), or the processor is one
    /// whose calls are not known.
    pub fn apply(&self, command: &mut Command) -> io::Result<()> {
        let prepared = Prepared {
            limits: [
                (Resource::As, self.memory_bytes),
                (Resource::Cpu, self.cpu_seconds),
                (Resource::Nofile, self.files_max),
                (Resource::Fsize, 0),
                (Resource::Core, 0),
            ],
            rules: self.rules()?,
            filter: filter::program(self.network)?,
        };
        confine(command, prepared);
        Ok(())
    }

    /// What it may read, as the kernel wants to know it.
    fn rules(&self) -> io::Result<OwnedFd> {
        let version = landlock_version()?;
        let handled = RIGHTS[version.min(RIGHTS.len()) - 1];
        let rules = create_ruleset(handled)?;
        for path in &self.readable {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let Ok(at) = rustix::fs::open(path, flags, Mode::empty()) else { continue };
            let folder = std::fs::metadata(path).is_ok_and(|found| found.is_dir());
            let allowed = if folder { READS } else { READS_OF_A_FILE };
            add_rule(&rules, &Beneath { allowed, parent: at.as_raw_fd() })?;
        }
        Ok(rules)
    }
}

fn check(done: libc::c_long) -> io::Result<libc::c_long> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

#[expect(unsafe_code, reason = "no crate in use knows Landlock")]
fn landlock_version() -> io::Result<usize> {
    // SAFETY: with this flag the call reads no memory and makes nothing.
    let found = check(unsafe {
        let nothing = std::ptr::null::<u64>();
        libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION)
    });
    let missing = |_| {
        let text = "the kernel is without Landlock, which keeps a program from files: Linux 5.13 or newer, with `landlock` in /sys/kernel/security/lsm, is needed";
        io::Error::new(io::ErrorKind::Unsupported, text)
    };
    usize::try_from(found.map_err(missing)?)
        .ok()
        .filter(|version| *version > 0)
        .ok_or_else(|| missing(io::Error::other("")))
}

#[expect(unsafe_code, reason = "no crate in use knows Landlock")]
fn create_ruleset(handled: u64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads eight bytes of an integer that outlives the call; what it returns is
    // a new descriptor that nobody else has.
    unsafe {
        let made = libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of::<u64>(),
            0_u32,
        );
        let number = i32::try_from(check(made)?).map_err(io::Error::other)?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

#[expect(unsafe_code, reason = "no crate in use knows Landlock")]
fn add_rule(rules: &OwnedFd, beneath: &Beneath) -> io::Result<()> {
    let rules = rules.as_raw_fd();
    // SAFETY: the kernel reads the structure, which has the layout that it expects, during the call.
    let added = unsafe {
        let rule: *const Beneath = beneath;
        libc::syscall(libc::SYS_landlock_add_rule, rules, RULE_PATH_BENEATH, rule, 0_u32)
    };
    check(added).map(drop)
}

#[expect(unsafe_code, reason = "the standard library has no stable way to act before a program")]
fn confine(command: &mut Command, prepared: Prepared) {
    // SAFETY: `enter` makes system calls on memory that was made before and nothing else.
    unsafe {
        command.pre_exec(move || enter(&prepared));
    }
}

/// In the child: from here on it is confined.
fn enter(prepared: &Prepared) -> io::Result<()> {
    setsid()?;
    for (resource, most) in prepared.limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets)?;
    set_no_new_privs(true)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    restrict(prepared)
}

#[expect(unsafe_code, reason = "no crate in use knows Landlock and filters of system calls")]
fn restrict(prepared: &Prepared) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(prepared.filter.len()).unwrap_or(u16::MAX),
        filter: prepared.filter.as_ptr().cast_mut(),
    };
    // SAFETY: descriptors are marked, not closed; the other calls read what outlives them.
    unsafe {
        // What this process has open is not for the program.
        check(libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
        check(libc::syscall(libc::SYS_landlock_restrict_self, prepared.rules.as_raw_fd(), 0_u32))?;
        let mode = libc::SECCOMP_MODE_FILTER;
        check(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter).into())?;
    }
    Ok(())
}

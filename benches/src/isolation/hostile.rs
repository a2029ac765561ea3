//! Programs that mean no good.

use crate::{Context, continuum::Continuum, guests};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Whose they are.
pub(super) const TENANT: &str = "hostile";

/// How long one may take until it runs: it is compiled first.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A program is at work once it has used so much processor time.
const AT_WORK_TICKS: u64 = 20;

/// A kind of program.
pub(super) struct Guest {
    /// Its name in rows and its file's.
    pub(super) name: &'static str,
    kind: &'static str,
    arguments: &'static [&'static str],
}

const fn cell(name: &'static str) -> Guest {
    Guest { name, kind: "cell", arguments: &["--memory", "1Gi"] }
}

/// It has one processor's share, and may have a thousand threads on it.
const fn tissue(name: &'static str) -> Guest {
    Guest { name, kind: "tissue", arguments: &["--cpus", "1", "--max-cpus", "1000"] }
}

/// All of them.
pub(super) const GUESTS: &[Guest] = &[
    cell("balloon"),
    cell("spin"),
    cell("flood"),
    cell("wild"),
    tissue("threads"),
    tissue("regions"),
];

/// One that runs; ended on drop.
pub(super) struct Hostile<'a> {
    continuum: &'a Continuum,
    /// `cell/NAME`
    target: String,
    /// Its worker's process.
    process: Pid,
}

impl<'a> Hostile<'a> {
    /// Starts it and waits until it is at work.
    pub(super) fn start(
        context: &Context,
        continuum: &'a Continuum,
        guest: &Guest,
    ) -> anyhow::Result<Self> {
        let source = format!("guests/hostile/{}.c", guest.name);
        let module = match guest.kind {
            "tissue" => guests::with_openmp(context, &source)?,
            _ => guests::from_c(context, &source, false)?,
        };
        let mut follower = continuum
            .command(&["--tenant", TENANT, "run", "--site", "edge", "--name", guest.name])
            .args(guest.arguments)
            .arg(&module)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let started = at_work(continuum, &mut follower);
        // The program does not need who shows its output, and that one would disturb as well.
        let _ = follower.kill();
        let output = follower.wait_with_output();
        let target = format!("{}/{}", guest.kind, guest.name);
        let process = started.with_context(|| {
            let said = output.map(|output| output.stderr).unwrap_or_default();
            format!("`{target}` is not at work: {}", String::from_utf8_lossy(&said).trim())
        })?;
        Ok(Self { continuum, target, process })
    }

    /// Lets it do nothing for a while.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.process, signal).with_context(|| format!("`{}` has ended", self.target))
    }

    /// Ends it, which must have run until now.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.go_on()
    }
}

impl Drop for Hostile<'_> {
    fn drop(&mut self) {
        // A process that is stopped would not end when it is asked to.
        let _ = self.go_on();
        if let Err(error) = self.continuum.cloudskin(&["--tenant", TENANT, "delete", &self.target])
        {
            eprintln!("`{}` may still run: {error:#}", self.target);
        }
        // The next one's worker is found by being the only one.
        let deadline = Instant::now() + Duration::from_secs(30);
        while worker(self.continuum).is_some() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The process of the only program at the site, once it has computed for a while.
fn at_work(continuum: &Continuum, follower: &mut Child) -> anyhow::Result<Pid> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(pid) = worker(continuum).filter(|pid| ticks(*pid) >= AT_WORK_TICKS) {
            return Ok(pid);
        }
        anyhow::ensure!(follower.try_wait()?.is_none(), "it ended at once");
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("it did nothing for {START_TIMEOUT:?}")
}

/// The process of the only worker that runs a program.
fn worker(continuum: &Continuum) -> Option<Pid> {
    let files = fs::read_dir(continuum.site_folder().join("workers")).ok()?.flatten();
    let of_programs = files.filter(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("c-") && name.ends_with(".pid")
    });
    of_programs.into_iter().find_map(|file| {
        let written: serde_json::Value =
            serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        Pid::from_raw(i32::try_from(written["pid"].as_i64()?).ok()?)
    })
}

/// Processor time of a process, in the kernel's ticks.
fn ticks(pid: Pid) -> u64 {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_ascii_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

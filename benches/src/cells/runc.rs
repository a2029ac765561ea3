//! The container runtime beside us: `runc run` of a root file system with one static program.

use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const HELLO: &str =
    "#include <unistd.h>\nint main(void) { return write(1, \"hello\\n\", 6) != 6; }\n";

/// A bundle to run.
#[derive(Debug)]
pub(super) struct Runc {
    bundle: PathBuf,
    runs: u32,
}

impl Runc {
    /// Makes the bundle in `folder`; installs runc if Debian has it and we may.
    ///
    /// # Errors
    /// Why runc cannot run here.
    pub(super) fn prepare(folder: &Path) -> anyhow::Result<Self> {
        installed("runc")?;
        installed("gcc")?;
        let root = folder.join("rootfs");
        fs::create_dir_all(&root)?;
        let source = folder.join("hello.c");
        fs::write(&source, HELLO)?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-o"]).arg(root.join("hello")).arg(&source);
        run(&mut gcc)?;
        run(Command::new("runc").arg("spec").current_dir(folder))?;
        let path = folder.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["/hello"]);
        fs::write(&path, serde_json::to_vec(&config)?)?;
        let mut runc = Self { bundle: folder.to_owned(), runs: 0 };
        runc.start().context("runc cannot run a container here")?;
        Ok(runc)
    }

    /// How long one container takes from beginning to end.
    pub(super) fn start(&mut self) -> anyhow::Result<Duration> {
        self.runs += 1;
        let name = format!("cloudskin-bench-{}-{}", std::process::id(), self.runs);
        let mut command = Command::new("runc");
        command.args(["run", "--bundle"]).arg(&self.bundle).arg(name);
        timed_hello(&mut command)
    }
}

/// How long a command takes that must say hello.
pub(super) fn timed_hello(command: &mut Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let run = command.stdin(Stdio::null()).output()?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&run.stderr);
    anyhow::ensure!(run.status.success() && run.stdout == b"hello\n", "{}: {said}", run.status);
    Ok(took)
}

fn installed(program: &str) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if found {
        return Ok(());
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "--no-install-recommends", program]);
    run(&mut apt).with_context(|| format!("{program} is missing: `apt-get install {program}`"))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let run = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    anyhow::ensure!(run.status.success(), "{}", said.trim());
    Ok(())
}

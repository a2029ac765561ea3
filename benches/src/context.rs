//! What all measurements share.

use crate::Options;
use anyhow::Context as _;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Folders, the program under test, and how much shall be measured.
#[derive(Debug)]
pub struct Context {
    quick: bool,
    out: PathBuf,
    work: tempfile::TempDir,
    given: Option<PathBuf>,
    built: OnceLock<PathBuf>,
}

impl Context {
    /// What the options say.
    ///
    /// # Errors
    /// If the folder for intermediate files cannot be made.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let out = options.out.clone().unwrap_or_else(|| workspace().join("target/bench"));
        std::fs::create_dir_all(&out)
            .with_context(|| format!("cannot make `{}`", out.display()))?;
        // Beside the report, so that state lies on a disk, not in memory as /tmp may.
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(&out)?;
        let given = options.cloudskin.clone();
        Ok(Self { quick: options.quick, out, work, given, built: OnceLock::new() })
    }

    /// `full`, or `quick` of it for a run that only shows that all works.
    pub fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Where reports go.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Where intermediate files go; emptied in the end.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// A new folder for intermediate files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.work().join(format!("{name}-{}", &types::random_id()[..8]));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The `cloudskin` program of this build; built now unless it was given.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn cloudskin(&self) -> anyhow::Result<&Path> {
        if let Some(path) = self.given.as_ref().or_else(|| self.built.get()) {
            return Ok(path);
        }
        let built = build()?;
        Ok(self.built.get_or_init(|| built))
    }
}

/// Builds the program in this build's own profile.
fn build() -> anyhow::Result<PathBuf> {
    eprintln!("building cloudskin (minutes, the first time)");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "cloudskin"]).current_dir(workspace());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "cloudskin does not build: {status}");
    let own = std::env::current_exe()?;
    let beside = own.parent().map(|folder| folder.join("cloudskin")).unwrap_or_default();
    anyhow::ensure!(beside.exists(), "`{}` is missing: name it with --cloudskin", beside.display());
    Ok(beside)
}

/// The workspace's folder when run by cargo, else the current one.
pub(crate) fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let workspace = manifest.and_then(|folder| Some(folder.parent()?.to_owned()));
    workspace.unwrap_or_else(|| PathBuf::from("."))
}

//! The process of the peers.

use super::data::Split;
use crate::Context;
use anyhow::Context as _;
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const SCRIPT: &str = include_str!("peers.py");
const PACKAGES: [&str; 4] = ["numpy", "scikit-learn", "xgboost", "lightgbm"];

/// A process that trains peers; it ends with this value.
#[derive(Debug)]
pub(super) struct Peers {
    process: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts it on the rows of a split.
    pub(super) fn start(context: &Context, split: &Split) -> anyhow::Result<Self> {
        let python = python(context.out())?;
        let folder = context.folder("learning")?;
        let (script, table) = (folder.join("peers.py"), folder.join("table"));
        std::fs::write(&script, SCRIPT)?;
        std::fs::write(&table, bytes(split))?;
        let width = split.rows.first().map_or(0, Vec::len);
        let mut process = Command::new(python)
            .arg(script)
            .args([split.rows.len(), split.new.len(), width].map(|count| count.to_string()))
            .arg(table)
            // One core each.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the peers")?;
        let asks = process.stdin.take().context("the peers have no standard input")?;
        let says = process.stdout.take().context("the peers have no standard output")?;
        let mut peers = Self { process, asks, says: BufReader::new(says) };
        anyhow::ensure!(peers.line()?.trim() == "ready", "the peers did not start");
        Ok(peers)
    }

    /// Trains one; answers seconds and its error on what was held out.
    pub(super) fn train(&mut self, name: &str) -> anyhow::Result<(f64, f64)> {
        writeln!(self.asks, "{name}")?;
        let line = self.line()?;
        let both = line.trim().split_once(' ').with_context(|| format!("{name} said `{line}`"))?;
        Ok((both.0.parse()?, both.1.parse()?))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.says.read_line(&mut line)? > 0, "the peers ended");
        Ok(line)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python with the peers, made once beside the reports.
fn python(out: &Path) -> anyhow::Result<PathBuf> {
    let folder = out.join("peers-learning");
    let python = folder.join("bin/python");
    let known = |python: &Path| {
        let imports = "import numpy, sklearn, xgboost, lightgbm";
        let run = Command::new(python).args(["-c", imports]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    if known(&python) {
        return Ok(python);
    }
    eprintln!("installing {} (minutes, the first time)", PACKAGES.join(", "));
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status()?;
    anyhow::ensure!(made.success(), "`python3 -m venv` failed: install Debian's python3-venv");
    let pip = Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES).status()?;
    anyhow::ensure!(pip.success() && known(&python), "pip cannot install {}", PACKAGES.join(", "));
    Ok(python)
}

/// Row after row, each with its truth.
fn bytes(split: &Split) -> Vec<u8> {
    let learn = split.rows.iter().zip(&split.truths);
    let all = learn.chain(split.new.iter().zip(&split.new_truths));
    let each = all.flat_map(|(row, truth)| row.iter().chain([truth]));
    each.flat_map(|x| x.to_le_bytes()).collect()
}

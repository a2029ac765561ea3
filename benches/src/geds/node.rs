//! The store's own processes.

use crate::Context;
use anyhow::Context as _;
use geds::{Config, Geds};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long one may take until it can be joined.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The bucket of all measurements.
pub(super) const BUCKET: &str = "bench";

/// An address that nobody listens at.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// `cloudskin serve geds`, or `serve s3` with its store; ended on drop.
pub(super) struct Node {
    child: Child,
    program: PathBuf,
    folder: PathBuf,
}

impl Node {
    /// A store alone, with one bucket.
    pub(super) fn start(context: &Context) -> anyhow::Result<(Self, Geds)> {
        Self::serve(context, "geds", &[])
    }

    /// A store behind an S3 endpoint at this address.
    pub(super) fn with_s3(context: &Context, at: SocketAddr) -> anyhow::Result<(Self, Geds)> {
        Self::serve(context, "s3", &["--listen", &at.to_string()])
    }

    /// The store of the site `cloud`, which knows another one, `edge`.
    pub(super) fn of_cloud(
        context: &Context,
        at: SocketAddr,
        edge: SocketAddr,
    ) -> anyhow::Result<(Self, Geds)> {
        let (at, edge) = (at.to_string(), format!("edge={edge}"));
        Self::serve(context, "geds", &["--site", "cloud", "--listen-sites", &at, "--peer", &edge])
    }

    fn serve(context: &Context, part: &str, more: &[&str]) -> anyhow::Result<(Self, Geds)> {
        let (program, folder) = (context.cloudskin()?.to_owned(), context.folder("geds")?);
        let child = Command::new(&program)
            .args(["serve", part, "--memory", "2Gi", "--data-dir"])
            .arg(&folder)
            .args(more)
            .stderr(Stdio::null())
            .spawn()?;
        let node = Self { child, program, folder };
        let geds = node.join()?;
        geds.create_bucket(BUCKET)?;
        Ok((node, geds))
    }

    /// Joins it as another process, once it is there.
    fn join(&self) -> anyhow::Result<Geds> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match Geds::open(Config::join(self.socket())) {
                Ok(geds) => return Ok(geds),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the store does not start");
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("default.sock")
    }

    /// The file of S3 keys.
    pub(super) fn keys(&self) -> PathBuf {
        self.folder.join("s3-keys.toml")
    }

    /// Copies a file into the bucket, by a process of its own.
    pub(super) fn copy_in(&self, file: &std::path::Path, key: &str) -> anyhow::Result<()> {
        let status = Command::new(&self.program)
            .args(["geds", "cp"])
            .arg(file)
            .arg(format!("geds://{BUCKET}/{key}"))
            .env("CLOUDSKIN_GEDS", self.socket())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        anyhow::ensure!(status.success(), "`cloudskin geds cp` failed: {status}");
        Ok(())
    }

    /// Bytes of memory that the process has for itself alone.
    pub(super) fn own_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kib.context("a process without memory")? * 1024)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What it holds is worth nothing: it need not be written to disk.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A node for tests, and other processes that use it.

use geds::{Config, Geds, Limits, Node};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use testkit::{Folder, wait_until};

/// The variables that tell a child what to be.
pub(crate) const ROLE: &str = "GEDS_TEST_ROLE";
pub(crate) const ARGUMENT: &str = "GEDS_TEST_ARGUMENT";

/// Long enough for any child on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A node in this process with a socket for the tenant `lab`.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) limits: Limits,
    pub(crate) folder: Folder,
}

impl Host {
    pub(crate) fn new(limits: Limits) -> Self {
        let folder = Folder::in_memory();
        let node = Node::start(folder.join("node")).expect("a node starts");
        node.listen("lab", &limits, folder.join("lab.sock")).expect("a socket opens");
        Self { node, limits, folder }
    }

    /// The store of this process.
    pub(crate) fn geds(&self) -> Geds {
        self.node.geds("lab", &self.limits).expect("the tenant is there")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("lab.sock")
    }

    /// Another process's way in, in this process.
    pub(crate) fn join(&self) -> Geds {
        Geds::open(Config::join(self.socket())).expect("the node lets its tenant in")
    }
}

/// A child that is killed at the latest when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts this test program as something else: see `children`.
    pub(crate) fn start(role: &str, argument: impl AsRef<Path>) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let child = Command::new(program)
            .args(["--exact", "children::child", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(ARGUMENT, argument.as_ref())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("a child starts"))
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub(crate) fn succeeds(mut self) {
        let mut status = None;
        wait_until("the child ends", LONG, || {
            status = self.0.try_wait().expect("the child is ours");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "the child failed: {status:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a thread of this process no longer does anything.
pub(crate) fn sleeps(name: &str) {
    // A thread has its name from when it first runs.
    let switches = || -> Option<u64> {
        let tasks = fs::read_dir("/proc/self/task").expect("there are threads");
        let task = tasks.flatten().map(|task| task.path()).find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim() == name)
        })?;
        let status = fs::read_to_string(task.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let mut last = None;
    wait_until("a thread waits", Duration::from_secs(20), || {
        thread::sleep(Duration::from_millis(200));
        let same = last.is_some() && switches() == last;
        last = switches();
        same
    });
}

/// Bytes that tell which object they are.
pub(crate) fn bytes_of(key: &str, len: usize) -> Vec<u8> {
    let seed = key.bytes().fold(len as u64, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
    let mut random = testkit::Random::from_seed(seed);
    let mut bytes: Vec<u8> =
        (0..len.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

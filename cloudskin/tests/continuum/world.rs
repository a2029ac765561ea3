//! A continuum of the test's own: its folders, its processes, its end.

use crate::{guests, http::Http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};
use testkit::{Folder, Random, wait_until};

/// How long anything may take to be well again: leases, back-off, restarts.
pub(crate) const CONVERGED: Duration = Duration::from_secs(40);

/// The binary under test, under a name that a build at the same time does not take away.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_cloudskin"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("continuum");
        fs::create_dir_all(&folder).unwrap();
        let metadata = fs::metadata(built).unwrap();
        let program =
            folder.join(format!("cloudskin-{}-{}", metadata.ino(), metadata.mtime_nsec()));
        if !program.exists() {
            for older in fs::read_dir(&folder).unwrap().flatten() {
                // Another test may be faster.
                let _ = fs::remove_file(older.path());
            }
            if let Err(error) = fs::hard_link(built, &program) {
                assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
            }
        }
        program
    })
}

/// A process of a continuum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Supervisor,
    Control,
    Agent(&'static str),
    Worker(&'static str),
}

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// What it printed, if all went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.out
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It failed with this code and said these words, and did not panic.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(self.err.contains(words) && !self.err.contains("panicked"), "{self}");
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, out, err } = self;
        let (out, err): (String, String) =
            (out.chars().take(4000).collect(), err.chars().take(4000).collect());
        write!(f, "exit {code:?}\n{out}\n{err}")
    }
}

/// A control plane, a cloud and an edge; ended and removed at the end of the test.
#[derive(Debug)]
pub(crate) struct Continuum {
    folder: Folder,
    network: [u8; 2],
    /// Where other machines reach it.
    bind: Option<SocketAddr>,
}

impl Continuum {
    /// Starts one, if there are guests to run in it.
    pub(crate) fn up() -> Option<Self> {
        Self::up_at(None)
    }

    /// The same, reachable from other machines: at the address that this machine has towards
    /// them, or if it has none at one of our own loopback network, which is treated alike.
    pub(crate) fn up_reachable() -> Option<Self> {
        let towards_others = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            // Nothing is sent: the system only chooses the way.
            socket.connect("192.0.2.1:9")?;
            Ok(socket.local_addr()?.ip())
        });
        Self::up_at(Some(towards_others.ok()))
    }

    fn up_at(reachable: Option<Option<IpAddr>>) -> Option<Self> {
        let module = guests::ledger()?;
        let mut random = Random::from_seed(seed());
        let mut last = String::new();
        for _ in 0..5 {
            let network = [100 + random.below(150) as u8, random.below(250) as u8];
            let [b, c] = network;
            let own = IpAddr::from([127, b, c, 1]);
            // Below the ports that the system gives away.
            let port = 20_000 + random.below(1000) as u16 * 10;
            let bind = reachable.map(|address| SocketAddr::new(address.unwrap_or(own), port));
            let continuum = Self { folder: Folder::new(), network, bind };
            let run = continuum.start();
            if run.code == Some(0) {
                fs::copy(&module, continuum.path("ledger.wasm")).unwrap();
                return Some(continuum);
            }
            last = run.to_string();
        }
        panic!("no continuum can be started: {last}");
    }

    /// `up -d`: again, or first.
    pub(crate) fn start(&self) -> Run {
        let data = self.data();
        let network = self.address(0);
        let words = ["up", "-d", "--loopback", &network.to_string(), "--data-dir"];
        let data = data.to_string_lossy();
        match self.bind {
            Some(bind) => self.run_with(&words, &[&data, "--bind", &bind.to_string()]),
            None => self.run_with(&words, &[&data]),
        }
    }

    /// Where other machines reach the control plane.
    pub(crate) fn bind(&self) -> SocketAddr {
        self.bind.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn address(&self, last: u8) -> Ipv4Addr {
        let [b, c] = self.network;
        Ipv4Addr::new(127, b, c, last)
    }

    pub(crate) fn control(&self) -> SocketAddr {
        (self.address(1), 8470).into()
    }

    /// The local ingress.
    pub(crate) fn ingress(&self) -> SocketAddr {
        (self.address(1), 8080).into()
    }

    pub(crate) fn site_ingress(&self, site: &str) -> SocketAddr {
        (self.site(site), 8080).into()
    }

    pub(crate) fn peers(&self, site: &str) -> SocketAddr {
        (self.site(site), 8471).into()
    }

    fn site(&self, site: &str) -> Ipv4Addr {
        self.address(if site == "cloud" { 11 } else { 12 })
    }

    /// The users' token.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.data().join("control/token")).unwrap().trim().to_owned()
    }

    /// Runs the binary with words that are separated by blanks.
    pub(crate) fn run(&self, words: &str) -> Run {
        self.run_with(&words.split_whitespace().collect::<Vec<_>>(), &[])
    }

    /// Runs the binary with these and more words.
    pub(crate) fn run_with(&self, words: &[&str], more: &[&str]) -> Run {
        let output = self.command(words, more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The binary with nothing of this machine's own configuration.
    pub(crate) fn command(&self, words: &[&str], more: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(words)
            .args(more)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if let Some(log) = std::env::var_os("CLOUDSKIN_LOG") {
            command.env("CLOUDSKIN_LOG", log);
        }
        command
    }

    /// Applies a service at the edge with these further lines of its spec, and waits for it.
    pub(crate) fn serve(&self, name: &str, spec: &[&str]) {
        self.apply(name, "ledger.wasm", spec).ok();
        self.run(&format!("wait --for ready --timeout 30s service/{name}")).ok();
    }

    /// Applies a service.
    pub(crate) fn apply(&self, name: &str, module: &str, spec: &[&str]) -> Run {
        let file = self.path(&format!("{name}.yaml"));
        fs::write(&file, manifest(name, module, spec)).unwrap();
        self.run(&format!("apply -f {name}.yaml"))
    }

    /// The service as the control plane knows it.
    pub(crate) fn service(&self, name: &str) -> Value {
        self.run(&format!("get service/{name} -o json")).json()
    }

    /// Moves a service. The command returns once the move is decided; the one before may still
    /// be on its last steps, and is waited for.
    pub(crate) fn migrate(&self, name: &str, site: &str) -> Run {
        /// What a conflict exits with.
        const CONFLICT: i32 = 4;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let run = self.run(&format!("migrate service/{name} --to site/{site}"));
            if run.code != Some(CONFLICT) || Instant::now() > deadline {
                return run;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection to the local ingress for a service.
    pub(crate) fn http(&self, service: &str) -> Http {
        knock(self.ingress(), service)
    }

    /// A connection to a site's ingress.
    pub(crate) fn http_at(&self, site: &str, service: &str) -> Http {
        knock(self.site_ingress(site), service)
    }

    /// The process, if it lives.
    pub(crate) fn pid(&self, process: Process) -> Option<Pid> {
        let data = self.data();
        let (file, pointer) = match process {
            Process::Supervisor => (data.join("state.json"), "/supervisor/pid"),
            Process::Control => (data.join("run/control.json"), "/pid"),
            Process::Agent(site) => (data.join(format!("run/site-{site}.json")), "/pid"),
            Process::Worker(site) => {
                (data.join(format!("sites/{site}/workers/t-default.pid")), "/pid")
            }
        };
        let noted: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let pid = i32::try_from(noted.pointer(pointer)?.as_i64()?).ok()?;
        self.is_ours(pid).then(|| Pid::from_raw(pid)).flatten()
    }

    /// Sends a signal to a process that lives; false if it does not.
    pub(crate) fn signal(&self, process: Process, signal: Signal) -> bool {
        let sent = self.pid(process).filter(|pid| kill_process(*pid, signal).is_ok());
        if let Some(pid) = sent.filter(|_| signal == Signal::STOP) {
            // A busy machine lets it run on for a while.
            wait_until("a process has stopped", CONVERGED, || is_stopped(pid));
        }
        sent.is_some()
    }

    /// Kills a process that must live, and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(&self, process: Process) {
        let pid = self.pid(process).unwrap_or_else(|| panic!("{process:?} does not live"));
        kill_process(pid, Signal::KILL).unwrap();
        let raw = pid.as_raw_nonzero().get();
        wait_until("a killed process is gone", CONVERGED, || !self.is_ours(raw));
    }

    /// Kills the worker of a site whose name begins so, once there is one.
    pub(crate) fn kill_worker_of(&self, site: &str, prefix: &str) {
        wait_until("there is a worker", CONVERGED, || self.kill_worker_if_any(site, prefix));
    }

    /// Kills the worker of a site whose name begins so; false if there is none.
    pub(crate) fn kill_worker_if_any(&self, site: &str, prefix: &str) -> bool {
        let folder = self.data().join(format!("sites/{site}/workers"));
        let found = fs::read_dir(&folder).unwrap().flatten().find_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let fits = name.starts_with(prefix) && name.ends_with(".pid");
            let noted = fits.then(|| fs::read(file.path()).ok()).flatten()?;
            let noted: Value = serde_json::from_slice(&noted).ok()?;
            let pid = i32::try_from(noted.pointer("/pid")?.as_i64()?).ok()?;
            self.is_ours(pid).then_some(pid)
        });
        let Some(pid) = found else { return false };
        // It may just have ended by itself.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        wait_until("a killed worker is gone", CONVERGED, || !self.is_ours(pid));
        true
    }

    /// Kills the store of a site, which must live.
    pub(crate) fn kill_store(&self, site: &str) {
        let file = self.data().join(format!("sites/{site}/store/store.pid"));
        let noted: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let pid = i32::try_from(noted["pid"].as_i64().unwrap()).unwrap();
        assert!(self.is_ours(pid), "the store does not live");
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        wait_until("a killed store is gone", CONVERGED, || !self.is_ours(pid));
    }

    fn is_ours(&self, pid: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // While its other threads end, a dead process still holds its sockets.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
        let zombie = zombie && threads <= 1;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = self.folder.path().to_string_lossy();
        !zombie && String::from_utf8_lossy(&command).contains(&*folder)
    }

    /// Every process that was told of our folder.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.is_ours(*pid)).collect()
    }

    /// Waits until the service has this phase and says what it is then.
    #[track_caller]
    pub(crate) fn until(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_until(what, CONVERGED, || {
            std::thread::sleep(Duration::from_millis(20));
            let run = self.run(&format!("get service/{name} -o json"));
            last = serde_json::from_str(&run.out).unwrap_or_default();
            run.code == Some(0) && fits(&last["status"])
        });
        last
    }

    /// Waits until the service answers and everything says so.
    #[track_caller]
    pub(crate) fn until_ready(&self, name: &str) -> Value {
        self.until(name, "the service is ready", |status| status["phase"] == "Ready")
    }

    /// Whether any process panicked; its log's line.
    fn panics(&self) -> Vec<String> {
        let sites = ["cloud", "edge"].map(|site| self.data().join("sites").join(site));
        let of_site = |site: &PathBuf| [site.join("workers"), site.join("store")];
        let mut logs = vec![self.data().join("logs")];
        logs.extend(sites.iter().flat_map(of_site));
        let files = logs.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let read = files.filter_map(|file| fs::read(file.path()).ok());
        read.flat_map(|bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines()
                .filter(|line| line.contains("panicked at"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
    }
}

impl Drop for Continuum {
    fn drop(&mut self) {
        // A stopped process cannot end when asked.
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::CONT);
        }
        let panics = self.panics();
        if std::thread::panicking() {
            self.show_logs();
        }
        let data = self.data();
        let down = self.run_with(&["down", "--purge", "--data-dir"], &[&data.to_string_lossy()]);
        // A compiler dies a moment after the worker that waited for it.
        let ended = Instant::now();
        while !self.processes().is_empty() && ended.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = self.processes();
        let command = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
        let commands: Vec<_> = left.iter().map(command).collect();
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if !std::thread::panicking() {
            assert!(panics.is_empty(), "a process panicked: {panics:?}");
            assert_eq!(down.code, Some(0), "{down}");
            assert!(left.is_empty() && !data.exists(), "something is left: {left:?} {commands:?}");
        }
    }
}

impl Continuum {
    /// What a failed test's processes said last. `CLOUDSKIN_SOAK_LOGS` names a folder that gets
    /// all of it.
    fn show_logs(&self) {
        if let Some(keep) = std::env::var_os("CLOUDSKIN_SOAK_LOGS") {
            let copied = Command::new("cp").arg("-r").arg(self.data()).arg(&keep).status();
            eprintln!("the data folder is kept in {keep:?}: {copied:?}");
        }
        for name in ["supervisor", "control", "site-cloud", "site-edge"] {
            let log = self.data().join(format!("logs/{name}.log"));
            let text = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// A connection for a service, once the door is open: who opens it may have been killed.
fn knock(door: SocketAddr, service: &str) -> Http {
    let mut connection = None;
    wait_until("the ingress listens", CONVERGED, || {
        connection = Http::connect(door, &format!("{service}.localhost")).ok();
        connection.is_some()
    });
    connection.unwrap()
}

/// A service at the edge.
pub(crate) fn manifest(name: &str, module: &str, spec: &[&str]) -> String {
    let spec: String = spec.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: cloudskin.eu/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         module: {module}\n  placement: {{site: edge}}\n{spec}"
    )
}

/// Different for each test: they run at the same time, in processes of their own.
fn seed() -> u64 {
    u64::from_str_radix(&types::random_id()[..16], 16).unwrap()
}

/// Whether all threads of a process stand still, or it is gone.
fn is_stopped(pid: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let stands = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z']))
    };
    tasks.into_iter().flatten().flatten().all(stands)
}

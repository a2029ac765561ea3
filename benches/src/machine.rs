//! The machine that measured.

use serde::Serialize;

/// What a reader needs to judge figures by.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub cpu_model: String,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// How the programs were built: `release` or `debug`.
    pub build: &'static str,
    /// Load averages over 1, 5 and 15 minutes before the first row.
    pub load_before: [f64; 3],
    /// The same after the last.
    pub load_after: [f64; 3],
}

impl Machine {
    /// This machine, now.
    pub fn now() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu_model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned());
        let info = rustix::system::sysinfo();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu_model,
            memory_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            load_before: load(),
            load_after: load(),
        }
    }

    /// Notes the load once all is measured.
    pub fn finish(&mut self) {
        self.load_after = load();
    }
}

/// The load averages.
pub(crate) fn load() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0.0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}

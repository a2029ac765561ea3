//! The machine under the demo, and how busy it was with other things.

use serde::Serialize;
use std::{fs, time::Duration};
use tokio::time::{Instant, sleep};

/// A machine that keeps fewer cores than this busy is quiet: its figures count.
pub(crate) const QUIET_CORES: f64 = 0.7;

/// How long the processors are watched.
const SAMPLE: Duration = Duration::from_secs(1);

/// What the figures were taken on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The load averages before the first frame: over 1, 5 and 15 minutes. After a build they
    /// are high for minutes although nothing runs any more.
    pub load_before: [f64; 3],
    /// The same after the last frame.
    pub load_after: [f64; 3],
    /// Cores that were busy in the second before the first frame.
    pub busy_cores_before: f64,
    /// The same in the second after the last.
    pub busy_cores_after: f64,
}

impl Machine {
    /// The machine before the demo, once it is quiet or `wait_s` seconds have passed.
    pub(crate) async fn before(wait_s: u64) -> Self {
        let start = Instant::now();
        let mut busy = busy_cores().await;
        while busy >= QUIET_CORES && start.elapsed() < Duration::from_secs(wait_s) {
            busy = busy_cores().await;
        }
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            load_before: load(),
            busy_cores_before: busy,
            ..Self::default()
        }
    }

    /// Adds how it is after the demo.
    pub(crate) async fn after(&mut self) {
        self.load_after = load();
        self.busy_cores_after = busy_cores().await;
    }

    /// Whether little else ran at both ends of the demo.
    pub fn is_quiet(&self) -> bool {
        self.busy_cores_before < QUIET_CORES && self.busy_cores_after < QUIET_CORES
    }
}

fn load() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or_default());
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

/// How many cores worked during the next second.
async fn busy_cores() -> f64 {
    let ticks = || busy_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default());
    let (before, start) = (ticks(), Instant::now());
    sleep(SAMPLE).await;
    // USER_HZ is 100 on every Linux that programs see.
    ticks().saturating_sub(before) as f64 / 100.0 / start.elapsed().as_secs_f64()
}

/// Everything but idling and waiting for disks, of all processors together; guests are in user
/// time already.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let numbers: Vec<u64> =
        line.split_whitespace().map(|word| word.parse().unwrap_or_default()).collect();
    let part = |at: usize| numbers.get(at).copied().unwrap_or_default();
    [0, 1, 2, 5, 6, 7].map(part).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_disk_time_is_not_busy() {
        let stat = "cpu  100 20 3 9000 800 7 6 5 90 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), 141);
        assert_eq!(busy_ticks(""), 0);
        assert_eq!(busy_ticks("cpu  x -1"), 0);
    }

    #[test]
    fn a_machine_is_quiet_at_both_ends_or_not_at_all() {
        let machine = |before, after| Machine {
            busy_cores_before: before,
            busy_cores_after: after,
            ..Machine::default()
        };
        assert!(machine(0.1, 0.6).is_quiet());
        assert!(!machine(0.7, 0.1).is_quiet());
        assert!(!machine(0.1, 1.9).is_quiet());
    }
}

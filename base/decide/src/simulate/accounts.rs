//! Sums over time.

use super::report::as_f64;

/// What one job has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Thousandths of CPUs with a rank or thread.
    pub(super) cpu: u64,
    /// Ranks that have others to talk to.
    pub(super) ranks: u64,
    /// Those times the millionths of pairs on different hosts.
    pub(super) hosts_apart: u64,
    /// Those times the millionths of pairs at different sites.
    pub(super) sites_apart: u64,
}

/// All jobs together, now and up to now. Whole numbers, so that what was added can be taken away.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    cpu_all: u64,
    now: Share,
    us: u128,
    cpu: u128,
    stranded: u128,
    ranks: u128,
    hosts_apart: u128,
    sites_apart: u128,
}

impl Accounts {
    pub(super) fn new(cpu_all: u64) -> Self {
        Self { cpu_all, ..Self::default() }
    }

    /// Time goes by, while a job waits or none does.
    pub(super) fn advance(&mut self, us: u64, waiting: bool) {
        let us = u128::from(us);
        self.us += us;
        self.cpu += u128::from(self.now.cpu) * us;
        if waiting {
            self.stranded += u128::from(self.cpu_all - self.now.cpu) * us;
        }
        self.ranks += u128::from(self.now.ranks) * us;
        self.hosts_apart += u128::from(self.now.hosts_apart) * us;
        self.sites_apart += u128::from(self.now.sites_apart) * us;
    }

    /// A job has something else from now on.
    pub(super) fn replace(&mut self, before: Share, after: Share) {
        let now = &mut self.now;
        now.cpu = now.cpu - before.cpu + after.cpu;
        now.ranks = now.ranks - before.ranks + after.ranks;
        now.hosts_apart = now.hosts_apart - before.hosts_apart + after.hosts_apart;
        now.sites_apart = now.sites_apart - before.sites_apart + after.sites_apart;
    }

    pub(super) fn idle_cpu_s(&self) -> f64 {
        as_f64(u128::from(self.cpu_all) * self.us - self.cpu) / 1e9
    }

    pub(super) fn stranded_cpu_s(&self) -> f64 {
        as_f64(self.stranded) / 1e9
    }

    pub(super) fn utilisation(&self) -> f64 {
        as_f64(self.cpu) / as_f64((u128::from(self.cpu_all) * self.us).max(1))
    }

    /// On different hosts and at different sites, from 0 to 1.
    pub(super) fn fragmentation(&self) -> (f64, f64) {
        let share = |apart| as_f64(apart) / 1e6 / as_f64(self.ranks.max(1));
        (share(self.hosts_apart), share(self.sites_apart))
    }
}

//! What is run.

use crate::plan::{Constraints, CpuRange, Demand, Reach, Resources};
use std::sync::Arc;
use types::{Bytes, Cpu};

/// How a job is parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ranks that exchange messages, one CPU each, on any hosts.
    Mpi,
    /// Threads that share memory on one host.
    OpenMp,
    /// One thread.
    Single,
}

/// One job of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name, for messages.
    pub name: String,
    /// Who pays.
    pub tenant: Arc<str>,
    /// When it comes, in microseconds from the trace's zero.
    pub arrival_us: u64,
    /// How it is parallel.
    pub kind: Kind,
    /// Ranks or threads that it asks for.
    pub cpus: u32,
    /// The fewest threads that it runs with.
    pub cpus_min: u32,
    /// The most threads that it can use.
    pub cpus_max: u32,
    /// Memory of each rank, or of the whole job if it has threads.
    pub memory: Bytes,
    /// How long one CPU alone would take, in seconds.
    pub work_cpu_s: f64,
    /// The share of its work that no second CPU makes faster (Amdahl).
    pub serial_fraction: f64,
    /// How much distance between its ranks costs it: 0 none, 1 as the model says.
    pub communication: f64,
}

impl Job {
    /// What the planner is asked for.
    pub fn demand(&self) -> Demand {
        let cores = |cpus: u32| Cpu(u64::from(cpus) * 1000);
        let is_mpi = self.kind == Kind::Mpi;
        let varies = self.kind == Kind::OpenMp && self.cpus_min < self.cpus_max;
        Demand {
            tenant: self.tenant.to_string(),
            ranks: if is_mpi { self.cpus } else { 1 },
            each: Resources::new(cores(if is_mpi { 1 } else { self.cpus }), self.memory),
            elastic: varies
                .then(|| CpuRange { min: cores(self.cpus_min), max: cores(self.cpus_max) }),
            reach: if is_mpi { Reach::Anywhere } else { Reach::Host },
            constraints: Constraints::default(),
        }
    }
}

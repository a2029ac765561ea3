//! The parts of the kernel that control or count.

use std::fmt;

/// A controller of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Shares and quotas of processor time.
    Cpu,
    /// Which processors.
    Cpuset,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Counts processor time with version 1; version 2 counts it in every group.
    Cpuacct,
}

impl Controller {
    /// All that limit something.
    pub const LIMITING: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Pids];

    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpuacct => "cpuacct",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of control groups that a controller is bound to; the administrator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A hierarchy for each controller, or for a few.
    V1,
    /// One hierarchy for all, in which only leaves hold processes.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

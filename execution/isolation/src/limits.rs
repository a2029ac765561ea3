//! What the processes of a group may use.

use crate::{Controller, CpuSet};

/// What all processes of a group together may use. What is `None` is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Their weight where processors are contended, in thousandths of a processor: groups side by
    /// side get time in this proportion, and all of it where nobody else wants it.
    pub cpu_share: Option<u32>,
    /// Most processor time, in thousandths of a processor, even where others are idle.
    pub cpu_max: Option<u32>,
    /// The only processors that they run on.
    pub cpus: Option<CpuSet>,
    /// Most memory, caches of files included; beyond it the kernel takes back caches, then kills.
    pub memory_bytes: Option<u64>,
    /// Most processes and threads; beyond it no further one starts.
    pub tasks_max: Option<u32>,
}

impl Limits {
    /// The controllers that these limits need, with the field that needs each.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (Controller, &'static str)> {
        [
            self.cpu_share.map(|_| (Controller::Cpu, "cpu_share")),
            self.cpu_max.map(|_| (Controller::Cpu, "cpu_max")),
            self.cpus.as_ref().map(|_| (Controller::Cpuset, "cpus")),
            self.memory_bytes.map(|_| (Controller::Memory, "memory_bytes")),
            self.tasks_max.map(|_| (Controller::Pids, "tasks_max")),
        ]
        .into_iter()
        .flatten()
    }

    /// The same, but for limits whose controller `has` not.
    pub(crate) fn with_only(&self, has: impl Fn(Controller) -> bool) -> Self {
        let (cpu, memory) = (has(Controller::Cpu), has(Controller::Memory));
        Self {
            cpu_share: self.cpu_share.filter(|_| cpu),
            cpu_max: self.cpu_max.filter(|_| cpu),
            cpus: self.cpus.clone().filter(|_| has(Controller::Cpuset)),
            memory_bytes: self.memory_bytes.filter(|_| memory),
            tasks_max: self.tasks_max.filter(|_| has(Controller::Pids)),
        }
    }
}

//! What hosts have and tissues need.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Cpu};

/// A vector of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Bytes,
    /// Devices in shares, by name: `gpu-slices: 7`, `gpu-memory-mib: 81920`.
    pub devices: BTreeMap<String, u64>,
}

impl Resources {
    /// Processor time and memory without devices.
    pub fn new(cpu: Cpu, memory: Bytes) -> Self {
        Self { cpu, memory, devices: BTreeMap::new() }
    }

    /// How many times `each` is in it.
    pub fn fits(&self, each: &Self) -> u32 {
        let mut times = whole(self.cpu.0, each.cpu.0).min(whole(self.memory.0, each.memory.0));
        for (name, shares) in &each.devices {
            times = times.min(whole(self.device(name), *shares));
        }
        u32::try_from(times).unwrap_or(u32::MAX)
    }

    /// So many times as much, unless that is more than can be counted.
    pub fn times(&self, times: u32) -> Option<Self> {
        let times = u64::from(times);
        let device =
            |(name, shares): (&String, &u64)| Some((name.clone(), shares.checked_mul(times)?));
        Some(Self {
            cpu: Cpu(self.cpu.0.checked_mul(times)?),
            memory: Bytes(self.memory.0.checked_mul(times)?),
            devices: self.devices.iter().map(device).collect::<Option<_>>()?,
        })
    }

    /// Shares of a device; none of what is not named.
    pub fn device(&self, name: &str) -> u64 {
        self.devices.get(name).copied().unwrap_or(0)
    }

    /// Takes `each` so many times; the caller has seen that it fits.
    pub(super) fn take(&mut self, each: &Self, times: u32) {
        let times = u64::from(times);
        self.cpu.0 -= each.cpu.0 * times;
        self.memory.0 -= each.memory.0 * times;
        for (name, shares) in &each.devices {
            if let Some(left) = self.devices.get_mut(name) {
                *left -= shares * times;
            }
        }
    }

    /// Gives back what was taken.
    pub(super) fn give(&mut self, each: &Self, times: u32) {
        let times = u64::from(times);
        self.cpu.0 += each.cpu.0 * times;
        self.memory.0 += each.memory.0 * times;
        for (name, shares) in &each.devices {
            *self.devices.entry(name.clone()).or_default() += shares * times;
        }
    }
}

/// Nothing is asked as often as one likes.
fn whole(free: u64, each: u64) -> u64 {
    free.checked_div(each).unwrap_or(u64::MAX)
}

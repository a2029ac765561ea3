//! Which file of a group gets which value for a limit.

use crate::{Controller, Limits, Version};

/// The period of hard quotas: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The least quota that the kernel takes is 1 ms in a period.
const CPU_MAX_LEAST_MILLI: u32 = 10;

/// A value for a file of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) file: &'static str,
    pub(crate) value: String,
    /// Whether a group starts with it.
    pub(crate) is_default: bool,
}

/// The settings of one controller, all but the processors themselves.
pub(crate) fn settings(controller: Controller, version: Version, limits: &Limits) -> Vec<Setting> {
    let setting = |file, value: Option<String>, default: &str| Setting {
        file,
        is_default: value.is_none(),
        value: value.unwrap_or_else(|| default.to_owned()),
    };
    let share = limits.cpu_share;
    let quota = limits.cpu_max.map(quota_us);
    let memory = limits.memory_bytes.map(|bytes| bytes.min(i64::MAX.unsigned_abs()).to_string());
    let tasks = limits.tasks_max.map(|tasks| tasks.to_string());
    match (controller, version) {
        (Controller::Cpu, Version::V1) => vec![
            setting("cpu.shares", share.map(|milli| shares(milli).to_string()), "1024"),
            setting("cpu.cfs_period_us", quota.map(|_| PERIOD_US.to_string()), "100000"),
            setting("cpu.cfs_quota_us", quota.map(|quota| quota.to_string()), "-1"),
        ],
        (Controller::Cpu, Version::V2) => vec![
            setting("cpu.weight", share.map(|milli| weight(milli).to_string()), "100"),
            setting("cpu.max", quota.map(|quota| format!("{quota} {PERIOD_US}")), "max 100000"),
        ],
        (Controller::Memory, Version::V1) => {
            vec![setting("memory.limit_in_bytes", memory, "-1")]
        }
        (Controller::Memory, Version::V2) => vec![setting("memory.max", memory, "max")],
        (Controller::Pids, _) => vec![setting("pids.max", tasks, "max")],
        (Controller::Cpuset | Controller::Cpuacct, _) => Vec::new(),
    }
}

/// Version 1's weight: 1024 for a processor.
fn shares(milli: u32) -> u64 {
    (u64::from(milli) * 1024 / 1000).clamp(2, 262_144)
}

/// Version 2's weight, by the conversion from shares that container runtimes and Kubernetes
/// document: the range 2–262,144 is mapped to 1–10,000.
fn weight(milli: u32) -> u64 {
    1 + (shares(milli) - 2) * 9999 / 262_142
}

fn quota_us(milli: u32) -> u64 {
    u64::from(milli.max(CPU_MAX_LEAST_MILLI)) * PERIOD_US / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_are_those_of_other_tools() {
        assert_eq!([0, 1, 500, 1000, 2500].map(shares), [2, 2, 512, 1024, 2560]);
        assert_eq!([0, 500, 1000, 2000].map(weight), [1, 20, 39, 79]);
        assert_eq!((shares(u32::MAX), weight(u32::MAX)), (262_144, 10_000));
        assert_eq!([0, 10, 500, 2000].map(quota_us), [1000, 1000, 50_000, 200_000]);
    }

    #[test]
    fn what_is_not_limited_gets_the_kernels_default() {
        for version in [Version::V1, Version::V2] {
            for controller in Controller::LIMITING {
                let all = settings(controller, version, &Limits::default());
                assert!(all.iter().all(|setting| setting.is_default), "{all:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn more_never_weighs_less(milli: u32, more in 0..10_000u32) {
            let most = milli.saturating_add(more);
            prop_assert!(shares(milli) <= shares(most) && weight(milli) <= weight(most));
            prop_assert!((2..=262_144).contains(&shares(milli)));
            prop_assert!((1..=10_000).contains(&weight(milli)));
        }
    }
}

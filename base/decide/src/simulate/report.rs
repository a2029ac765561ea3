//! What a simulation says.

use serde::Serialize;

/// Mean and 95th percentile (nearest rank), in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// The sum by the number.
    pub mean_s: f64,
    /// 95 % are not longer.
    pub p95_s: f64,
}

impl Distribution {
    /// Of microseconds, which it puts in another order.
    pub(super) fn of(values: &mut [u64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
        let count = values.len();
        let rank = (count * 95).div_ceil(100).max(1) - 1;
        let (_, p95, _) = values.select_nth_unstable(rank);
        Self { mean_s: seconds(sum) / as_f64(count as u128), p95_s: seconds(u128::from(*p95)) }
    }
}

/// One policy on one trace. Everything counts from the first arrival to the last end.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its name, or `static-vm`.
    pub policy: String,
    /// Jobs that ended.
    pub finished: usize,
    /// Jobs that could never run.
    pub refused: usize,
    /// Why the first of them could not.
    pub first_refusal: Option<String>,
    /// Seconds from the first arrival to the last end.
    pub makespan_s: f64,
    /// From arrival to start.
    pub wait: Distribution,
    /// From arrival to end.
    pub turnaround: Distribution,
    /// The share of all pairs of ranks of a job that are on different hosts, as a mean over all
    /// MPI jobs and their time, each weighted with its ranks: 0 when every job is on one host.
    pub fragmentation: f64,
    /// The same for pairs of ranks at different sites.
    pub site_fragmentation: f64,
    /// CPUs that no rank or thread had, times seconds.
    pub idle_cpu_s: f64,
    /// That part of it during which a job waited.
    pub stranded_cpu_s: f64,
    /// The share of all CPU-seconds that a rank or thread had.
    pub utilisation: f64,
    /// Migrations that were carried out.
    pub migrations: u64,
    /// Ranks that they moved.
    pub ranks_moved: u64,
    /// Seconds that jobs stood still for them.
    pub pause_s: f64,
    /// Changes of how many CPUs a job that runs has.
    pub grants: u64,
    /// The most jobs that waited at one time.
    pub queue_max: usize,
}

pub(super) fn seconds(us: u128) -> f64 {
    as_f64(us) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn as_f64(number: u128) -> f64 {
    number as f64
}

//! Jobs that are made up.

use super::{Job, Kind};
use std::sync::Arc;
use types::Bytes;

/// A mix of jobs: 2 in 5 MPI, 2 in 5 OpenMP, 1 in 5 with one thread.
///
/// Sizes are powers of two, small ones more often, up to a host for threads and to four hosts for
/// ranks. Undisturbed, a job takes from 10 s to 10,240 s; each doubling is as likely as the next.
/// Arrivals are a Poisson process that offers `load` times what the hosts can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    /// How many jobs.
    pub jobs: u32,
    /// The same seed gives the same jobs.
    pub seed: u64,
    /// Work that arrives in a second, by the number of all CPUs.
    pub load: f64,
    /// CPUs of one host.
    pub cpus: u32,
    /// CPUs of all hosts.
    pub cpus_all: u64,
}

impl Synthetic {
    /// The jobs, by arrival.
    pub fn jobs(&self) -> Vec<Job> {
        let mut chance = Chance(self.seed);
        let tenants: Vec<Arc<str>> =
            (0..8).map(|number| format!("tenant-{number}").into()).collect();
        let mut jobs: Vec<Job> =
            (0..self.jobs).map(|number| self.job(number, &tenants, &mut chance)).collect();
        let work: f64 = jobs.iter().map(|job| job.work_cpu_s).sum();
        #[expect(clippy::cast_precision_loss, reason = "CPUs and jobs are fewer than 2^52")]
        let (cpus, count) = (self.cpus_all.max(1) as f64, jobs.len().max(1) as f64);
        let gap_s = work / (cpus * self.load.max(1e-6)) / count;
        let mut arrival = 0.0;
        for job in &mut jobs {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative"
            )]
            let at = (arrival * 1e6) as u64;
            job.arrival_us = at;
            arrival += gap_s * chance.exponential();
        }
        jobs
    }

    fn job(&self, number: u32, tenants: &[Arc<str>], chance: &mut Chance) -> Job {
        let kind = match chance.below(5) {
            0 | 1 => Kind::Mpi,
            2 | 3 => Kind::OpenMp,
            _ => Kind::Single,
        };
        let limit = match kind {
            Kind::Mpi => u64::from(self.cpus.max(1)) * 4,
            Kind::OpenMp => u64::from(self.cpus.max(1)),
            Kind::Single => 1,
        };
        let limit = u32::try_from(limit.min(self.cpus_all.max(1))).unwrap_or(u32::MAX);
        let cpus = power_of_two(limit, kind, chance);
        let varies = kind == Kind::OpenMp;
        // From 10 s on, up to ten doublings, and evenly in between.
        let octave = f64::from(1_u32 << chance.below(10));
        let duration = 10.0 * octave * (1.0 + chance.unit());
        Job {
            name: format!("job-{number}"),
            tenant: Arc::clone(&tenants[usize::try_from(chance.below(8)).unwrap_or(0)]),
            arrival_us: 0,
            kind,
            cpus,
            cpus_min: if varies { (cpus / 2).max(1) } else { cpus },
            cpus_max: if varies { cpus.saturating_mul(2).min(limit).max(cpus) } else { cpus },
            memory: Bytes(256 << (20 + chance.below(4))),
            work_cpu_s: duration * f64::from(cpus),
            serial_fraction: 0.0,
            communication: if kind == Kind::Mpi { 2.0 * chance.unit() } else { 0.0 },
        }
    }
}

/// Each power is as likely as all larger ones together; programs with ranks have two at least,
/// if there is room for them.
fn power_of_two(limit: u32, kind: Kind, chance: &mut Chance) -> u32 {
    let mut cpus = if kind == Kind::Mpi { 2.min(limit) } else { 1 };
    while cpus <= limit / 2 && chance.below(2) == 0 {
        cpus *= 2;
    }
    cpus
}

/// Numbers by SplitMix64: few lines, the same on every machine.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `limit`, which is small and not among the numbers.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0 to 1, which is not among the numbers.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with mean 1, by von Neumann's comparisons: logarithms differ
    /// from one machine to another.
    fn exponential(&mut self) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.unit();
            let (mut last, mut falls) = (first, 1_u32);
            loop {
                let next = self.unit();
                if next >= last {
                    break;
                }
                last = next;
                falls += 1;
            }
            if falls % 2 == 1 {
                return whole + first;
            }
            whole += 1.0;
        }
    }
}

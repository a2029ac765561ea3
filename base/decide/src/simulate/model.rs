//! How fast jobs run, and on what.

use super::{Job, Kind};
use crate::plan::{Attestation, Cluster, Constraints, Demand, Host, Isa, Quotas, Reach, Resources};
use std::collections::BTreeMap;
use types::{Bytes, Cpu};

/// What distance and migration cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// How much longer a job takes whose ranks are all on different hosts: 0.3 is 30 %.
    pub host_penalty: f64,
    /// How much longer a job takes, besides, whose ranks are all at different sites.
    pub site_penalty: f64,
    /// A migration stops a job for so long, and for its bytes.
    pub pause_us: u64,
    /// Bytes that a migration copies in a second.
    pub bytes_per_s: u64,
    /// How long a virtual machine takes to start.
    pub vm_start_us: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            host_penalty: 0.3,
            site_penalty: 2.0,
            pause_us: 100_000,
            bytes_per_s: 1_000_000_000,
            vm_start_us: 0,
        }
    }
}

impl Model {
    /// Work, in seconds of one CPU, that is done in a second.
    ///
    /// `cpus / (serial · cpus + 1 − serial)` by Amdahl, divided by `1 + communication ·
    /// (host_penalty · share of pairs on different hosts + site_penalty · share at different
    /// sites)`.
    pub(super) fn rate(&self, job: &Job, cpu: Cpu, host_share: f64, site_share: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "CPUs of a job are few")]
        let cpus = cpu.0 as f64 / 1000.0;
        let speedup = cpus / (job.serial_fraction * cpus + 1.0 - job.serial_fraction);
        // A part of a CPU is slower than one, and has nothing to share with itself.
        let speedup = if cpus < 1.0 { cpus } else { speedup };
        let distance = self.host_penalty * host_share + self.site_penalty * site_share;
        speedup / (1.0 + job.communication * distance)
    }

    /// How long a migration stops a job.
    pub(super) fn pause_us(&self, bytes: Bytes) -> u64 {
        let copy = u128::from(bytes.0) * 1_000_000 / u128::from(self.bytes_per_s.max(1));
        self.pause_us.saturating_add(u64::try_from(copy).unwrap_or(u64::MAX))
    }
}

/// Hosts that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Not the two numbers.
    #[error("`{0}` is not HOSTSxCPUS: write `32x16` for 32 hosts with 16 CPUs each")]
    Shape(String),
    /// More than a simulation takes.
    #[error("{hosts} hosts with {cpus} CPUs: at most 1000000 hosts with at most 1024 CPUs each")]
    TooLarge {
        /// How many hosts.
        hosts: u32,
        /// How many CPUs.
        cpus: u32,
    },
    /// Some would be empty.
    #[error("{hosts} hosts cannot make {sites} sites: each has at least one")]
    Sites {
        /// How many hosts.
        hosts: u32,
        /// How many sites.
        sites: u32,
    },
}

/// The hosts and the rules of a simulation.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many hosts, all alike.
    pub hosts: u32,
    /// CPUs of each.
    pub cpus: u32,
    /// Sites with as many hosts each, or one more.
    pub sites: u32,
    /// Memory of each host.
    pub memory: Bytes,
    /// How many jobs behind one that does not fit may overtake it.
    pub backfill: usize,
    /// What tenants may have.
    pub quotas: Quotas,
    /// What distance costs.
    pub model: Model,
}

impl Setup {
    /// Reads `32x16`; 4 GiB for each CPU.
    ///
    /// # Errors
    /// What is wrong with the text or the numbers.
    pub fn parse(shape: &str, sites: u32) -> Result<Self, SetupError> {
        let wrong = || SetupError::Shape(shape.chars().take(40).collect());
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| digits && *number > 0)
        };
        let (hosts, cpus) = shape.split_once('x').ok_or_else(wrong)?;
        let (hosts, cpus) = number(hosts).zip(number(cpus)).ok_or_else(wrong)?;
        if hosts > 1_000_000 || cpus > 1024 {
            return Err(SetupError::TooLarge { hosts, cpus });
        }
        if sites == 0 || sites > hosts {
            return Err(SetupError::Sites { hosts, sites });
        }
        let (memory, quotas) = (Bytes(u64::from(cpus) << 32), Quotas::default());
        Ok(Self { hosts, cpus, sites, memory, backfill: 0, quotas, model: Model::default() })
    }

    /// All CPUs.
    pub fn cpus_all(&self) -> u64 {
        u64::from(self.hosts) * u64::from(self.cpus)
    }

    /// The hosts, empty.
    pub(super) fn cluster(&self) -> Cluster {
        let cpu = Cpu(u64::from(self.cpus) * 1000);
        let host = |number: u32| Host {
            name: format!("host-{number}"),
            // Numbers of one width, so that names are in their order.
            site: format!(
                "site-{:07}",
                u64::from(number) * u64::from(self.sites) / u64::from(self.hosts)
            ),
            labels: BTreeMap::new(),
            isa: Isa::X86_64,
            attestation: Attestation::None,
            cordoned: false,
            capacity: Resources::new(cpu, self.memory),
        };
        Cluster::new((0..self.hosts).map(host))
    }

    /// The virtual machines that a job gets: of the sizes 1, 2, 4 … and a whole host, the
    /// smallest that holds it; a job larger than a host gets several of the size that wastes the
    /// least. Memory is in proportion.
    pub(super) fn machines(&self, job: &Job) -> Demand {
        let sizes = (0..).map(|power| 1_u32 << power).take_while(|size| *size < self.cpus);
        let sizes = sizes.chain([self.cpus]);
        let memory = |size: u32| self.memory.0 * u64::from(size) / u64::from(self.cpus);
        let ranks_on = |size: u32| -> u32 {
            if job.kind != Kind::Mpi {
                return u32::from(job.cpus <= size && job.memory.0 <= memory(size));
            }
            let by_memory = memory(size).checked_div(job.memory.0).unwrap_or(u64::MAX);
            size.min(u32::try_from(by_memory).unwrap_or(u32::MAX))
        };
        let units = if job.kind == Kind::Mpi { job.cpus } else { 1 };
        let fitting = sizes.filter_map(|size| {
            let count = units.div_ceil(Some(ranks_on(size)).filter(|ranks| *ranks > 0)?);
            // One machine before several, then the least waste, then few machines.
            Some((count > 1, u64::from(count) * u64::from(size), count, size))
        });
        let (.., count, size) = fitting.min().unwrap_or((true, 0, 1, self.cpus));
        // What is larger than a host is asked for as it is, and refused.
        let memory = Bytes(memory(size).max(job.memory.0));
        let size = if units == 1 { size.max(job.cpus) } else { size };
        Demand {
            tenant: job.tenant.to_string(),
            ranks: count,
            each: Resources::new(Cpu(u64::from(size) * 1000), memory),
            elastic: None,
            reach: Reach::Anywhere,
            constraints: Constraints::default(),
        }
    }
}

//! What is refused, and why.

use super::{HostId, RANKS_MAX, TissueId};
use types::{Bytes, Cpu};

/// A demand that no cluster could meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DemandError {
    /// Nothing to place, or more than is looked at.
    #[error("{ranks} ranks are asked for: a tissue has from 1 to {RANKS_MAX}")]
    Ranks {
        /// How many.
        ranks: u32,
    },
    /// It could never run.
    #[error("a rank needs some CPU: `1m` at the least")]
    NoCpu,
    /// The sum of its ranks cannot be counted.
    #[error("all ranks together ask for more than can be counted")]
    TooLarge,
    /// Ranks are a tissue's size; only a single one can vary.
    #[error("a tissue of {ranks} ranks is not elastic: only the CPUs of a single rank may vary")]
    ElasticRanks {
        /// How many there are.
        ranks: u32,
    },
    /// The order is wrong.
    #[error(
        "`{asked}` CPUs are asked for, which is not from min `{min}` to max `{max}`, or min is 0"
    )]
    Range {
        /// The fewest.
        min: Cpu,
        /// What is asked for.
        asked: Cpu,
        /// The most.
        max: Cpu,
    },
}

/// Why a tissue is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It makes no sense.
    #[error(transparent)]
    Demand(#[from] DemandError),
    /// The tenant has no CPUs left.
    #[error(
        "tenant `{tenant}` may have `{limit}` CPUs and uses `{used}`: `{asked}` more are asked for"
    )]
    Cpu {
        /// Whose.
        tenant: String,
        /// What it may have.
        limit: Cpu,
        /// What it has.
        used: Cpu,
        /// What this tissue asks for.
        asked: Cpu,
    },
    /// The tenant has no memory left.
    #[error(
        "tenant `{tenant}` may have `{limit}` of memory and uses `{used}`: `{asked}` more are asked for"
    )]
    Memory {
        /// Whose.
        tenant: String,
        /// What it may have.
        limit: Bytes,
        /// What it has.
        used: Bytes,
        /// What this tissue asks for.
        asked: Bytes,
    },
    /// The tenant has no shares of a device left.
    #[error(
        "tenant `{tenant}` may have {limit} shares of `{device}` and uses {used}: {asked} more are asked for"
    )]
    Device {
        /// Whose.
        tenant: String,
        /// Of what.
        device: String,
        /// What it may have.
        limit: u64,
        /// What it has.
        used: u64,
        /// What this tissue asks for.
        asked: u64,
    },
    /// The tenant runs as many as it may.
    #[error("tenant `{tenant}` may run {limit} tissues and runs {used}")]
    Tissues {
        /// Whose.
        tenant: String,
        /// How many it may run.
        limit: u32,
        /// How many run.
        used: u32,
    },
    /// No host would take a single rank, were all of them empty.
    #[error("no host can ever take a rank: {reason}")]
    NoHost {
        /// The nearest miss.
        reason: String,
    },
    /// All that it may use is too little, were all of it free.
    #[error("{ranks} ranks are asked for, and {fit} would fit if {place} were empty")]
    TooManyRanks {
        /// How many there are.
        ranks: u32,
        /// How many there is room for.
        fit: u64,
        /// The host, site or cluster.
        place: String,
    },
}

impl Refusal {
    /// Whether it may be admitted once the tenant's other tissues have ended.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Demand(_) | Self::NoHost { .. } | Self::TooManyRanks { .. } => false,
            Self::Cpu { limit, asked, .. } => asked <= limit,
            Self::Memory { limit, asked, .. } => asked <= limit,
            Self::Device { limit, asked, .. } => asked <= limit,
            Self::Tissues { limit, .. } => *limit > 0,
        }
    }
}

/// Why the cluster does not carry out what was planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It makes no sense.
    #[error(transparent)]
    Demand(#[from] DemandError),
    /// The identifier is taken.
    #[error("tissue {} runs already", .0.0)]
    Runs(TissueId),
    /// The identifier is free.
    #[error("tissue {} does not run", .0.0)]
    Unknown(TissueId),
    /// It is outside of what the demand allows.
    #[error("`{cpu}` CPUs are not from `{min}` to `{max}`, which the tissue allows")]
    CpuOutside {
        /// What was planned.
        cpu: Cpu,
        /// The fewest.
        min: Cpu,
        /// The most.
        max: Cpu,
    },
    /// The plan is for other ranks.
    #[error("the plan places {placed} ranks of {ranks}")]
    Ranks {
        /// How many the plan has.
        placed: u64,
        /// How many there are.
        ranks: u32,
    },
    /// It does not exist.
    #[error("there is no host {}", .0.0)]
    NoHost(HostId),
    /// A host has two pieces, or one without ranks.
    #[error("host `{0}` is to have one piece with at least one rank")]
    Pieces(String),
    /// The demand excludes it.
    #[error("host `{host}` {obstacle}")]
    Constraint {
        /// Which.
        host: String,
        /// The rest of the sentence.
        obstacle: String,
    },
    /// Ranks are further apart than they may be.
    #[error("the plan has {hosts} hosts at {sites} sites, which the tissue's reach excludes")]
    Reach {
        /// How many hosts.
        hosts: usize,
        /// How many sites.
        sites: usize,
    },
    /// It is not free.
    #[error("host `{host}` has room for {room} of {ranks} ranks")]
    Full {
        /// Which.
        host: String,
        /// How many fit.
        room: u32,
        /// How many were planned.
        ranks: u32,
    },
    /// A grant beyond what is idle.
    #[error("host `{host}` has `{idle}` CPUs idle, `{asked}` more are to be granted")]
    NotIdle {
        /// Which.
        host: String,
        /// What is idle.
        idle: Cpu,
        /// What is to be added.
        asked: Cpu,
    },
}

/// A list of policies that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No such policy.
    #[error("`{0}` is no policy: use binpack, spread, locality, compaction and elastic")]
    Unknown(String),
    /// It says the same twice.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// Only one can place.
    #[error("`{first}` and `{second}` both say where a tissue goes: name one of them")]
    TwoPlaces {
        /// The one named first.
        first: String,
        /// The other.
        second: String,
    },
}

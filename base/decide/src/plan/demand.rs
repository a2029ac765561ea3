//! What a tissue needs.

use super::{Attestation, DemandError, Host, Isa, Resources};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use types::Cpu;

/// Most ranks of one tissue: each is looked at when they are spread.
pub const RANKS_MAX: u32 = 1_000_000;

/// How far apart the ranks of a tissue may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Threads that share memory.
    Host,
    /// Any hosts of one site.
    Site,
    /// Any hosts.
    #[default]
    Anywhere,
}

/// Between how many CPUs the only rank of a tissue may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuRange {
    /// It may start with so few when there are no more.
    pub min: Cpu,
    /// More than so many are of no use to it.
    pub max: Cpu,
}

/// What every host must be; empty sets and maps allow any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Constraints {
    /// At one of these sites.
    pub sites: BTreeSet<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// With one of these instruction sets.
    pub isas: BTreeSet<Isa>,
    /// Measured by one of these roots.
    pub attestations: BTreeSet<Attestation>,
}

impl Constraints {
    /// Why the host may not be used, as the rest of a sentence that begins with its name.
    pub fn obstacle(&self, host: &Host) -> Option<String> {
        if host.cordoned {
            return Some("is cordoned".into());
        }
        if !self.sites.is_empty() && !self.sites.contains(&host.site) {
            return Some(format!("is at `{}`, which is not among the sites asked for", host.site));
        }
        if !self.isas.is_empty() && !self.isas.contains(&host.isa) {
            return Some(format!("is {:?}, which is not among the instruction sets", host.isa));
        }
        if !self.attestations.is_empty() && !self.attestations.contains(&host.attestation) {
            return Some(format!("has the root {:?}, which is not accepted", host.attestation));
        }
        let mut asked = self.labels.iter();
        asked
            .find(|(label, value)| host.labels.get(*label) != Some(*value))
            .map(|(label, value)| format!("has no label `{label}: {value}`"))
    }

    /// Whether the host may be used.
    pub fn allow(&self, host: &Host) -> bool {
        !host.cordoned
            && (self.sites.is_empty() || self.sites.contains(&host.site))
            && (self.isas.is_empty() || self.isas.contains(&host.isa))
            && (self.attestations.is_empty() || self.attestations.contains(&host.attestation))
            && self.labels.iter().all(|(label, value)| host.labels.get(label) == Some(value))
    }
}

/// A tissue to be placed: ranks that are all alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Demand {
    /// Who pays.
    pub tenant: String,
    /// How many ranks; 1 for a program with threads.
    pub ranks: u32,
    /// What one rank asks for: for threads one CPU each.
    pub each: Resources,
    /// What the CPUs of a single rank may vary between, if they may.
    #[serde(default)]
    pub elastic: Option<CpuRange>,
    /// How far its ranks may be apart.
    #[serde(default)]
    pub reach: Reach,
    /// What hosts must be.
    #[serde(default)]
    pub constraints: Constraints,
}

impl Demand {
    /// Looks whether it makes sense at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), DemandError> {
        if self.ranks == 0 || self.ranks > RANKS_MAX {
            return Err(DemandError::Ranks { ranks: self.ranks });
        }
        if self.each.cpu.0 == 0 {
            return Err(DemandError::NoCpu);
        }
        let Some(range) = self.elastic else {
            return self.each.times(self.ranks).map(drop).ok_or(DemandError::TooLarge);
        };
        if self.ranks > 1 {
            return Err(DemandError::ElasticRanks { ranks: self.ranks });
        }
        let asked = self.each.cpu;
        match range.min.0 > 0 && range.min <= asked && asked <= range.max {
            true => Ok(()),
            false => Err(DemandError::Range { min: range.min, asked, max: range.max }),
        }
    }

    /// The fewest CPUs that a rank runs with.
    pub fn cpu_min(&self) -> Cpu {
        self.elastic.map_or(self.each.cpu, |range| range.min)
    }

    /// The most CPUs that a rank can use.
    pub fn cpu_max(&self) -> Cpu {
        self.elastic.map_or(self.each.cpu, |range| range.max)
    }

    /// What one rank takes with this many CPUs.
    pub(super) fn each_with(&self, cpu: Cpu) -> Resources {
        Resources { cpu, ..self.each.clone() }
    }
}

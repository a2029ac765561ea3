//! What a tissue may run on.

use super::Resources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isa {
    /// AMD and Intel.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Arm.
    Aarch64,
    /// RISC-V.
    Riscv64,
}

/// What a host's measurement is rooted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestation {
    /// It is not measured.
    None,
    /// A root for development, which has to be named to be accepted.
    Simulated,
    /// AMD's.
    SevSnp,
    /// Intel's.
    Tdx,
}

/// One machine of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Unique among all hosts.
    pub name: String,
    /// The site that it belongs to.
    pub site: String,
    /// For selection. Hosts alike in all but their names and capacities are searched together:
    /// a label that differs from host to host makes each search look at every host.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What its processors understand.
    pub isa: Isa,
    /// What it can prove.
    pub attestation: Attestation,
    /// Takes nothing new.
    #[serde(default)]
    pub cordoned: bool,
    /// What it offers to tissues.
    pub capacity: Resources,
}

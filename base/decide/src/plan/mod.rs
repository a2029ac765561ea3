//! Where the ranks and threads of parallel programs run: placement policies over hosts.
//!
//! A [`Demand`] says what a tissue (all cells of one parallel program) needs, a [`Cluster`] what
//! its [`Host`]s have left. [`Policy`] is one rule; [`Policies`] reads several by name
//! (`locality,compaction,elastic`). A [`Planner`] joins them with tenants' [`Quotas`] and with
//! [`Advice`], which may propose and never widens what the demand allows.
//!
//! Nothing here has a clock or chance in it: the same calls give the same plans. Policies only
//! look at a cluster; what they answer is carried out by [`Cluster::start`],
//! [`Cluster::migrate`] and [`Cluster::grant`], which refuse what breaks a capacity or a
//! constraint, whoever proposed it. Start at [`Planner::plan`].

mod admission;
mod advice;
mod binpack;
mod cluster;
mod compaction;
mod demand;
mod elastic;
mod error;
mod host;
mod index;
mod locality;
mod planner;
mod policy;
#[cfg(test)]
mod properties;
mod resources;
mod scatter;
mod spread;
#[cfg(test)]
mod tests;

pub use admission::{Quota, Quotas, Usage};
pub use advice::{Advice, NoAdvice};
pub use binpack::BinPack;
pub use cluster::{Cluster, HostId, SiteId, Tissue, TissueId};
pub use compaction::Compaction;
pub use demand::{Constraints, CpuRange, Demand, RANKS_MAX, Reach};
pub use elastic::Elastic;
pub use error::{DemandError, PlanError, PolicyError, Refusal};
pub use host::{Attestation, Host, Isa};
pub use locality::Locality;
pub use planner::Planner;
pub use policy::{Grant, Migration, Move, Piece, Plan, Policies, Policy, Request, Scope};
pub use resources::Resources;
pub use scatter::Scatter;
pub use spread::Spread;

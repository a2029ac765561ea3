//! What the learning plane may say.

use super::{Cluster, Demand};
use types::Cpu;

/// An adviser. It is asked before a tissue is placed; each answer is a wish. One that the demand
/// does not allow, or that there is no room for, is passed over.
pub trait Advice {
    /// How many CPUs shall its single rank have? Asked for elastic demands alone.
    fn cpus(&self, demand: &Demand, cluster: &Cluster) -> Option<Cpu>;

    /// At which site shall it be?
    fn site(&self, demand: &Demand, cluster: &Cluster) -> Option<String>;
}

/// Without an adviser the planner decides alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAdvice;

impl Advice for NoAdvice {
    fn cpus(&self, _demand: &Demand, _cluster: &Cluster) -> Option<Cpu> {
        None
    }

    fn site(&self, _demand: &Demand, _cluster: &Cluster) -> Option<String> {
        None
    }
}

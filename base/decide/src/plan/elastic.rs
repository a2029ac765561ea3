//! Idle CPUs are lent.

use super::{Cluster, Grant, HostId, Plan, Policy, Request, TissueId};
use std::{cmp::Reverse, collections::BinaryHeap};
use types::Cpu;

/// Lends CPUs that nobody has to elastic tissues on the same host, and lets such a tissue start
/// with fewer than it asks for. A loan ends when another tissue is placed there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Elastic;

impl Elastic {
    /// As it is named in a list.
    pub const NAME: &str = "elastic";
}

/// What is lent at a time.
const STEP: u64 = 1000;

impl Policy for Elastic {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn place(&self, _cluster: &Cluster, _request: Request<'_>) -> Option<Plan> {
        None
    }

    /// One CPU at a time to whoever has the fewest.
    fn grow(&self, cluster: &Cluster, host: HostId) -> Vec<Grant> {
        let mut idle = cluster.idle(host).0;
        if idle < STEP {
            return Vec::new();
        }
        let mut hungry: BinaryHeap<Reverse<(u64, TissueId, u64)>> = cluster
            .on(host)
            .iter()
            .filter_map(|id| Some((*id, cluster.tissue(*id)?)))
            .filter(|(_, tissue)| tissue.demand.elastic.is_some())
            .map(|(id, tissue)| Reverse((tissue.granted().0, id, tissue.demand.cpu_max().0)))
            .collect();
        let mut grants = Vec::new();
        while idle >= STEP {
            let Some(Reverse((cpu, tissue, max))) = hungry.pop() else { break };
            if cpu + STEP <= max {
                idle -= STEP;
                hungry.push(Reverse((cpu + STEP, tissue, max)));
            } else {
                grants.push(Grant { tissue, cpu: Cpu(cpu) });
            }
        }
        let rest =
            hungry.into_iter().map(|Reverse((cpu, tissue, _))| Grant { tissue, cpu: Cpu(cpu) });
        grants.extend(rest);
        let changes = |grant: &Grant| {
            cluster.tissue(grant.tissue).is_some_and(|tissue| tissue.granted() != grant.cpu)
        };
        grants.retain(changes);
        grants.sort_unstable_by_key(|grant| grant.tissue);
        grants
    }

    /// As many whole CPUs as one host has free, if that is enough to start with.
    fn squeeze(&self, cluster: &Cluster, request: Request<'_>) -> Option<Cpu> {
        let range = request.demand.elastic?;
        let least = request.demand.each_with(range.min);
        let (host, _) = cluster.roomy(request.demand, &least, request.site).next()?;
        let free = cluster.free(host).cpu.0;
        let whole = free - free % STEP;
        let cpu = Cpu(whole.max(range.min.0).min(request.demand.each.cpu.0));
        (cpu < request.demand.each.cpu).then_some(cpu)
    }
}

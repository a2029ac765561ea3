//! Every rank has room around it.

use super::{Cluster, HostId, Piece, Plan, Policy, Reach, Request, binpack::within_reach};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Puts each rank on the host that has the most CPUs free at that moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread;

impl Spread {
    /// As it is named in a list.
    pub const NAME: &str = "spread";
}

impl Policy for Spread {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn places(&self) -> bool {
        true
    }

    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        let Request { demand, cpu, site } = request;
        if demand.ranks == 1 || demand.reach == Reach::Host {
            let all = demand.each_with(cpu).times(demand.ranks)?;
            let (host, _) = cluster.roomy(demand, &all, site).next()?;
            return Some(Plan { cpu, pieces: vec![Piece { host, ranks: demand.ranks }] });
        }
        within_reach(cluster, request, |request| rank_by_rank(cluster, request))
    }
}

/// The host's free CPUs after what it was given, its number, what it was given, what fits.
type Candidate = (u64, Reverse<HostId>, u32, u32);

fn rank_by_rank(cluster: &Cluster, request: Request<'_>) -> Option<Vec<Piece>> {
    let Request { demand, cpu, site } = request;
    let each = demand.each_with(cpu);
    let mut roomy = cluster.roomy(demand, &each, site).peekable();
    let mut begun: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut given: BTreeMap<HostId, u32> = BTreeMap::new();
    for _ in 0..demand.ranks {
        // Whole CPUs are what fresh hosts are ordered by.
        let fresh = roomy.peek().map(|(host, _)| cluster.free(*host).cpu.0 / 1000);
        let used = begun.peek().map(|(free, ..)| free / 1000);
        let candidate = if fresh.is_some() && fresh >= used {
            roomy.next().map(|(host, fits)| (cluster.free(host).cpu.0, Reverse(host), 0, fits))
        } else {
            begun.pop()
        };
        let (free, Reverse(host), ranks, fits) = candidate?;
        given.insert(host, ranks + 1);
        if ranks + 1 < fits {
            begun.push((free - cpu.0, Reverse(host), ranks + 1, fits));
        }
    }
    Some(given.into_iter().map(|(host, ranks)| Piece { host, ranks }).collect())
}

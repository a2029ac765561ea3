//! Few hosts are used at all.

use super::{Cluster, HostId, Piece, Plan, Policy, Reach, Request};

/// Fills the fullest hosts first, so that whole hosts stay empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct BinPack;

impl BinPack {
    /// As it is named in a list.
    pub const NAME: &str = "binpack";
}

impl Policy for BinPack {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn places(&self) -> bool {
        true
    }

    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        within_reach(cluster, request, |request| {
            let each = request.demand.each_with(request.cpu);
            fill(request.demand.ranks, cluster.tight(request.demand, &each, request.site))
        })
    }
}

/// Puts as many ranks on each host as fit, in the order given.
pub(super) fn fill(ranks: u32, hosts: impl Iterator<Item = (HostId, u32)>) -> Option<Vec<Piece>> {
    let mut left = ranks;
    let mut pieces = Vec::new();
    for (host, fits) in hosts {
        let ranks = fits.min(left);
        pieces.push(Piece { host, ranks });
        left -= ranks;
        if left == 0 {
            return Some(pieces);
        }
    }
    None
}

/// The tightest host that takes all ranks.
pub(super) fn one_host(cluster: &Cluster, request: Request<'_>) -> Option<Piece> {
    let Request { demand, cpu, site } = request;
    let all = demand.each_with(cpu).times(demand.ranks)?;
    let (host, _) = cluster.tight(demand, &all, site).next()?;
    Some(Piece { host, ranks: demand.ranks })
}

/// Places on one host or at one site if ranks have to be together; among sites the first with
/// room, those with the least room first.
pub(super) fn within_reach(
    cluster: &Cluster,
    request: Request<'_>,
    place: impl Fn(Request<'_>) -> Option<Vec<Piece>>,
) -> Option<Plan> {
    let cpu = request.cpu;
    let pieces = match request.demand.reach {
        Reach::Host => one_host(cluster, request).map(|piece| vec![piece]),
        Reach::Site if request.site.is_none() => tight_sites(cluster, request)
            .into_iter()
            .find_map(|site| place(Request { site: Some(site), ..request })),
        _ => place(request),
    };
    Some(Plan { cpu, pieces: pieces? })
}

/// Sites with enough CPUs free in sum, those with the fewest first.
pub(super) fn tight_sites(cluster: &Cluster, request: Request<'_>) -> Vec<super::SiteId> {
    let needed = request.cpu.0.saturating_mul(u64::from(request.demand.ranks));
    let mut free = vec![0_u64; cluster.sites().len()];
    for class in cluster.classes(request.demand, request.site) {
        free[class.site as usize] += class.cpu_free;
    }
    let mut sites: Vec<_> = free.into_iter().zip(0..).filter(|(free, _)| *free >= needed).collect();
    sites.sort_unstable();
    sites.into_iter().map(|(_, site)| super::SiteId(site)).collect()
}

//! Ranks that talk to each other are near each other.

use super::{
    Cluster, HostId, Piece, Plan, Policy, Reach, Request, SiteId,
    binpack::{fill, one_host, tight_sites},
    index::bucket_cpu_max,
};

/// The fewest sites, then the fewest hosts for each tissue; among equals the tightest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Locality;

impl Locality {
    /// As it is named in a list.
    pub const NAME: &str = "locality";
}

impl Policy for Locality {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn places(&self) -> bool {
        true
    }

    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        let cpu = request.cpu;
        if let Some(piece) = one_host(cluster, request) {
            return Some(Plan { cpu, pieces: vec![piece] });
        }
        if request.demand.ranks == 1 || request.demand.reach == Reach::Host {
            return None;
        }
        if let Some(pieces) = one_site(cluster, request) {
            return Some(Plan { cpu, pieces });
        }
        match request.demand.reach {
            Reach::Anywhere if request.site.is_none() => {
                Some(Plan { cpu, pieces: several_sites(cluster, request)? })
            }
            _ => None,
        }
    }
}

/// The site that takes all ranks on the fewest hosts.
fn one_site(cluster: &Cluster, request: Request<'_>) -> Option<Vec<Piece>> {
    let at =
        |site| few_hosts(cluster, Request { site: Some(site), ..request }, request.demand.ranks);
    let sites = tight_sites(cluster, request).into_iter().filter_map(at);
    sites.min_by_key(Vec::len)
}

/// Sites with the most room first, the last as tight as it can be.
fn several_sites(cluster: &Cluster, request: Request<'_>) -> Option<Vec<Piece>> {
    let each = request.demand.each_with(request.cpu);
    let room = |site: u32| {
        let hosts = cluster.roomy(request.demand, &each, Some(SiteId(site)));
        hosts.fold(0_u32, |sum, (_, fits)| sum.saturating_add(fits))
    };
    let sites = u32::try_from(cluster.sites().len()).unwrap_or(u32::MAX);
    let mut rooms: Vec<(u32, u32)> = (0..sites).map(|site| (room(site), site)).collect();
    rooms.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut left = request.demand.ranks;
    let mut pieces = Vec::new();
    for at in 0..rooms.len() {
        let tightest = rooms[at..].iter().rev().find(|(room, _)| *room >= left);
        let (room, site) = *tightest.unwrap_or(&rooms[at]);
        let ranks = room.min(left);
        if ranks == 0 {
            return None;
        }
        pieces.extend(few_hosts(cluster, Request { site: Some(SiteId(site)), ..request }, ranks)?);
        left -= ranks;
        if left == 0 {
            return Some(pieces);
        }
    }
    None
}

/// The fewest hosts that take so many ranks: the roomiest, and for what is left over the tightest.
fn few_hosts(cluster: &Cluster, request: Request<'_>, ranks: u32) -> Option<Vec<Piece>> {
    let Request { demand, cpu, site } = request;
    let each = demand.each_with(cpu);
    let mut found = roomiest(cluster, request, ranks);
    found.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut pieces = fill(ranks, found.into_iter())?;
    let last = pieces.pop()?;
    let rest = each.times(last.ranks)?;
    let free = |host: &HostId| pieces.iter().all(|piece| piece.host != *host);
    let tightest = cluster.tight(demand, &rest, site).map(|(host, _)| host).find(free);
    pieces.push(Piece { host: tightest.unwrap_or(last.host), ranks: last.ranks });
    Some(pieces)
}

/// Hosts among which are those that take so many ranks in the smallest number. The search ends
/// where no host that is left has room for more ranks than those found already.
fn roomiest(cluster: &Cluster, request: Request<'_>, ranks: u32) -> Vec<(HostId, u32)> {
    let Request { demand, cpu, site } = request;
    let each = demand.each_with(cpu);
    let ranks = u64::from(ranks);
    let mut found: Vec<(HostId, u32)> = Vec::new();
    // No host from here on has room for more ranks than `bound`; found ones that have room for
    // as many hold `sure` ranks.
    let (mut bound, mut sure) = (u64::MAX, 0);
    for (host, fits) in cluster.roomy(demand, &each, site) {
        let bucket = usize::try_from(cluster.free(host).cpu.0 / 1000).unwrap_or(usize::MAX);
        let next = bucket_cpu_max(bucket) / cpu.0.max(1);
        if next < bound {
            bound = next;
            let equals = found.iter().map(|(_, fits)| u64::from(*fits));
            sure = equals.filter(|fits| *fits >= bound).sum();
        }
        if sure >= ranks {
            break;
        }
        found.push((host, fits));
        if u64::from(fits) >= bound {
            sure += u64::from(fits);
        }
    }
    found
}

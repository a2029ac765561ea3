//! Ranks that were scattered come together.

use super::{
    Cluster, HostId, Locality, Migration, Piece, Plan, Policy, Request, Scatter, Scope, Tissue,
    TissueId, binpack::one_host,
};

/// Places by [`Locality`], and moves ranks of scattered tissues together when room is made.
///
/// A migration touches one tissue and leaves it on no more hosts and sites, with no more pairs of
/// ranks apart, and fewer of one kind: fragmentation only falls, and there is an end to it.
#[derive(Debug, Clone, Copy)]
pub struct Compaction {
    /// A migration brings at least this share of a tissue's pairs together.
    pub gain_min: f64,
    /// How many scattered tissues are looked at that have no rank where room was made.
    pub others_max: usize,
}

impl Compaction {
    /// As it is named in a list.
    pub const NAME: &str = "compaction";
}

impl Default for Compaction {
    fn default() -> Self {
        Self { gain_min: 0.1, others_max: 8 }
    }
}

impl Policy for Compaction {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        Locality.place(cluster, request)
    }

    fn rebalance(&self, cluster: &Cluster, scope: Scope<'_>) -> Option<Migration> {
        let hosts = match scope {
            Scope::All => return cluster.scattered().find_map(|id| self.improve(cluster, id)),
            Scope::Hosts(hosts) => hosts,
        };
        let pulls = |host: &HostId| {
            if cluster.free(*host).cpu.0 == 0 {
                return None;
            }
            let near = cluster.on(*host).iter().copied();
            near.chain(cluster.scattered().take(self.others_max))
                .find_map(|id| self.pull(cluster, id, *host))
        };
        hosts.iter().find_map(pulls)
    }
}

impl Compaction {
    /// A migration of this tissue, if one is worth it: the first of three ways, to one of its hosts, to another host, or closer
    /// together on its own hosts.
    pub fn improve(&self, cluster: &Cluster, id: TissueId) -> Option<Migration> {
        let tissue = cluster.tissue(id)?;
        let before = Scatter::of(cluster, &tissue.pieces);
        let worth = |pieces: &Vec<Piece>| self.is_worth(&before, &Scatter::of(cluster, pieces));
        let pieces = gathered(cluster, tissue)
            .filter(worth)
            .or_else(|| elsewhere(cluster, tissue).filter(worth))
            .or_else(|| closer(cluster, tissue).filter(worth))?;
        Some(Migration::between(id, &tissue.pieces, pieces))
    }

    fn is_worth(&self, before: &Scatter, after: &Scatter) -> bool {
        let host_gain = before.host_share() - after.host_share();
        let site_gain = before.site_share() - after.site_share();
        after.is_below(before) && host_gain.max(site_gain) >= self.gain_min
    }

    /// To one host as many ranks as it has room for: those that are far away first, then those in
    /// small pieces. A host that has none yet takes all or nothing.
    fn pull(&self, cluster: &Cluster, id: TissueId, host: HostId) -> Option<Migration> {
        let tissue = cluster.tissue(id).filter(|tissue| tissue.pieces.len() > 1)?;
        let ranks = tissue.demand.ranks;
        let room = cluster.free(host).fits(&tissue.demand.each_with(tissue.cpu));
        // A rank that moves is in `ranks - 1` pairs: so few cannot bring enough of them together.
        let pairs_per_rank = f64::from(ranks) / 2.0;
        if f64::from(room) < self.gain_min * pairs_per_rank {
            return None;
        }
        let own = tissue.pieces.iter().find(|piece| piece.host == host);
        let own = own.map_or(0, |piece| piece.ranks);
        let takes = room.min(ranks - own);
        let let_in = tissue.demand.constraints.allow(&cluster.hosts()[host.0 as usize]);
        if takes == 0 || (own == 0 && takes < ranks) || !let_in {
            return None;
        }
        let pieces = with_pulled(cluster, tissue, Piece { host, ranks: own + takes }, takes);
        let before = Scatter::of(cluster, &tissue.pieces);
        self.is_worth(&before, &Scatter::of(cluster, &pieces))
            .then(|| Migration::between(id, &tissue.pieces, pieces))
    }
}

/// The pieces once so many ranks have gone from the others to this one.
fn with_pulled(cluster: &Cluster, tissue: &Tissue, to: Piece, takes: u32) -> Vec<Piece> {
    let site = cluster.site_of(to.host);
    let mut others: Vec<Piece> =
        tissue.pieces.iter().filter(|piece| piece.host != to.host).copied().collect();
    others.sort_unstable_by_key(|piece| {
        (cluster.site_of(piece.host) == site, piece.ranks, piece.host)
    });
    let mut left = takes;
    for piece in &mut others {
        let leaving = piece.ranks.min(left);
        piece.ranks -= leaving;
        left -= leaving;
    }
    others.retain(|piece| piece.ranks > 0);
    others.push(to);
    others
}

/// How many ranks each of its hosts could hold, if newcomers are let in there.
fn rooms(cluster: &Cluster, tissue: &Tissue) -> Vec<(u32, Piece)> {
    let each = tissue.demand.each_with(tissue.cpu);
    let room = |piece: &Piece| {
        let host = &cluster.hosts()[piece.host.0 as usize];
        let more = match tissue.demand.constraints.allow(host) {
            true => cluster.free(piece.host).fits(&each),
            false => 0,
        };
        (piece.ranks.saturating_add(more), *piece)
    };
    tissue.pieces.iter().map(room).collect()
}

/// All on the host that has most of them already, of those with room.
fn gathered(cluster: &Cluster, tissue: &Tissue) -> Option<Vec<Piece>> {
    let ranks = tissue.demand.ranks;
    let with_room = rooms(cluster, tissue).into_iter().filter(|(room, _)| *room >= ranks);
    let (_, most) =
        with_room.max_by_key(|(_, piece)| (piece.ranks, std::cmp::Reverse(piece.host)))?;
    Some(vec![Piece { host: most.host, ranks }])
}

/// All on the tightest host that takes them.
fn elsewhere(cluster: &Cluster, tissue: &Tissue) -> Option<Vec<Piece>> {
    let request = Request { demand: &tissue.demand, cpu: tissue.cpu, site: None };
    one_host(cluster, request).map(|piece| vec![piece])
}

/// On fewer of its hosts, or more of them on the roomiest: those of the site with the most room
/// first, so that sites are left too.
fn closer(cluster: &Cluster, tissue: &Tissue) -> Option<Vec<Piece>> {
    let rooms = rooms(cluster, tissue);
    let site_room = |host: HostId| -> u64 {
        let site = cluster.site_of(host);
        let same = rooms.iter().filter(|(_, piece)| cluster.site_of(piece.host) == site);
        same.map(|(room, _)| u64::from(*room)).sum()
    };
    let mut order: Vec<_> = rooms
        .iter()
        .map(|(room, piece)| (site_room(piece.host), cluster.site_of(piece.host), *room, piece))
        .collect();
    order.sort_unstable_by(|a, b| {
        b.0.cmp(&a.0).then(a.1.cmp(&b.1)).then(b.2.cmp(&a.2)).then(a.3.host.cmp(&b.3.host))
    });
    let hosts = order.into_iter().map(|(_, _, room, piece)| (piece.host, room));
    super::binpack::fill(tissue.demand.ranks, hosts)
}

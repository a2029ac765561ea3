//! How far apart the ranks of a tissue are.

use super::{Cluster, Piece};
use serde::Serialize;

/// Counts of what ranks that exchange messages pay for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Scatter {
    /// Sites that hold ranks of it.
    pub sites: usize,
    /// Hosts that hold ranks of it.
    pub hosts: usize,
    /// Pairs of ranks on different hosts.
    pub across_hosts: u64,
    /// Pairs of ranks at different sites; each is one on different hosts too.
    pub across_sites: u64,
    /// All pairs of ranks.
    pub pairs: u64,
}

impl Scatter {
    /// Of ranks that lie in these pieces.
    pub fn of(cluster: &Cluster, pieces: &[Piece]) -> Self {
        let ranks = pieces.iter().map(|piece| u64::from(piece.ranks)).sum();
        if let [_] = pieces {
            return Self { sites: 1, hosts: 1, pairs: pairs(ranks), ..Self::default() };
        }
        let together: u64 = pieces.iter().map(|piece| pairs(u64::from(piece.ranks))).sum();
        let mut at_sites: Vec<(u32, u64)> = pieces
            .iter()
            .map(|piece| (cluster.site_of(piece.host).0, u64::from(piece.ranks)))
            .collect();
        at_sites.sort_unstable();
        let groups = at_sites.chunk_by(|a, b| a.0 == b.0);
        let sizes = groups.map(|group| group.iter().map(|(_, ranks)| ranks).sum::<u64>());
        let (sites, at_one_site) =
            sizes.fold((0, 0), |(sites, sum), size| (sites + 1, sum + pairs(size)));
        Self {
            sites,
            hosts: pieces.len(),
            across_hosts: pairs(ranks) - together,
            across_sites: pairs(ranks) - at_one_site,
            pairs: pairs(ranks),
        }
    }

    /// The share of its pairs of ranks that are on different hosts: 0 when all are together.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn host_share(&self) -> f64 {
        self.across_hosts as f64 / self.pairs.max(1) as f64
    }

    /// The share of its pairs of ranks that are at different sites.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn site_share(&self) -> f64 {
        self.across_sites as f64 / self.pairs.max(1) as f64
    }

    /// Whether nothing is worse than in `other` and something is better.
    pub fn is_below(&self, other: &Self) -> bool {
        let no_worse = self.sites <= other.sites
            && self.hosts <= other.hosts
            && self.across_hosts <= other.across_hosts
            && self.across_sites <= other.across_sites;
        let better =
            self.across_hosts < other.across_hosts || self.across_sites < other.across_sites;
        no_worse && better
    }
}

fn pairs(ranks: u64) -> u64 {
    ranks * ranks.saturating_sub(1) / 2
}

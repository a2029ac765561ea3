//! What a policy may say, and policies by name.

use super::{
    BinPack, Cluster, Compaction, Demand, Elastic, HostId, Locality, PolicyError, SiteId, Spread,
    TissueId,
};
use std::fmt;
use types::{Bytes, Cpu};

/// What is to be placed now.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it needs.
    pub demand: &'a Demand,
    /// How many CPUs each rank shall have.
    pub cpu: Cpu,
    /// Only hosts of this site.
    pub site: Option<SiteId>,
}

/// Ranks of a tissue on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub host: HostId,
    /// How many.
    pub ranks: u32,
}

/// Where a tissue goes: ranks are numbered through the pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// CPUs of each rank, which no other tissue can take from it.
    pub cpu: Cpu,
    /// One for each host.
    pub pieces: Vec<Piece>,
}

/// So many CPUs the single rank of a tissue has from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Whose.
    pub tissue: TissueId,
    /// What it was planned with and what is lent to it.
    pub cpu: Cpu,
}

/// Ranks that change hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Where they are.
    pub from: HostId,
    /// Where they go.
    pub to: HostId,
    /// How many.
    pub ranks: u32,
}

/// Another place for some ranks of a tissue that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Whose.
    pub tissue: TissueId,
    /// Where its ranks are afterwards.
    pub pieces: Vec<Piece>,
    /// Who moves.
    pub moves: Vec<Move>,
}

impl Migration {
    /// From one set of pieces to another with as few moves as there can be.
    pub fn between(tissue: TissueId, before: &[Piece], after: Vec<Piece>) -> Self {
        let count = |pieces: &[Piece], host| {
            pieces.iter().find(|piece| piece.host == host).map_or(0, |piece| piece.ranks)
        };
        let mut leaving = before.iter().filter_map(|piece| {
            let left = piece.ranks.saturating_sub(count(&after, piece.host));
            (left > 0).then_some((piece.host, left))
        });
        let mut moves = Vec::new();
        let mut source = leaving.next();
        for piece in &after {
            let mut missing = piece.ranks.saturating_sub(count(before, piece.host));
            while let Some((from, left)) = source.filter(|_| missing > 0) {
                let ranks = left.min(missing);
                moves.push(Move { from, to: piece.host, ranks });
                missing -= ranks;
                source = if left > ranks { Some((from, left - ranks)) } else { leaving.next() };
            }
        }
        Self { tissue, pieces: after, moves }
    }

    /// How many ranks change hosts.
    pub fn ranks(&self) -> u32 {
        self.moves.iter().map(|moved| moved.ranks).sum()
    }

    /// What has to be copied, if all memory of the ranks that move is in use.
    pub fn bytes(&self, demand: &Demand) -> Bytes {
        Bytes(demand.each.memory.0.saturating_mul(u64::from(self.ranks())))
    }
}

/// What a policy looks at when something changed.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Everything.
    All,
    /// What these hosts, on which room was made, give occasion to.
    Hosts(&'a [HostId]),
}

/// One rule. It looks at a cluster and answers; it changes nothing.
pub trait Policy: fmt::Debug + Send + Sync {
    /// As it is named in a list.
    fn name(&self) -> &'static str;

    /// Where the tissue goes; nothing when there is no room, or when this policy does not place.
    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan>;

    /// Whether [`Self::place`] is this policy's own matter, which another then cannot have.
    fn places(&self) -> bool {
        false
    }

    /// The next migration that is worth its cost. To be asked again once that is carried out.
    fn rebalance(&self, _cluster: &Cluster, _scope: Scope<'_>) -> Option<Migration> {
        None
    }

    /// Grants to the tissues of one host that has CPUs idle.
    fn grow(&self, _cluster: &Cluster, _host: HostId) -> Vec<Grant> {
        Vec::new()
    }

    /// With how many CPUs a single rank starts when what it asks for is free nowhere.
    fn squeeze(&self, _cluster: &Cluster, _request: Request<'_>) -> Option<Cpu> {
        None
    }
}

/// Policies that work together; the first that places does so.
#[derive(Debug)]
pub struct Policies {
    all: Vec<Box<dyn Policy>>,
    placer: usize,
}

impl Policies {
    /// Reads a list such as `locality,compaction,elastic`. A list that says nothing about where
    /// tissues go gets `locality` for compaction and `binpack` otherwise.
    ///
    /// # Errors
    /// A name that is unknown or named twice, or two that both place.
    pub fn parse(list: &str) -> Result<Self, PolicyError> {
        let mut all: Vec<Box<dyn Policy>> = Vec::new();
        for name in list.split(',').map(str::trim) {
            let policy = named(name)?;
            if all.iter().any(|other| other.name() == name) {
                return Err(PolicyError::Twice(name.to_owned()));
            }
            if let Some(first) = all.iter().find(|other| other.places() && policy.places()) {
                let (first, second) = (first.name().to_owned(), name.to_owned());
                return Err(PolicyError::TwoPlaces { first, second });
            }
            all.push(policy);
        }
        let placer = match all.iter().position(|policy| policy.places()) {
            Some(placer) => placer,
            None => {
                let compacts = all.iter().any(|policy| policy.name() == Compaction::NAME);
                all.push(if compacts { Box::new(Locality) } else { Box::new(BinPack) });
                all.len() - 1
            }
        };
        Ok(Self { all, placer })
    }

    /// These as they are; the first that places does so, and `binpack` if none does.
    pub fn new(mut all: Vec<Box<dyn Policy>>) -> Self {
        let placer = all.iter().position(|policy| policy.places()).unwrap_or_else(|| {
            all.push(Box::new(BinPack));
            all.len() - 1
        });
        Self { all, placer }
    }

    /// The names, separated by commas.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|policy| policy.name()).collect();
        names.join(",")
    }
}

impl Policy for Policies {
    fn name(&self) -> &'static str {
        self.all[self.placer].name()
    }

    fn places(&self) -> bool {
        true
    }

    fn place(&self, cluster: &Cluster, request: Request<'_>) -> Option<Plan> {
        self.all[self.placer].place(cluster, request)
    }

    fn rebalance(&self, cluster: &Cluster, scope: Scope<'_>) -> Option<Migration> {
        self.all.iter().find_map(|policy| policy.rebalance(cluster, scope))
    }

    fn grow(&self, cluster: &Cluster, host: HostId) -> Vec<Grant> {
        let mut answers = self.all.iter().map(|policy| policy.grow(cluster, host));
        answers.find(|grants| !grants.is_empty()).unwrap_or_default()
    }

    fn squeeze(&self, cluster: &Cluster, request: Request<'_>) -> Option<Cpu> {
        self.all.iter().find_map(|policy| policy.squeeze(cluster, request))
    }
}

fn named(name: &str) -> Result<Box<dyn Policy>, PolicyError> {
    Ok(match name {
        BinPack::NAME => Box::new(BinPack),
        Spread::NAME => Box::new(Spread),
        Locality::NAME => Box::new(Locality),
        Compaction::NAME => Box::new(Compaction::default()),
        Elastic::NAME => Box::new(Elastic),
        _ => return Err(PolicyError::Unknown(name.chars().take(40).collect())),
    })
}

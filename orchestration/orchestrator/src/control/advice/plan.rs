//! The learning plane as the planner's adviser.
//!
//! The planner counts what services asked for. What they use beyond that is learned from what sites
//! report: their surplus. A program is advised to begin where the most is really left, with as many
//! processors as there are; what is lent and where ranks come together is decided with the surplus
//! taken away.

use super::super::{cache::Cache, sites::Sites, state::State};
use decide::plan::{Advice, Cluster, Demand, Host, HostId, Resources};
use std::collections::BTreeMap;
use types::Cpu;

/// Processors that services use beyond what they asked for, by site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Surplus(BTreeMap<String, Cpu>);

/// A surplus counts in whole processors, from half a one on: less comes and goes.
const WHOLE: u64 = 1000;

/// The surplus at a site now.
pub(super) fn surplus(state: &State, site: &str, now_ms: u64) -> Cpu {
    let asked: Vec<(String, u64)> = state.cache(|cache| {
        let here = cache.services.values();
        let here = here.filter(|service| service.status.site.as_deref() == Some(site));
        here.map(|service| (service.uid().to_owned(), service.spec.resources.cpu.0)).collect()
    });
    let seen = state.advice.seen();
    let used = asked.iter().filter_map(|(uid, _)| seen.lately(uid, site, now_ms));
    let used: f64 = used.map(|lately| lately.own * 1000.0).sum();
    let asked: u64 = asked.iter().map(|(_, cpu)| *cpu).sum();
    let over = (used - asked as f64).clamp(0.0, 1e9) as u64;
    Cpu((over + WHOLE / 2) / WHOLE * WHOLE)
}

/// The host with what services really leave of it.
pub(in super::super) fn less(mut host: Host, live: &Sites) -> Host {
    let surplus = live.get(&host.site).map_or(0, |site| site.surplus.0);
    host.capacity.cpu.0 = host.capacity.cpu.0.saturating_sub(surplus);
    host
}

impl Surplus {
    /// Of all sites that have one.
    pub(in super::super) fn of(cache: &Cache, live: &Sites) -> Self {
        let of = |site: &String| Some((site.clone(), live.get(site)?.surplus));
        Self(cache.sites.keys().filter_map(of).filter(|(_, surplus)| surplus.0 > 0).collect())
    }

    /// For a decision; nothing if there is none.
    pub(in super::super) fn told(&self) -> Option<&BTreeMap<String, Cpu>> {
        (!self.0.is_empty()).then_some(&self.0)
    }

    /// What is really left at a host.
    fn left(&self, cluster: &Cluster, number: u32, host: &Host) -> u64 {
        let surplus = self.0.get(&host.site).map_or(0, |surplus| surplus.0);
        cluster.free(HostId(number)).cpu.0.saturating_sub(surplus)
    }

    /// Where the most is left of the hosts that the demand allows and have room, and how much.
    fn best<'a>(&self, demand: &Demand, cluster: &'a Cluster) -> Option<(&'a Host, u64)> {
        // Of ranks, which may be at several sites, the planner's policies alone say where.
        if self.0.is_empty() || demand.ranks != 1 {
            return None;
        }
        let least = demand.elastic.map_or(demand.each.cpu, |range| range.min);
        let least = Resources { cpu: least, ..demand.each.clone() };
        let open = (0..).zip(cluster.hosts()).filter(|(number, host)| {
            demand.constraints.allow(host) && cluster.free(HostId(*number)).fits(&least) > 0
        });
        let left = open.map(|(number, host)| (host, self.left(cluster, number, host)));
        // The first of those that have as much, whose name is the least.
        left.min_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.name.cmp(&other.0.name)))
    }
}

impl Advice for Surplus {
    fn cpus(&self, demand: &Demand, cluster: &Cluster) -> Option<Cpu> {
        let range = demand.elastic?;
        let (_, left) = self.best(demand, cluster)?;
        let whole = (left - left % WHOLE).max(range.min.0);
        (whole < demand.each.cpu.0).then_some(Cpu(whole))
    }

    fn site(&self, demand: &Demand, cluster: &Cluster) -> Option<String> {
        self.best(demand, cluster).map(|(host, _)| host.site.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::plan::{
        Attestation, BinPack, Constraints, CpuRange, Isa, Planner, Policies, Quotas, Reach,
    };
    use types::Bytes;

    fn cluster() -> Cluster {
        let host = |name: &str, cpus: u64| Host {
            name: name.into(),
            site: name.into(),
            labels: BTreeMap::new(),
            isa: Isa::X86_64,
            attestation: Attestation::None,
            cordoned: false,
            capacity: Resources::new(Cpu(cpus * 1000), Bytes(1 << 30)),
        };
        Cluster::new([host("cloud", 8), host("edge", 4)])
    }

    fn threads(cpus: u64) -> Demand {
        let range = CpuRange { min: Cpu(1000), max: Cpu(8000) };
        Demand {
            tenant: "default".into(),
            ranks: 1,
            each: Resources::new(Cpu(cpus * 1000), Bytes(0)),
            elastic: Some(range),
            reach: Reach::Host,
            constraints: Constraints::default(),
        }
    }

    fn surplus(site: &str, cpus: u64) -> Surplus {
        Surplus(BTreeMap::from([(site.to_owned(), Cpu(cpus * 1000))]))
    }

    fn planned(advice: &Surplus, demand: &Demand) -> (String, u64) {
        let cluster = cluster();
        let planner =
            Planner { policies: Policies::new(vec![Box::new(BinPack)]), quotas: Quotas::default() };
        let plan = planner.plan(&cluster, demand, advice).unwrap();
        (cluster.hosts()[plan.pieces[0].host.0 as usize].name.clone(), plan.cpu.0 / 1000)
    }

    #[test]
    fn programs_begin_where_services_really_leave_the_most() {
        // Packed, it would go to the fuller edge; nothing is said against that.
        assert_eq!(planned(&Surplus::default(), &threads(3)).0, "edge");
        // The edge's services use three processors more than they asked for.
        assert_eq!(planned(&surplus("edge", 3), &threads(3)), ("cloud".into(), 3));
        // At the cloud two are left, at the edge four.
        assert_eq!(planned(&surplus("cloud", 6), &threads(3)), ("edge".into(), 3));
    }

    #[test]
    fn an_elastic_program_begins_with_what_is_really_left() {
        assert_eq!(planned(&surplus("cloud", 6), &threads(6)), ("edge".into(), 4));
        let both = Surplus(BTreeMap::from([
            ("cloud".to_owned(), Cpu(7000)),
            ("edge".to_owned(), Cpu(2000)),
        ]));
        assert_eq!(planned(&both, &threads(4)), ("edge".into(), 2));
        // It never gets less than the demand allows.
        assert_eq!(planned(&surplus("edge", 9), &threads(1)).1, 1);
    }
}

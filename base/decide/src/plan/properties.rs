//! Random clusters and demands against a model that knows nothing of indexes.

use super::{
    tests::{host, planner, ranks},
    *,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use types::{Bytes, Cpu};

const LISTS: [&str; 7] = [
    "binpack",
    "spread",
    "locality",
    "locality,compaction",
    "elastic",
    "spread,elastic",
    "locality,compaction,elastic",
];

/// What happens to a cluster.
#[derive(Debug, Clone)]
enum Step {
    Start(Demand),
    /// The one of those that run, counted around.
    Finish(usize),
    /// All, or what room on one host gives occasion to.
    Compact(Option<usize>),
    Grow(usize),
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let host = (0..3_u8, 1..17_u64, 1..17_u64, 0..4_u64, any::<(bool, bool, bool)>());
    let host = host.prop_map(|(site, cpus, gib, gpus, (arm, measured, labelled))| {
        let mut capacity = Resources::new(Cpu(cpus * 1000 + 500), Bytes(gib << 30));
        capacity.devices.insert("gpu".into(), gpus);
        Host {
            name: String::new(),
            site: format!("site-{site}"),
            labels: labelled.then(|| ("tier".into(), "edge".into())).into_iter().collect(),
            isa: if arm { Isa::Aarch64 } else { Isa::X86_64 },
            attestation: if measured { Attestation::Tdx } else { Attestation::None },
            cordoned: cpus == 13,
            capacity,
        }
    });
    prop::collection::vec(host, 1..12).prop_map(|mut hosts| {
        for (number, host) in hosts.iter_mut().enumerate() {
            host.name = format!("host-{number}");
        }
        hosts
    })
}

fn constraints() -> impl Strategy<Value = Constraints> {
    let rarely = || prop::bool::weighted(0.15);
    (rarely(), rarely(), rarely(), rarely()).prop_map(|(site, label, isa, root)| Constraints {
        sites: site.then(|| "site-1".to_owned()).into_iter().collect(),
        labels: label.then(|| ("tier".into(), "edge".into())).into_iter().collect(),
        isas: isa.then_some(Isa::X86_64).into_iter().collect(),
        attestations: root.then_some(Attestation::Tdx).into_iter().collect(),
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    let reach = prop_oneof![Just(Reach::Host), Just(Reach::Site), Just(Reach::Anywhere)];
    let numbers = (1..25_u32, 1..9_u64, 0..4_u64, 0..8_u64, prop::bool::weighted(0.1));
    (numbers, reach, constraints(), any::<bool>()).prop_map(
        |((ranks, half_cpus, more, half_gib, gpu), reach, constraints, elastic)| {
            let cpu = |half: u64| Cpu(half * 500);
            let mut each = Resources::new(cpu(half_cpus), Bytes(half_gib << 29));
            if gpu {
                each.devices.insert("gpu".into(), 1);
            }
            let range =
                CpuRange { min: cpu(half_cpus.div_ceil(2)), max: cpu(half_cpus + 2 * more) };
            Demand {
                tenant: format!("tenant-{}", ranks % 3),
                ranks: if elastic { 1 } else { ranks },
                each,
                elastic: elastic.then_some(range),
                reach,
                constraints,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => demand().prop_map(Step::Start),
        3 => any::<usize>().prop_map(Step::Finish),
        2 => any::<Option<usize>>().prop_map(Step::Compact),
        1 => any::<usize>().prop_map(Step::Grow),
    ]
}

/// Recounts everything from the tissues alone.
fn recount(cluster: &Cluster) {
    let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
    for (number, host) in (0..).zip(cluster.hosts()) {
        let (id, mut left, mut lent) = (HostId(number), host.capacity.clone(), 0);
        for (tissue_id, tissue) in cluster.tissues() {
            let pieces: Vec<_> = tissue.pieces.iter().filter(|piece| piece.host == id).collect();
            assert!(pieces.len() <= 1, "one piece a host");
            assert_eq!(cluster.on(id).contains(&tissue_id), pieces.len() == 1);
            let Some(piece) = pieces.first() else { continue };
            let demand = &tissue.demand;
            let each = Resources { cpu: tissue.cpu, ..demand.each.clone() };
            assert!(left.fits(&each) >= piece.ranks, "over capacity: {host:?}");
            left.take(&each, piece.ranks);
            lent += tissue.lent.0;
            assert!(demand.constraints.allow(host), "{:?} on {host:?}", demand.constraints);
        }
        assert_eq!(cluster.free(id), &left);
        assert!(lent <= left.cpu.0, "lent beyond what is free");
        assert_eq!(cluster.idle(id), Cpu(left.cpu.0 - lent));
    }
    for (_, tissue) in cluster.tissues() {
        let demand = &tissue.demand;
        let sites: BTreeSet<_> =
            tissue.pieces.iter().map(|piece| cluster.site_of(piece.host)).collect();
        assert_eq!(tissue.pieces.iter().map(|piece| piece.ranks).sum::<u32>(), demand.ranks);
        assert!(demand.reach != Reach::Host || tissue.pieces.len() == 1);
        assert!(demand.reach == Reach::Anywhere || sites.len() == 1);
        let granted = tissue.granted();
        assert!(demand.cpu_min() <= tissue.cpu && granted <= demand.cpu_max(), "{tissue:?}");
        let each = Resources { cpu: tissue.cpu, ..demand.each.clone() };
        usage.entry(demand.tenant.clone()).or_default().add(&each, demand.ranks);
    }
    for tenant in ["tenant-0", "tenant-1", "tenant-2"] {
        let (known, counted) = (cluster.usage(tenant), usage.remove(tenant).unwrap_or_default());
        assert_eq!(known.tissues, counted.tissues);
        assert_eq!(known.resources.cpu, counted.resources.cpu);
        assert_eq!(known.resources.memory, counted.resources.memory);
    }
}

/// How many ranks fit on each allowed host, by looking at all of them.
fn naive_fits(cluster: &Cluster, demand: &Demand) -> Vec<(usize, u32)> {
    let hosts = cluster.hosts().iter().zip(0..);
    let allowed = hosts.filter(|(host, _)| demand.constraints.allow(host));
    let fits = allowed.map(|(_, id)| {
        let id = HostId(id);
        (cluster.site_of(id).0 as usize, cluster.free(id).fits(&demand.each))
    });
    fits.collect()
}

/// Whether there is room, and the fewest sites and hosts that there can be: ranks are all alike,
/// so that the roomiest come first.
fn naive_best(cluster: &Cluster, demand: &Demand) -> Option<(usize, usize)> {
    let fits = naive_fits(cluster, demand);
    let greedy = |sites: u32| {
        let of = |site: usize| sites & (1 << site) != 0;
        let mut rooms: Vec<u32> =
            fits.iter().filter(|(site, _)| of(*site)).map(|(_, fits)| *fits).collect();
        rooms.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = demand.ranks;
        let hosts = rooms.iter().take_while(|fits| {
            let needed = left > 0 && **fits > 0;
            left = left.saturating_sub(**fits);
            needed
        });
        let hosts = hosts.count();
        (left == 0).then_some((sites.count_ones() as usize, hosts))
    };
    let best = (1..1_u32 << cluster.sites().len()).filter_map(greedy).min()?;
    match demand.reach {
        Reach::Host => (best.1 == 1).then_some(best),
        Reach::Site => (best.0 == 1).then_some(best),
        Reach::Anywhere => Some(best),
    }
}

/// Plans, and compares with what looking at every host would have found.
fn plan(list: &str, planner: &Planner, cluster: &Cluster, demand: &Demand) -> Option<Plan> {
    let plan = planner.plan(cluster, demand, &NoAdvice);
    assert_eq!(plan, planner.plan(cluster, demand, &NoAdvice), "the same again");
    let best = naive_best(cluster, demand);
    let asked = plan.as_ref().filter(|plan| plan.cpu == demand.each.cpu);
    assert_eq!(asked.is_some(), best.is_some(), "{list}: {demand:?} in {cluster:?}");
    if let (Some(plan), Some((sites, hosts))) = (asked, best)
        && list.contains("locality")
    {
        let found = Scatter::of(cluster, &plan.pieces);
        assert_eq!(found.sites, sites, "fewest sites: {plan:?}");
        assert!(sites > 1 || found.hosts == hosts, "fewest hosts: {plan:?}, not {hosts}");
    }
    if plan.is_some() {
        planner.admit(cluster, demand).expect("what has room now had it when all was empty");
    }
    plan
}

fn carry_out(list: &str, planner: &Planner, cluster: &mut Cluster, id: u64, step: Step) {
    match step {
        Step::Start(demand) => {
            if let Some(plan) = plan(list, planner, cluster, &demand) {
                cluster.start(TissueId(id), Arc::new(demand), plan).unwrap();
            }
        }
        Step::Finish(which) => {
            let all: Vec<TissueId> = cluster.tissues().map(|(id, _)| id).collect();
            if let Some(id) = all.get(which % all.len().max(1)) {
                cluster.finish(*id).unwrap();
            }
        }
        Step::Compact(None) => compact(planner, cluster, Scope::All),
        Step::Compact(Some(host)) => {
            let host = HostId(u32::try_from(host % cluster.hosts().len()).unwrap());
            compact(planner, cluster, Scope::Hosts(&[host]));
        }
        Step::Grow(host) => {
            let host = HostId(u32::try_from(host % cluster.hosts().len()).unwrap());
            let before = cluster.idle(host);
            for grant in planner.policies.grow(cluster, host) {
                cluster.grant(grant).unwrap();
            }
            assert!(cluster.idle(host) <= before);
            assert_eq!(planner.policies.grow(cluster, host), [], "all that can be lent is");
        }
    }
}

/// Carries out migrations until there are none; each lowers fragmentation.
fn compact(planner: &Planner, cluster: &mut Cluster, scope: Scope<'_>) {
    while let Some(migration) = planner.policies.rebalance(cluster, scope) {
        let before = cluster.scatter();
        cluster.migrate(&migration).unwrap();
        let after = cluster.scatter();
        assert!(after.is_below(&before), "{before:?} {after:?}");
        recount(cluster);
    }
}

/// Counts by looking at every pair of ranks.
fn naive_scatter(cluster: &Cluster) -> Scatter {
    let mut sum = Scatter::default();
    for (_, tissue) in cluster.tissues() {
        let ranks = tissue.pieces.iter().flat_map(|piece| (0..piece.ranks).map(|_| piece.host));
        let ranks: Vec<HostId> = ranks.collect();
        sum.hosts += ranks.iter().collect::<BTreeSet<_>>().len();
        sum.sites += ranks.iter().map(|host| cluster.site_of(*host)).collect::<BTreeSet<_>>().len();
        for (at, one) in ranks.iter().enumerate() {
            for other in &ranks[at + 1..] {
                sum.pairs += 1;
                sum.across_hosts += u64::from(one != other);
                sum.across_sites += u64::from(cluster.site_of(*one) != cluster.site_of(*other));
            }
        }
    }
    sum
}

fn tell(hosts: &[Host], steps: &[Step], list: &str) -> String {
    let planner = planner(list);
    let mut cluster = Cluster::new(hosts.to_vec());
    for (step, id) in steps.iter().zip(0..) {
        carry_out(list, &planner, &mut cluster, id, step.clone());
        recount(&cluster);
    }
    format!("{cluster:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_capacity_constraint_or_range_is_ever_broken_and_room_is_found(
        hosts in hosts(),
        steps in prop::collection::vec(step(), 1..40),
        list in prop::sample::select(&LISTS[..]),
    ) {
        let first = tell(&hosts, &steps, list);
        prop_assert_eq!(first, tell(&hosts, &steps, list), "the same steps lead to the same");
    }

    #[test]
    fn compaction_only_lowers_fragmentation_and_comes_to_an_end(
        cpus in prop::collection::vec((0..3_u8, 1..9_u64), 2..10),
        sizes in prop::collection::vec(2..14_u32, 2..14),
        ended in prop::collection::vec(any::<bool>(), 14),
        scope in prop::sample::select(&[None, Some(0), Some(1)][..]),
    ) {
        let (spread, compaction) = (planner("spread"), planner("compaction"));
        let hosts = cpus.iter().enumerate().map(|(number, (site, cpus))| {
            host(&format!("host-{number}"), &format!("site-{site}"), *cpus)
        });
        let mut cluster = Cluster::new(hosts);
        for (size, id) in sizes.iter().zip(0..) {
            let demand = ranks(*size);
            if let Some(plan) = spread.plan(&cluster, &demand, &NoAdvice) {
                cluster.start(TissueId(id), Arc::new(demand), plan).unwrap();
            }
        }
        for (ended, id) in ended.into_iter().zip(0..) {
            if ended {
                let _ = cluster.finish(TissueId(id));
            }
        }
        let before = cluster.scatter();
        match scope {
            None => compact(&compaction, &mut cluster, Scope::All),
            Some(host) => compact(&compaction, &mut cluster, Scope::Hosts(&[HostId(host)])),
        }
        let after = cluster.scatter();
        prop_assert!(after == before || after.is_below(&before));
        prop_assert_eq!(after, naive_scatter(&cluster));
    }

    #[test]
    fn advice_never_widens_what_a_demand_allows(
        hosts in hosts(),
        demands in prop::collection::vec((demand(), 0..20_u64, 0..5_u8), 1..12),
        list in prop::sample::select(&LISTS[..]),
    ) {
        struct Says(u64, u8);
        impl Advice for Says {
            fn cpus(&self, _: &Demand, _: &Cluster) -> Option<Cpu> {
                Some(Cpu(self.0 * 500))
            }
            fn site(&self, _: &Demand, _: &Cluster) -> Option<String> {
                Some(format!("site-{}", self.1))
            }
        }
        let planner = planner(list);
        let mut cluster = Cluster::new(hosts);
        for ((demand, cpus, site), id) in demands.into_iter().zip(0..) {
            let alone = planner.plan(&cluster, &demand, &NoAdvice);
            let advised = planner.plan(&cluster, &demand, &Says(cpus, site));
            prop_assert!(alone.is_none() || advised.is_some(), "advice takes nothing away");
            if let Some(plan) = advised {
                cluster.start(TissueId(id), Arc::new(demand), plan).unwrap();
            }
            recount(&cluster);
        }
    }
}

//! What each policy promises, on clusters small enough to check by hand.

use super::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use types::{Bytes, Cpu};

const GIB: u64 = 1 << 30;

pub(super) fn host(name: &str, site: &str, cpus: u64) -> Host {
    Host {
        name: name.into(),
        site: site.into(),
        labels: BTreeMap::new(),
        isa: Isa::X86_64,
        attestation: Attestation::None,
        cordoned: false,
        capacity: Resources::new(Cpu(cpus * 1000), Bytes(cpus * GIB)),
    }
}

pub(super) fn ranks(ranks: u32) -> Demand {
    Demand {
        tenant: "t".into(),
        ranks,
        each: Resources::new(Cpu(1000), Bytes(GIB / 2)),
        elastic: None,
        reach: Reach::Anywhere,
        constraints: Constraints::default(),
    }
}

pub(super) fn threads(min: u64, asked: u64, max: u64) -> Demand {
    Demand {
        each: Resources::new(Cpu(asked * 1000), Bytes(GIB)),
        elastic: Some(CpuRange { min: Cpu(min * 1000), max: Cpu(max * 1000) }),
        reach: Reach::Host,
        ..ranks(1)
    }
}

pub(super) fn planner(list: &str) -> Planner {
    Planner { policies: Policies::parse(list).unwrap(), quotas: Quotas::default() }
}

/// Places and starts; says on which hosts, and how many ranks on each.
fn run(planner: &Planner, cluster: &mut Cluster, id: u64, demand: Demand) -> Vec<(u32, u32)> {
    let plan = planner.plan(cluster, &demand, &NoAdvice).expect("there is room");
    let pieces = plan.pieces.iter().map(|piece| (piece.host.0, piece.ranks)).collect();
    cluster.start(TissueId(id), Arc::new(demand), plan).unwrap();
    pieces
}

fn two_sites() -> Cluster {
    Cluster::new([
        host("a0", "a", 4),
        host("a1", "a", 4),
        host("b0", "b", 8),
        host("b1", "b", 8),
        host("b2", "b", 8),
    ])
}

#[test]
fn binpack_fills_and_spread_evens_out() {
    let (mut packed, mut spread) = (two_sites(), two_sites());

    assert_eq!(run(&planner("binpack"), &mut packed, 1, ranks(2)), [(0, 2)]);
    assert_eq!(run(&planner("binpack"), &mut packed, 2, ranks(4)), [(0, 2), (1, 2)]);
    let mut placed = run(&planner("spread"), &mut spread, 1, ranks(6));
    placed.sort_unstable();
    assert_eq!(placed, [(2, 2), (3, 2), (4, 2)]);
}

#[test]
fn locality_takes_one_host_then_one_site_then_few_hosts() {
    let policy = planner("locality");
    let mut cluster = two_sites();

    assert_eq!(run(&policy, &mut cluster, 1, ranks(4)), [(0, 4)], "the tightest host");
    assert_eq!(run(&policy, &mut cluster, 2, ranks(7)).len(), 1, "a whole one of `b`");
    let placed = run(&policy, &mut cluster, 3, ranks(12));
    let at_b = placed.iter().all(|(host, _)| *host >= 2);
    assert!(at_b && placed.len() == 2, "two hosts of one site: {placed:?}");
    let last = run(&policy, &mut cluster, 4, ranks(9));
    let scatter = cluster.tissue(TissueId(4)).map(|tissue| Scatter::of(&cluster, &tissue.pieces));
    assert_eq!(scatter.unwrap().sites, 2, "only both sites have room: {last:?}");
}

#[test]
fn every_constraint_excludes() {
    let mut hosts = vec![host("plain", "a", 8)];
    let labels = BTreeMap::from([("tier".to_owned(), "edge".to_owned())]);
    hosts.push(Host { labels: labels.clone(), ..host("edge", "a", 8) });
    hosts.push(Host { isa: Isa::Aarch64, ..host("arm", "a", 8) });
    hosts.push(Host { attestation: Attestation::SevSnp, ..host("measured", "a", 8) });
    hosts.push(host("far", "b", 8));
    hosts.push(Host { cordoned: true, ..host("cordoned", "c", 64) });
    let mut gpu = host("gpu", "a", 8);
    gpu.capacity.devices.insert("gpu-slices".into(), 7);
    hosts.push(gpu);
    let with = |constraints| Demand { constraints, ..ranks(2) };
    let mut on_gpu = ranks(2);
    on_gpu.each.devices.insert("gpu-slices".into(), 3);
    let none = Constraints::default;
    let cases = [
        (with(Constraints { labels, ..none() }), 1),
        (with(Constraints { isas: BTreeSet::from([Isa::Aarch64]), ..none() }), 2),
        (with(Constraints { attestations: BTreeSet::from([Attestation::SevSnp]), ..none() }), 3),
        (with(Constraints { sites: BTreeSet::from(["b".to_owned()]), ..none() }), 4),
        (on_gpu, 6),
    ];

    for list in ["binpack", "spread", "locality", "compaction", "elastic"] {
        for (demand, only) in &cases {
            let mut cluster = Cluster::new(hosts.clone());
            let placed = run(&planner(list), &mut cluster, 1, demand.clone());
            assert_eq!(placed, [(*only, 2)], "{list}: {demand:?}");
        }
        let cluster = Cluster::new(hosts.clone());
        let at_c = with(Constraints { sites: BTreeSet::from(["c".to_owned()]), ..none() });
        assert_eq!(planner(list).plan(&cluster, &at_c, &NoAdvice), None, "{list}");
    }
}

#[test]
fn compaction_brings_ranks_together_and_then_rests() {
    let policy = planner("locality,compaction");
    let mut cluster = Cluster::new([host("h0", "a", 4), host("h1", "a", 4)]);
    run(&policy, &mut cluster, 1, ranks(3));
    run(&policy, &mut cluster, 2, ranks(3));
    assert_eq!(run(&policy, &mut cluster, 3, ranks(2)).len(), 2, "one on each host");
    assert_eq!(policy.policies.rebalance(&cluster, Scope::All), None, "nothing is free");

    cluster.finish(TissueId(1)).unwrap();
    let migration = policy.policies.rebalance(&cluster, Scope::Hosts(&[HostId(0)])).unwrap();
    assert_eq!((migration.tissue, migration.ranks()), (TissueId(3), 1));
    assert_eq!(migration.bytes(&ranks(2)), Bytes(GIB / 2));
    cluster.migrate(&migration).unwrap();

    assert_eq!(cluster.scatter().across_hosts, 0);
    assert_eq!(policy.policies.rebalance(&cluster, Scope::All), None);
}

#[test]
fn idle_cpus_are_lent_and_taken_back() {
    let policy = planner("binpack,elastic");
    let mut cluster = Cluster::new([host("h0", "a", 8)]);
    run(&policy, &mut cluster, 1, threads(1, 2, 4));
    run(&policy, &mut cluster, 2, threads(1, 2, 8));

    let grants = policy.policies.grow(&cluster, HostId(0));
    let cpus: Vec<u64> = grants.iter().map(|grant| grant.cpu.0).collect();
    assert_eq!(cpus, [4000, 4000]);
    for grant in grants {
        cluster.grant(grant).unwrap();
    }
    assert_eq!(cluster.idle(HostId(0)), Cpu(0));
    assert_eq!(cluster.usage("t").resources.cpu, Cpu(4000), "loans are free of charge");
    let plan = policy.plan(&cluster, &ranks(3), &NoAdvice).unwrap();
    let reclaimed = cluster.start(TissueId(3), Arc::new(ranks(3)), plan).unwrap();

    assert_eq!(reclaimed.iter().map(|grant| grant.cpu.0).sum::<u64>(), 5000);
    let squeezed = policy.plan(&cluster, &threads(1, 4, 4), &NoAdvice).unwrap();
    assert_eq!(squeezed.cpu, Cpu(1000), "it starts with what is left");
    assert_eq!(policy.plan(&cluster, &threads(2, 4, 4), &NoAdvice), None);
}

/// An adviser with fixed answers.
struct Says(Option<u64>, &'static str);

impl Advice for Says {
    fn cpus(&self, _: &Demand, _: &Cluster) -> Option<Cpu> {
        self.0.map(|cpus| Cpu(cpus * 1000))
    }

    fn site(&self, _: &Demand, _: &Cluster) -> Option<String> {
        Some(self.1.to_owned())
    }
}

#[test]
fn advice_is_followed_within_what_the_demand_allows() {
    let cluster = two_sites();
    let policy = planner("locality,elastic");
    let plan = |demand: &Demand, cpus, site| {
        let plan = policy.plan(&cluster, demand, &Says(cpus, site)).unwrap();
        (
            plan.cpu.0 / 1000,
            cluster.sites()[cluster.site_of(plan.pieces[0].host).0 as usize].clone(),
        )
    };
    let elastic = threads(1, 2, 4);
    let pinned = Constraints { sites: BTreeSet::from(["a".to_owned()]), ..Constraints::default() };
    let pinned = Demand { constraints: pinned, ..elastic.clone() };

    assert_eq!(plan(&elastic, Some(3), "b"), (3, "b".into()));
    assert_eq!(plan(&elastic, Some(5), "b"), (2, "b".into()), "more than its most");
    assert_eq!(plan(&elastic, Some(0), "nowhere"), (2, "a".into()), "nonsense");
    assert_eq!(plan(&pinned, Some(4), "b"), (4, "a".into()), "a site that it excludes");
    assert_eq!(plan(&ranks(2), Some(3), "b"), (1, "b".into()), "it is not elastic");
    assert_eq!(plan(&threads(1, 6, 8), Some(8), "a"), (8, "b".into()), "no room at `a`");
}

#[test]
fn a_tenant_is_refused_beyond_its_quota_with_figures() {
    let mut policy = planner("binpack");
    let quota = Quota { cpu: Some(Cpu(5000)), tissues: Some(2), ..Quota::default() };
    policy.quotas.tenants.insert("t".into(), quota);
    let mut cluster = two_sites();
    policy.admit(&cluster, &ranks(4)).unwrap();
    run(&policy, &mut cluster, 1, ranks(4));

    let refusal = policy.admit(&cluster, &ranks(2)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "tenant `t` may have `5` CPUs and uses `4`: `2` more are asked for"
    );
    assert!(refusal.may_pass());
    assert!(!policy.admit(&cluster, &ranks(6)).unwrap_err().may_pass(), "it never fits");
    policy.admit(&cluster, &Demand { tenant: "other".into(), ..ranks(6) }).unwrap();
    run(&policy, &mut cluster, 2, ranks(1));
    let refusal = policy.admit(&cluster, &threads(1, 1, 1)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "tenant `t` may have `5` CPUs and uses `5`: `1` more are asked for"
    );
    cluster.finish(TissueId(1)).unwrap();
    cluster.finish(TissueId(2)).unwrap();
    assert_eq!(cluster.usage("t"), Usage::default());
    policy.quotas.default.memory = Some(Bytes(GIB));
    policy.quotas.default.devices.insert("gpu".into(), 1);
    let mut greedy = Demand { tenant: "other".into(), ..ranks(4) };
    let refusal = policy.admit(&cluster, &greedy).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "tenant `other` may have `1Gi` of memory and uses `0`: `2Gi` more are asked for"
    );
    greedy.ranks = 2;
    greedy.each.devices.insert("gpu".into(), 1);
    assert!(matches!(policy.quotas.admit(&cluster, &greedy), Err(Refusal::Device { .. })));
}

#[test]
fn what_no_empty_cluster_could_hold_is_refused_with_the_reason() {
    let cluster = two_sites();
    let refusal = |demand: &Demand| planner("binpack").admit(&cluster, demand).unwrap_err();
    let text = |demand: &Demand| refusal(demand).to_string();

    assert_eq!(
        text(&ranks(33)),
        "33 ranks are asked for, and 32 would fit if every host were empty"
    );
    let at_one = Demand { reach: Reach::Site, ..ranks(25) };
    assert_eq!(text(&at_one), "25 ranks are asked for, and 24 would fit if site `b` were empty");
    let at_one = Demand { reach: Reach::Host, ..ranks(9) };
    assert_eq!(text(&at_one), "9 ranks are asked for, and 8 would fit if host `b0` were empty");
    let wide = threads(9, 9, 16);
    assert_eq!(text(&wide), "no host can ever take a rank: `b2` has `8` CPUs, `9` are needed");
    let mut gpu = ranks(1);
    gpu.each.devices.insert("gpu".into(), 1);
    assert!(text(&gpu).ends_with("has 0 shares of `gpu`, 1 are needed"), "{}", text(&gpu));
    assert_eq!(text(&ranks(0)), "0 ranks are asked for: a tissue has from 1 to 1000000");
    assert!(matches!(refusal(&ranks(u32::MAX)), Refusal::Demand(DemandError::Ranks { .. })));
    assert!(text(&threads(3, 2, 4)).contains("not from min `3` to max `4`"));
    assert!(!refusal(&wide).may_pass());
    assert!(matches!(
        refusal(&Demand { elastic: wide.elastic, ..ranks(2) }),
        Refusal::Demand(DemandError::ElasticRanks { ranks: 2 })
    ));
    let mut endless = ranks(2);
    endless.each.memory = Bytes(u64::MAX);
    assert_eq!(refusal(&endless), Refusal::Demand(DemandError::TooLarge));
}

#[test]
fn a_cluster_refuses_wrong_plans_and_stays_as_it_was() {
    let mut cluster = two_sites();
    let before = format!("{cluster:?}");
    let piece = |host, ranks| Piece { host: HostId(host), ranks };
    let mut start = |demand: Demand, cpu, pieces: &[Piece]| {
        let plan = Plan { cpu: Cpu(cpu), pieces: pieces.to_vec() };
        cluster.start(TissueId(1), Arc::new(demand), plan).unwrap_err().to_string()
    };

    assert_eq!(start(ranks(5), 1000, &[piece(0, 5)]), "host `a0` has room for 4 of 5 ranks");
    assert_eq!(start(ranks(2), 1000, &[piece(0, 1)]), "the plan places 1 ranks of 2");
    assert_eq!(start(ranks(1), 1000, &[piece(9, 1)]), "there is no host 9");
    assert!(start(ranks(2), 1000, &[piece(0, 1), piece(0, 1)]).contains("one piece"));
    assert!(start(ranks(1), 2000, &[piece(0, 1)]).contains("not from `1` to `1`"));
    let near = Demand { reach: Reach::Site, ..ranks(2) };
    assert!(start(near, 1000, &[piece(0, 1), piece(2, 1)]).contains("2 hosts at 2 sites"));
    let arm = Constraints { isas: BTreeSet::from([Isa::Aarch64]), ..Constraints::default() };
    let arm = Demand { constraints: arm, ..ranks(1) };
    assert!(start(arm, 1000, &[piece(0, 1)]).contains("`a0` is X86_64"));
    assert_eq!(format!("{cluster:?}"), before);
    let gone = Grant { tissue: TissueId(7), cpu: Cpu(1) };
    assert_eq!(cluster.grant(gone), Err(PlanError::Unknown(TissueId(7))));
}

#[test]
fn what_runs_is_counted_where_newcomers_are_not_let_in() {
    let closed = || Host { cordoned: true, ..host("a0", "a", 4) };
    let plan = |ranks| Plan { cpu: Cpu(1000), pieces: vec![Piece { host: HostId(0), ranks }] };
    let mut cluster = Cluster::new([closed()]);

    assert!(cluster.start(TissueId(1), Arc::new(ranks(3)), plan(3)).is_err());
    cluster.adopt(TissueId(1), Arc::new(ranks(3)), plan(3)).unwrap();

    assert_eq!(cluster.usage("t").resources.cpu, Cpu(3000));
    let refused = cluster.adopt(TissueId(2), Arc::new(ranks(2)), plan(2)).unwrap_err();
    assert_eq!(refused.to_string(), "host `a0` has room for 1 of 2 ranks");
}

#[test]
fn lists_of_policies_are_read() {
    let name = |list: &str| Policies::parse(list).map(|policies| policies.name());
    let wrong = |list: &str| name(list).unwrap_err().to_string();

    assert_eq!(name("locality, compaction,elastic").unwrap(), "locality,compaction,elastic");
    assert_eq!(name("compaction").unwrap(), "compaction,locality", "it needs one that places");
    assert_eq!(name("elastic").unwrap(), "elastic,binpack");
    assert!(wrong("").contains("`` is no policy"));
    assert!(wrong("best").contains("use binpack, spread, locality, compaction and elastic"));
    assert_eq!(wrong("elastic,elastic"), "`elastic` is named twice");
    assert!(wrong("binpack,spread").contains("`binpack` and `spread` both say"));
}

#[test]
fn moves_are_as_few_as_there_can_be() {
    let piece = |host, ranks| Piece { host: HostId(host), ranks };
    let before = [piece(0, 3), piece(1, 2), piece(2, 1)];

    let migration = Migration::between(TissueId(1), &before, vec![piece(1, 4), piece(3, 2)]);

    let moves: Vec<_> =
        migration.moves.iter().map(|moved| (moved.from.0, moved.to.0, moved.ranks)).collect();
    assert_eq!(moves, [(0, 1, 2), (0, 3, 1), (2, 3, 1)]);
    assert_eq!(migration.ranks(), 4);
}

#[test]
fn hosts_that_claim_more_than_can_be_counted_are_cut() {
    let mut boasting = host("h0", "a", 4);
    boasting.capacity = Resources::new(Cpu(u64::MAX), Bytes(u64::MAX));
    boasting.capacity.devices.insert("gpu".into(), u64::MAX);
    let mut cluster = Cluster::new([boasting.clone(), Host { name: "h1".into(), ..boasting }]);
    let policy = planner("binpack");
    let mut whole = ranks(2);
    whole.each = cluster.hosts()[0].capacity.clone();

    assert_eq!(run(&policy, &mut cluster, 1, whole.clone()), [(0, 1), (1, 1)]);
    assert_eq!(policy.plan(&cluster, &ranks(1), &NoAdvice), None);
    cluster.finish(TissueId(1)).unwrap();
    assert_eq!(cluster.free(HostId(1)), &whole.each);
}

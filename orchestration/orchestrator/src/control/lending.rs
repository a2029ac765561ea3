//! Processors that nobody has at a site are lent to its elastic tissues.

use super::{
    cache::{Cache, Cell},
    runs,
};
use api::cell::Form;
use decide::plan::{
    Attestation, Cluster, Constraints, CpuRange, Demand, Elastic, Host, HostId, Isa, Piece, Plan,
    Policy, Reach, Resources, TissueId,
};
use std::{collections::BTreeMap, sync::Arc};
use types::{Bytes, Cpu};

/// Processors that each elastic tissue of a site may use now, by uid: its own and those lent.
/// None where what runs there asks for all there are, or for more.
pub(super) fn grants(cache: &Cache, site: &str) -> BTreeMap<String, u32> {
    let runs: Vec<&Arc<Cell>> = cache
        .runs()
        .filter(|run| runs::is_at(run, site) && run.status.ended.is_none() && !run.deleting())
        .collect();
    if !runs.iter().any(|run| demand(run, site).elastic.is_some()) {
        return BTreeMap::new();
    }
    lend(cache, site, &runs).unwrap_or_default()
}

fn lend(cache: &Cache, site: &str, runs: &[&Arc<Cell>]) -> Option<BTreeMap<String, u32>> {
    let capacity = cache.sites.get(site)?.status.cpu;
    let served = cache
        .services
        .values()
        .filter(|service| service.status.site.as_deref() == Some(site) && !service.deleting());
    let served: u64 = served.map(|service| service.spec.resources.cpu.0).sum();
    let left = Cpu(capacity.0.saturating_sub(served));
    let mut cluster = Cluster::new([host(site, left)]);
    for (id, run) in (0..).zip(runs) {
        let demand = demand(run, site);
        let ranks = demand.ranks;
        let plan = Plan { cpu: demand.each.cpu, pieces: vec![Piece { host: HostId(0), ranks }] };
        // Where there is no room for what runs, there is nothing to lend.
        cluster.start(TissueId(id), Arc::new(demand), plan).ok()?;
    }
    let grants = Elastic.grow(&cluster, HostId(0));
    let told = grants.into_iter().filter_map(|grant| {
        let run = runs.get(usize::try_from(grant.tissue.0).ok()?)?;
        Some((run.uid().to_owned(), (grant.cpu.0 / 1000) as u32))
    });
    Some(told.collect())
}

fn host(site: &str, cpu: Cpu) -> Host {
    Host {
        name: site.to_owned(),
        site: site.to_owned(),
        labels: BTreeMap::new(),
        isa: Isa::X86_64,
        attestation: Attestation::None,
        cordoned: false,
        // Memory is not lent.
        capacity: Resources::new(cpu, Bytes(u64::MAX)),
    }
}

fn demand(run: &Cell, site: &str) -> Demand {
    let cpus = |count: u32| Cpu(u64::from(count) * 1000);
    let (ranks, cpu, elastic) = match &run.spec.form {
        Some(Form::Ranks(_)) => (runs::ranks_at(run, site), cpus(1), None),
        Some(Form::Threads(threads)) => {
            let range = CpuRange { min: cpus(threads.cpus), max: cpus(threads.ceiling()) };
            (1, cpus(threads.cpus), threads.elastic.then_some(range))
        }
        None => (1, cpus(1), None),
    };
    Demand {
        tenant: run.id().tenant,
        ranks,
        each: Resources::new(cpu, Bytes(0)),
        elastic,
        reach: Reach::default(),
        constraints: Constraints::default(),
    }
}

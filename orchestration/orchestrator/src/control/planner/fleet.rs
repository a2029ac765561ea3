//! Sites as hosts, with what runs there.

use super::super::cache::{Cache, Cell, Site};
use api::{
    cell::{CellSpec, Form},
    tissue::Layout,
};
use decide::plan::{
    Attestation, Cluster, Constraints, CpuRange, Demand, Host, HostId, Isa, Piece, Plan, Reach,
    Resources, TissueId,
};
use std::{collections::BTreeMap, sync::Arc};
use types::{Bytes, Cpu};

/// What a WebAssembly program can address, which is also the default limit.
const ADDRESSABLE: Bytes = Bytes(4 << 30);

/// What counts as a program's memory.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Memory {
    /// The most that it may take: what tenants answer for.
    Limit,
    /// What it is said to need. A program whose limit is all that it can address says nothing:
    /// counted in full, a site would have room for a handful of programs that need little.
    Need,
}

impl Memory {
    fn of(self, limit: Bytes) -> Bytes {
        match self {
            Self::Limit => limit.min(ADDRESSABLE),
            Self::Need if limit < ADDRESSABLE => limit,
            Self::Need => Bytes(0),
        }
    }
}

/// Hosts, and the programs on them by their number.
pub(in super::super) struct Fleet {
    pub(in super::super) cluster: Cluster,
    pub(in super::super) runs: Vec<Arc<Cell>>,
}

impl Fleet {
    /// These hosts with all that runs there. One that was given more than it has is full.
    pub(in super::super) fn new(cache: &Cache, mut hosts: Vec<Host>) -> Self {
        let number: BTreeMap<String, u32> =
            (0..).zip(&hosts).map(|(number, host)| (host.name.clone(), number)).collect();
        let mut used = vec![Resources::default(); hosts.len()];
        let mut known = Vec::new();
        for run in cache.runs().filter(|run| is_open(run)) {
            let at = |(site, ranks): (&str, u32)| {
                Some(Piece { host: HostId(*number.get(site)?), ranks })
            };
            let pieces: Vec<Piece> = places(run).into_iter().filter_map(at).collect();
            let mut demand = demand(&run.id().tenant, &run.spec, Memory::Need);
            demand.ranks = pieces.iter().map(|piece| piece.ranks).sum();
            if demand.ranks == 0 || demand.check().is_err() {
                continue;
            }
            for piece in &pieces {
                add(&mut used[piece.host.0 as usize], &demand, piece.ranks);
            }
            known.push((run, demand, pieces));
        }
        for (host, used) in hosts.iter_mut().zip(&used) {
            host.capacity.cpu = host.capacity.cpu.max(used.cpu);
            host.capacity.memory = host.capacity.memory.max(used.memory);
        }
        let mut fleet = Self { cluster: Cluster::new(hosts), runs: Vec::new() };
        for (run, demand, pieces) in known {
            let (id, plan) = (fleet.runs.len() as u64, Plan { cpu: demand.each.cpu, pieces });
            if fleet.cluster.adopt(TissueId(id), Arc::new(demand), plan).is_ok() {
                fleet.runs.push(run.clone());
            }
        }
        fleet
    }

    /// One of its programs.
    pub(in super::super) fn run(&self, id: TissueId) -> Option<&Arc<Cell>> {
        self.runs.get(usize::try_from(id.0).ok()?)
    }
}

fn add(used: &mut Resources, demand: &Demand, ranks: u32) {
    let times = |each: u64| each.saturating_mul(u64::from(ranks));
    used.cpu.0 = used.cpu.0.saturating_add(times(demand.each.cpu.0));
    used.memory.0 = used.memory.0.saturating_add(times(demand.each.memory.0));
}

/// Whether it runs, or is to.
pub(in super::super) fn is_open(run: &Cell) -> bool {
    run.status.ended.is_none() && !run.deleting()
}

/// A site as a host with what it offers to programs: services have the rest.
pub(in super::super) fn host(cache: &Cache, name: &str, site: &Site) -> Host {
    let (mut cpu, mut memory) = (site.status.cpu, site.status.memory);
    for service in cache.services.values().filter(|service| !service.deleting()) {
        let coming = service.status.migration.as_ref().map(|migration| migration.to.as_str());
        if service.status.site.as_deref() == Some(name) || coming == Some(name) {
            let resources = &service.spec.resources;
            cpu.0 = cpu.0.saturating_sub(resources.cpu.0);
            memory.0 = memory.0.saturating_sub(resources.memory.0);
        }
    }
    Host {
        name: name.to_owned(),
        site: name.to_owned(),
        labels: site.resource.metadata.labels.clone(),
        isa: Isa::X86_64,
        attestation: Attestation::None,
        cordoned: site.spec.cordoned,
        capacity: Resources::new(cpu, memory),
    }
}

/// What a program asks for: a processor for each rank or thread.
pub(in super::super) fn demand(tenant: &str, spec: &CellSpec, memory: Memory) -> Demand {
    let cpus = |count: u32| Cpu(u64::from(count) * 1000);
    let (ranks, cpu, elastic, reach) = match &spec.form {
        Some(Form::Ranks(ranks)) => (ranks.count, cpus(1), None, Reach::Anywhere),
        Some(Form::Threads(threads)) => {
            let range = CpuRange { min: cpus(threads.cpus), max: cpus(threads.ceiling()) };
            (1, cpus(threads.cpus), threads.elastic.then_some(range), Reach::Host)
        }
        None => (1, cpus(1), None, Reach::Host),
    };
    Demand {
        tenant: tenant.to_owned(),
        ranks,
        each: Resources::new(cpu, memory.of(spec.memory)),
        elastic,
        reach,
        constraints: Constraints::default(),
    }
}

/// How many ranks it has at which sites. While they move they count where they are and where they
/// go.
pub(in super::super) fn places(run: &Cell) -> BTreeMap<&str, u32> {
    let Some(Form::Ranks(form)) = &run.spec.form else {
        return run.status.site(&run.spec).into_iter().map(|site| (site, 1)).collect();
    };
    let Some(ranks) = &run.status.ranks else {
        let own = std::slice::from_ref(&run.spec.site);
        let sites = if form.sites.is_empty() { own } else { &form.sites };
        let layout = Layout { number: 0, places: form.places(sites.len()) };
        let count = |number: u32| layout.ranks(number).count() as u32;
        return (0..).zip(sites).map(|(number, site)| (site.as_str(), count(number))).collect();
    };
    let count = |number: u32| {
        let layouts = std::iter::once(&ranks.layout).chain(&ranks.next);
        layouts.map(|layout| layout.ranks(number).count() as u32).max().unwrap_or(0)
    };
    let members = ranks.members().into_iter();
    members.filter_map(|number| Some((ranks.site(number)?, count(number)))).collect()
}

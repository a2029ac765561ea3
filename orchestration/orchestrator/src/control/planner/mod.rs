//! The planner's place in the control plane: whether a tenant's cells and tissues may begin, and
//! where those begin whose site is to be chosen. The rules are those of [`decide::plan`]; here
//! sites become its hosts, and what is stored its cluster.

mod fleet;
mod quotas;

pub(super) use fleet::{Fleet, demand, host, is_open};

use super::{
    Config, Error, Result,
    advice::{Surplus, less},
    cache::{Cache, Cell, Id},
    decisions,
    sites::Sites,
    state::State,
    status::set_condition,
    views,
};
use api::{
    Kind, Resource,
    cell::{CellSpec, CellStatus, Form, Place, RanksStatus},
    decision::{Alternative, DecisionSpec},
};
use decide::plan::{
    self, BinPack, Cluster, Compaction, Demand, Host, HostId, Locality, Piece, Plan, Policies,
    Policy, Quotas, Refusal, Spread, TissueId,
};
use fleet::Memory;
use serde_json::json;
use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};
use types::{Bytes, Cpu, ErrorKind};

/// Most sites that a message or a decision names.
const NAMED_MAX: usize = 16;

/// What the control plane plans with.
pub(super) struct Planner {
    quotas: Quotas,
    /// Held from when a program is admitted until it is stored: two that are admitted at one time
    /// would both be given the same room.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Planner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner").field("quotas", &self.quotas).finish_non_exhaustive()
    }
}

/// Looks at the quotas in a control plane's data folder as its start does.
///
/// # Errors
/// [`Error::Quotas`] if the file is there and cannot be used, with the reason.
pub fn check_quotas(data_dir: &Path) -> Result<()> {
    quotas::read(data_dir).map(drop)
}

/// Where a new program goes.
pub(super) struct Chosen {
    pub(super) status: CellStatus,
    pub(super) decision: Resource,
}

impl Planner {
    /// Reads the quotas.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let quotas = quotas::read(&config.data_dir)?;
        Ok(Self { quotas, turn: tokio::sync::Mutex::default() })
    }

    /// Whether the tenant may run this beside its others.
    pub(super) fn admit(&self, cache: &Cache, kind: Kind, id: &Id, spec: &CellSpec) -> Result<()> {
        if self.quotas == Quotas::default() {
            return Ok(());
        }
        let own = |run: &&Arc<Cell>| {
            let itself = run.resource.kind == kind && run.id() == *id;
            is_open(run) && run.resource.metadata.tenant == id.tenant && !itself
        };
        let mut cluster = Cluster::new([everything()]);
        for (number, run) in (0..).zip(cache.runs().filter(own)) {
            let demand = demand(&id.tenant, &run.spec, Memory::Limit);
            let piece = Piece { host: HostId(0), ranks: demand.ranks };
            let plan = Plan { cpu: demand.each.cpu, pieces: vec![piece] };
            // It cannot fail: nobody can use up everything.
            let _ = cluster.adopt(TissueId(number), Arc::new(demand), plan);
        }
        let asked = demand(&id.tenant, spec, Memory::Limit);
        self.quotas.admit(&cluster, &asked).map_err(|refusal| {
            let advice = "wait until others of the tenant have ended, or delete one";
            let more = if refusal.may_pass() { advice } else { "it is more than it may ever have" };
            Error::refuse(kind_of(&refusal), format!("{refusal}: {more}"))
        })
    }

    /// Chooses where a new program begins, by the rule that it names. The adviser is what the
    /// learning plane saw services use.
    pub(super) fn choose(&self, state: &State, new: &Resource, rule: Place) -> Result<Chosen> {
        let spec: CellSpec = new.spec()?;
        let tenant = &new.metadata.tenant;
        let demand = demand(tenant, &spec, Memory::Need);
        let (hosts, closed, fleet) = survey(state, tenant);
        let planner = plan::Planner { policies: policies(rule), quotas: Quotas::default() };
        let looks = looks(&fleet.cluster, &demand, closed);
        let name = format!("{}/{}", new.kind.path(), new.metadata.name);
        let refuse = |kind, why: String| {
            let sites = looks.iter().take(NAMED_MAX).map(|look| format!("`{}` {}", look.0, look.2));
            let sites: Vec<String> = sites.collect();
            Error::refuse(kind, format!("`{name}`: {why}; {}", sites.join(", ")))
        };
        planner
            .admit(&Cluster::new(hosts), &demand)
            .map_err(|refusal| refuse(kind_of(&refusal), refusal.to_string()))?;
        let advice = state.both(|cache, live| Surplus::of(cache, live));
        let Some(plan) = planner.plan(&fleet.cluster, &demand, &advice) else {
            let why = format!("{}: wait until others have ended, or name sites", no_room(&demand));
            return Err(refuse(ErrorKind::Exhausted, why));
        };
        let places: Vec<(&str, u32)> = plan
            .pieces
            .iter()
            .filter_map(|piece| Some((host_name(&fleet.cluster, piece.host)?, piece.ranks)))
            .collect();
        let asked = (rule, &demand, &advice);
        let decision = explain(state, new, asked, &plan, (&places, looks));
        Ok(Chosen { status: status(state, &spec, &places), decision })
    }
}

fn no_room(demand: &Demand) -> String {
    let (ranks, plan::Resources { cpu, memory, .. }) = (demand.ranks, &demand.each);
    let each = match memory {
        Bytes(0) => format!("`{cpu}` CPUs"),
        memory => format!("`{cpu}` CPUs and `{memory}` of memory"),
    };
    match ranks {
        1 => format!("no site has {each} free for it now"),
        _ => format!("the sites have no room now for {ranks} ranks with {each} each"),
    }
}

fn host_name(cluster: &Cluster, host: HostId) -> Option<&str> {
    cluster.hosts().get(host.0 as usize).map(|host| host.name.as_str())
}

/// A host on which all that a tenant has is counted.
fn everything() -> Host {
    Host {
        name: String::new(),
        site: String::new(),
        labels: BTreeMap::new(),
        isa: plan::Isa::X86_64,
        attestation: plan::Attestation::None,
        cordoned: false,
        capacity: plan::Resources::new(Cpu(u64::MAX), Bytes(u64::MAX)),
    }
}

fn kind_of(refusal: &Refusal) -> ErrorKind {
    match refusal {
        Refusal::Demand(_) => ErrorKind::Invalid,
        _ => ErrorKind::Exhausted,
    }
}

fn policies(rule: Place) -> Policies {
    Policies::new(match rule {
        Place::Spread => vec![Box::new(Spread) as Box<dyn Policy>],
        Place::Locality => vec![Box::new(Locality)],
        Place::BinPack => vec![Box::new(BinPack)],
        Place::Compaction => vec![Box::new(Locality), Box::new(Compaction::default())],
    })
}

/// A site's name, what it is worth, and why.
type Look = (String, Option<f64>, String);

/// The sites that can be given programs of a tenant, the others with what is in the way, and all
/// that runs at the former.
fn survey(state: &State, tenant: &str) -> (Vec<Host>, Vec<Look>, Fleet) {
    let (now, most) = (state.clock.monotonic(), state.config.running_cells_max);
    state.both(|cache, live| {
        let view = views::sites(cache, live, state.lease());
        let (mut hosts, mut closed) = (Vec::new(), Vec::new());
        for (name, site) in &cache.sites {
            if !view.ready(name, now) {
                closed.push((name.clone(), None, "is not connected".to_owned()));
            } else if super::runs::count(cache, tenant, name) >= most {
                let why = format!("runs {most} cells of tenant `{tenant}`, as many as it may");
                closed.push((name.clone(), None, why));
            } else {
                hosts.push(host(cache, name, site));
            }
        }
        let fleet = Fleet::new(cache, hosts.clone());
        (hosts, closed, fleet)
    })
}

/// The sites that are connected, with what services really leave of them.
pub(super) fn open_hosts(state: &State, cache: &Cache, live: &Sites) -> Vec<Host> {
    let view = views::sites(cache, live, state.lease());
    let now = state.clock.monotonic();
    let open = cache.sites.iter().filter(|(name, _)| view.ready(name, now));
    open.map(|(name, site)| less(host(cache, name, site), live)).collect()
}

/// What there is at each site before the program goes there.
fn looks(cluster: &Cluster, demand: &Demand, closed: Vec<Look>) -> Vec<Look> {
    let open = (0..).zip(cluster.hosts()).map(|(number, host)| {
        let free = cluster.free(HostId(number));
        let room = format!("has `{}` CPUs and `{}` of memory free", free.cpu, free.memory);
        match demand.constraints.obstacle(host) {
            Some(obstacle) => (host.name.clone(), None, obstacle),
            None if free.fits(&demand.each) == 0 => (host.name.clone(), None, room),
            None => (host.name.clone(), Some(0.0), room),
        }
    });
    let mut looks: Vec<Look> = open.chain(closed).collect();
    looks.sort_by(|a, b| a.0.cmp(&b.0));
    looks
}

/// The status of a program that was given to these sites.
fn status(state: &State, spec: &CellSpec, places: &[(&str, u32)]) -> CellStatus {
    let mut status = CellStatus::default();
    let message = format!("its sites are {}", in_words(places));
    if let Some(Form::Ranks(_)) = &spec.form {
        let sites = places.iter().map(|(site, _)| (*site).to_owned()).collect();
        let numbers = (0..).zip(places);
        let places = numbers.flat_map(|(number, (_, ranks))| {
            std::iter::repeat_n(number, usize::try_from(*ranks).unwrap_or_default())
        });
        status.ranks = Some(RanksStatus::first(sites, places.collect()));
    } else {
        status.site = places.first().map(|(site, _)| (*site).to_owned());
    }
    let now = state.wall_ms();
    set_condition(&mut status.conditions, "Placed", true, "Placed", message, now);
    status
}

/// `edge:2 cloud:2`.
fn in_words(places: &[(&str, u32)]) -> String {
    let part = |(site, ranks): &(&str, u32)| format!("{site}:{ranks}");
    places.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn explain(
    state: &State,
    new: &Resource,
    (rule, demand, advice): (Place, &Demand, &Surplus),
    plan: &Plan,
    (places, mut looks): (&[(&str, u32)], Vec<Look>),
) -> Resource {
    for (site, ranks) in places {
        if let Some(look) = looks.iter_mut().find(|look| look.0 == *site) {
            look.1 = Some(f64::from(*ranks));
            let plural = if *ranks == 1 { "" } else { "s" };
            look.2 = match demand.ranks {
                1 => format!("{}; it was chosen", look.2),
                _ => format!("{}; it was given {ranks} rank{plural}", look.2),
            };
        }
    }
    // Those that were chosen are named whatever happens.
    looks.sort_by(|a, b| b.1.unwrap_or(-1.0).total_cmp(&a.1.unwrap_or(-1.0)));
    looks.truncate(NAMED_MAX.max(places.len()));
    let alternatives =
        looks.into_iter().map(|(name, score, reason)| Alternative { name, score, reason });
    let spec = DecisionSpec {
        action: "place".into(),
        subject: format!("{}/{}", new.kind.path(), new.metadata.name),
        by: "planner".into(),
        reason: match rule {
            Place::Spread => "ranks are spread: each goes where most CPUs are free",
            Place::Locality => "ranks are kept near each other: on the fewest sites with room",
            Place::BinPack => "the fullest sites are filled first, so that others stay empty",
            Place::Compaction => {
                "ranks are kept near each other, and come together when there is room"
            }
        }
        .into(),
        inputs: json!({
            "place": rule,
            "ranks": demand.ranks,
            "cpus": Cpu(demand.each.cpu.0.saturating_mul(u64::from(demand.ranks))),
            "sites": in_words(places),
            "usedBeyondAsked": advice.told(),
        }),
        alternatives: alternatives.collect(),
        prediction: match &demand.elastic {
            Some(_) => json!({"cpus": plan.cpu}),
            None => serde_json::Value::Null,
        },
        at: state.wall_ms(),
    };
    let decision = decisions::new(state, &new.metadata.tenant, &spec);
    decisions::ended(state, decision, decisions::DONE, json!({}))
}

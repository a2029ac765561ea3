//! Control groups of workers, so that tenants and programs do not disturb each other.

use super::{Config, Error, core::Core, error::Result, state::State, workers::WorkerId};
use api::{cell::Form, link::CellAssignment};
use isolation::{CpuSet, Group, Groups, Limits};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::{JoinHandle, spawn_blocking};
use types::Cpu;

/// Enough for the widest tissue, and a bomb of threads leaves the machine its own.
const TASKS_MAX: u32 = 4096;

/// What a worker may hold beside the memory of its cells: compiled code, buffers, and a compiler,
/// which has a limit of its own below this.
const HEADROOM_BYTES: u64 = 9 << 30;

/// The least share: a worker whose services are all elsewhere has still to let go of them.
const SHARE_MIN: u64 = 100;

/// Which processors the workers use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuSets {
    /// Those of tenants that have none of their own; all that there are, if absent.
    pub others: Option<CpuSet>,
    /// Tenants' own.
    pub tenants: BTreeMap<String, CpuSet>,
}

impl CpuSets {
    /// Reads `LIST`, for all, and `TENANT=LIST`.
    ///
    /// # Errors
    /// [`Error::Setting`] says what is no tenant and no set, or stands there twice.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let wrong = |reason| Error::Setting { field: "cpu_sets", reason };
        let mut sets = Self::default();
        for text in texts {
            let (tenant, list) = match text.split_once('=') {
                Some((tenant, list)) => (Some(tenant), list),
                None => (None, text.as_str()),
            };
            let set =
                list.parse().map_err(|error: isolation::CpuSetError| wrong(error.to_string()))?;
            let former = match tenant {
                Some(tenant) => {
                    types::check_name(tenant).map_err(|error| wrong(error.to_string()))?;
                    sets.tenants.insert(tenant.to_owned(), set)
                }
                None => sets.others.replace(set),
            };
            if former.is_some() {
                return Err(wrong(format!("`{text}` stands there for the second time")));
            }
        }
        Ok(sets)
    }

    fn of(&self, tenant: &str) -> Option<&CpuSet> {
        self.tenants.get(tenant).or(self.others.as_ref())
    }
}

/// What the site has for its workers.
#[derive(Debug)]
struct Offer {
    /// Nobody weighs more than the whole site, however many threads a program asks for.
    cpu: Cpu,
    sets: CpuSets,
}

/// The groups of a site's workers.
#[derive(Debug)]
pub(crate) struct WorkerGroups {
    /// None where this host does not let us make any.
    groups: Option<Groups>,
    offer: Offer,
    /// The workers that are in theirs, and what each got.
    entered: Mutex<BTreeMap<WorkerId, (Group, Limits)>>,
}

impl WorkerGroups {
    /// Finds out whether there can be groups. Where not, workers run without.
    ///
    /// # Errors
    /// [`Error::Setting`] if sets of processors are wanted that cannot be given.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let sets = &config.cpu_sets;
        let offer = Offer { cpu: config.cpu, sets: sets.clone() };
        let wanted: Vec<_> = sets.others.iter().chain(sets.tenants.values()).collect();
        let wrong = |reason| Error::Setting { field: "cpu_sets", reason };
        let groups = match Groups::open(&owner(config)) {
            Ok(groups) => groups,
            Err(unavailable) if wanted.is_empty() => {
                tracing::warn!(%unavailable, "workers run without control groups");
                return Ok(Self { groups: None, offer, entered: Mutex::default() });
            }
            Err(unavailable) => return Err(wrong(unavailable.to_string())),
        };
        for missing in groups.missing() {
            tracing::warn!(%missing, "some limits of workers are not kept");
        }
        groups.sweep(&[]);
        for cpus in wanted {
            let limits = Limits { cpus: Some(cpus.clone()), ..Limits::default() };
            let tried = groups.group("probe", &limits).and_then(|group| group.remove());
            tried.map_err(|error| wrong(types::chain(&error)))?;
        }
        Ok(Self { groups: Some(groups), offer, entered: Mutex::default() })
    }

    fn entered(&self) -> MutexGuard<'_, BTreeMap<WorkerId, (Group, Limits)>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self, state: &State, totals: &BTreeMap<&str, (u64, u64)>, id: &WorkerId) -> Limits {
        let limits = wanted(state, totals, id, &self.offer);
        self.groups.as_ref().map(|groups| groups.attainable(&limits)).unwrap_or_default()
    }
}

/// No two data folders have one owner, whatever the sites' names are.
pub(super) fn owner(config: &Config) -> String {
    let folder = config.data_dir.canonicalize().unwrap_or_else(|_| config.data_dir.clone());
    let hash = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
    let name: String = config.name.chars().take(40).collect();
    format!("{name}-{}", &hash[..16])
}

/// The processor time and memory that each tenant's services ask for.
fn totals(state: &State) -> BTreeMap<&str, (u64, u64)> {
    let mut totals: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for record in state.records.values() {
        let resources = &record.assignment.spec.resources;
        let (cpu, memory) = totals.entry(&record.assignment.tenant).or_default();
        *cpu = cpu.saturating_add(resources.cpu.0);
        *memory = memory.saturating_add(resources.memory.0);
    }
    totals
}

/// The processor time and memory that a program asks for.
fn program(CellAssignment { spec, ranks: here, .. }: &CellAssignment) -> (u64, u64) {
    let (cpus, memories) = match &spec.form {
        // All of them may come to be here, as far as memory goes.
        Some(Form::Ranks(ranks)) => ((*here).max(1), ranks.count),
        Some(Form::Threads(threads)) => (threads.cpus, 1),
        None => (1, 1),
    };
    (u64::from(cpus) * 1000, spec.memory.0.saturating_mul(memories.into()))
}

/// What the worker's services, or its program, shall have together.
fn wanted(
    state: &State,
    totals: &BTreeMap<&str, (u64, u64)>,
    id: &WorkerId,
    offer: &Offer,
) -> Limits {
    let (owner, (cpu, memory)) = match id {
        WorkerId::Tenant(tenant) => {
            (tenant.as_str(), totals.get(tenant.as_str()).copied().unwrap_or_default())
        }
        WorkerId::Cell(uid) => {
            let cell = state.cells.get(uid).map(|cell| &cell.assignment);
            let known = cell.map(|cell| (cell.tenant.as_str(), program(cell)));
            known.unwrap_or_default()
        }
    };
    // A copy of each cell may be under way: a snapshot, or a migration that compares.
    let memory = memory.saturating_mul(2).saturating_add(HEADROOM_BYTES);
    let cpu = cpu.min(offer.cpu.0).max(SHARE_MIN);
    Limits {
        cpu_share: Some(u32::try_from(cpu).unwrap_or(u32::MAX)),
        cpu_max: None,
        cpus: offer.sets.of(owner).cloned(),
        memory_bytes: Some(memory),
        tasks_max: Some(TASKS_MAX),
    }
}

/// Puts a worker's process into its group, before it is told of any guest. The kernel may take
/// some milliseconds: the worker starts meanwhile.
pub(crate) fn enter(core: &Arc<Core>, id: &WorkerId, pid: u32) -> JoinHandle<()> {
    let limits =
        core.read(|inner| core.workers.groups.limits(&inner.state, &totals(&inner.state), id));
    let (core, id) = (core.clone(), id.clone());
    spawn_blocking(move || {
        let Some(groups) = &core.workers.groups.groups else { return };
        let name = id.to_string();
        match groups.group(&name, &limits).and_then(|group| group.add(pid).map(|()| group)) {
            Ok(group) => drop(core.workers.groups.entered().insert(id, (group, limits))),
            Err(error) => {
                let error = types::chain(&error);
                tracing::warn!(worker = %id, error, "a worker runs without a control group");
            }
        }
    })
}

/// Removes the group of a worker whose process has ended.
pub(crate) async fn leave(core: &Arc<Core>, id: &WorkerId) {
    let Some((group, _)) = core.workers.groups.entered().remove(id) else { return };
    let removed = spawn_blocking(move || group.remove()).await;
    if let Ok(Err(error)) = removed {
        // The next agent sweeps it.
        tracing::debug!(worker = %id, error = types::chain(&error), "a control group stays");
    }
}

/// Gives workers what they shall have now, where that has changed.
pub(crate) async fn adjust(core: &Arc<Core>) {
    let groups = &core.workers.groups;
    let entered = groups.entered().clone();
    let changed: Vec<_> = core.read(|inner| {
        let totals = totals(&inner.state);
        let now = entered.into_iter().map(|(id, (group, had))| {
            let limits = groups.limits(&inner.state, &totals, &id);
            (id, group, had, limits)
        });
        now.filter(|(.., had, limits)| had != limits).collect()
    });
    for (id, group, _, limits) in changed {
        // Noted first: what the kernel refuses is not tried again until it changes.
        if let Some((_, had)) = groups.entered().get_mut(&id) {
            had.clone_from(&limits);
        }
        if let Ok(Err(error)) = spawn_blocking(move || group.set(&limits)).await {
            let error = types::chain(&error);
            tracing::warn!(worker = %id, error, "a worker keeps its former limits");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::state::{CellRecord, Record, Role};
    use api::{
        link::{Assignment, CellAssignment, Desired},
        service::ServiceSpec,
    };
    use types::{Digest, Epoch};

    fn service(name: &str, tenant: &str, cpu: &str) -> (String, Record) {
        let module = Digest::from_sha256([7; 32]);
        let spec = serde_json::json!({
            "module": format!("m.wasm@{module}"), "resources": {"cpu": cpu, "memory": "1Gi"},
        });
        let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        let assignment = Assignment {
            tenant: tenant.into(),
            name: name.into(),
            uid: name.into(),
            epoch: Epoch(1),
            module,
            spec,
            restore: false,
            snapshot: None,
        };
        (name.into(), Record::new(assignment, Role::Serve))
    }

    fn program(uid: &str, ranks: u32, form: serde_json::Value) -> (String, CellRecord) {
        let module = Digest::from_sha256([7; 32]);
        let spec = serde_json::json!({
            "module": format!("m.wasm@{module}"), "site": "edge", "memory": "1Gi", "form": form,
        });
        let assignment = CellAssignment {
            tenant: "b".into(),
            name: uid.into(),
            uid: uid.into(),
            module,
            ranks,
            incarnation: 0,
            spec: serde_json::from_value(spec).unwrap(),
        };
        (uid.into(), CellRecord::new(assignment))
    }

    #[test]
    fn a_worker_gets_what_all_that_it_holds_may_use() {
        let mut state: State = serde_json::from_value(serde_json::json!({
            "version": 1, "desired": Desired::default(), "records": {}, "moved": {}, "cells": {},
        }))
        .unwrap();
        let services = [("s1", "a", "500m"), ("s2", "a", "1"), ("s3", "b", "3"), ("s4", "c", "1m")];
        state.records.extend(services.map(|(name, tenant, cpu)| service(name, tenant, cpu)));
        state.cells.extend([
            program("alone", 0, serde_json::Value::Null),
            program("ranks", 4, serde_json::json!({"ranks": {"count": 4}})),
            program(
                "apart",
                2,
                serde_json::json!({"ranks": {"count": 4, "sites": ["edge", "cloud"]}}),
            ),
            program("threads", 0, serde_json::json!({"threads": {"cpus": 2, "maxCpus": 900}})),
            program("bomb", 1000, serde_json::json!({"ranks": {"count": 1000}})),
        ]);
        let sets = CpuSets::parse(&["0-1".into(), "b=2".into()]).unwrap();
        let offer = Offer { cpu: Cpu(8000), sets };

        let of = |id| wanted(&state, &totals(&state), &id, &offer);
        let tenant = |name: &str| of(WorkerId::Tenant(name.into()));
        let cell = |uid: &str| of(WorkerId::Cell(uid.into()));

        assert_eq!(tenant("a").cpu_share, Some(1500));
        assert_eq!(tenant("a").memory_bytes, Some((4 << 30) + HEADROOM_BYTES));
        assert_eq!(tenant("a").cpus.unwrap().to_string(), "0-1");
        assert_eq!(tenant("b").cpus.unwrap().to_string(), "2");
        assert_eq!(tenant("c").cpu_share, Some(100), "enough to stop");
        assert_eq!(tenant("nobody").cpu_share, Some(100));
        assert_eq!(cell("alone").cpu_share, Some(1000));
        assert_eq!(cell("ranks").cpu_share, Some(4000));
        assert_eq!(cell("apart").cpu_share, Some(2000), "half of its ranks are elsewhere");
        assert_eq!(cell("apart").memory_bytes, cell("ranks").memory_bytes, "they may come");
        assert_eq!(cell("ranks").memory_bytes, Some((8 << 30) + HEADROOM_BYTES));
        assert_eq!(cell("threads").cpu_share, Some(2000), "what is granted, not what it may get");
        assert_eq!(cell("bomb").cpu_share, Some(8000), "no more than the site has");
        assert_eq!(cell("alone").cpus.unwrap().to_string(), "2");
        assert_eq!(cell("bomb").tasks_max, Some(TASKS_MAX));
    }

    #[test]
    fn sets_of_processors_are_read_or_refused_by_what_is_wrong() {
        let parse = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            CpuSets::parse(&texts).map_err(|error| error.to_string())
        };
        let sets = parse(&["2-3", "alice=0", "bob=1"]).unwrap();

        assert_eq!(sets.of("alice").unwrap().to_string(), "0");
        assert_eq!(sets.of("carol").unwrap().to_string(), "2-3");
        assert_eq!(parse(&[]).unwrap(), CpuSets::default());
        for (wrong, why) in [
            (&["alice=0", "alice=1"][..], "second time"),
            (&["0", "1"], "second time"),
            (&["alice="], "no set of processors"),
            (&["A/B=0"], "not a name"),
            (&["3-1"], "no set of processors"),
        ] {
            assert!(parse(wrong).unwrap_err().contains(why), "{wrong:?}: {:?}", parse(wrong));
        }
    }
}

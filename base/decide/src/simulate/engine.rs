//! Arrivals and ends, one after the other.

use super::{
    Distribution, Job, Kind, Run, Setup,
    accounts::{Accounts, Share},
    report::seconds,
};
use crate::plan::{
    BinPack, Cluster, Demand, Grant, HostId, Migration, NoAdvice, Piece, Planner, Policies, Policy,
    Scatter, Scope, Tissue, TissueId,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};
use types::Cpu;

/// How far a simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Jobs that ended or were refused.
    pub done: usize,
    /// All jobs.
    pub jobs: usize,
}

/// Jobs between two words on progress.
const PROGRESS_JOBS: usize = 8192;

/// A job that was overtaken so often lets nobody pass any more.
const OVERTAKEN_MAX: u32 = 100;

/// Migrations after which other things get their turn.
const MIGRATIONS_MAX: usize = 64;

/// Runs jobs as cells, placed by `policies`.
pub fn simulate(
    jobs: &[Job],
    setup: &Setup,
    policies: Policies,
    progress: &mut dyn FnMut(Progress),
) -> Run {
    let name = policies.name();
    Engine::new(jobs, setup, policies, false).run(name, progress)
}

/// Runs each job in virtual machines of fixed sizes, which are its own from its start to its end.
pub fn static_vms(jobs: &[Job], setup: &Setup, progress: &mut dyn FnMut(Progress)) -> Run {
    let policies = Policies::new(vec![Box::new(BinPack)]);
    Engine::new(jobs, setup, policies, true).run("static-vm".into(), progress)
}

/// What is known of one job.
#[derive(Debug, Clone, Default)]
struct State {
    /// Seconds of one CPU that are still to be done.
    remaining: f64,
    /// How much of that is done in a second.
    rate: f64,
    /// Up to when `remaining` is right.
    since: u64,
    /// It stands still before.
    resume: u64,
    /// Counts its expected ends: only the last is true.
    version: u32,
    overtaken: u32,
    scatter: Scatter,
    share: Share,
}

/// What became of a job that was to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Started,
    /// Its tenant is at a quota.
    Held,
    NoRoom,
}

struct Engine<'a> {
    jobs: &'a [Job],
    /// Jobs in the order of their arrivals.
    order: Vec<u32>,
    setup: &'a Setup,
    planner: Planner,
    cluster: Cluster,
    in_machines: bool,
    states: Vec<State>,
    ends: BinaryHeap<Reverse<(u64, u32, u32)>>,
    queue: VecDeque<u32>,
    /// Jobs of tenants at their quota, by arrival.
    held: BTreeMap<Arc<str>, BTreeSet<(u64, u32)>>,
    /// Nothing was freed since the queue's head did not fit.
    blocked: bool,
    now: u64,
    accounts: Accounts,
    waits: Vec<u64>,
    turnarounds: Vec<u64>,
    /// Hosts on which something changed at this time.
    touched: Vec<HostId>,
    /// Hosts on which room was made at this time.
    freed: Vec<HostId>,
    run: Run,
}

impl<'a> Engine<'a> {
    fn new(jobs: &'a [Job], setup: &'a Setup, policies: Policies, in_machines: bool) -> Self {
        let mut order: Vec<u32> = (0..u32::try_from(jobs.len()).unwrap_or(u32::MAX)).collect();
        order.sort_by_key(|job| jobs[*job as usize].arrival_us);
        let start = order.first().map_or(0, |job| jobs[*job as usize].arrival_us);
        Self {
            jobs,
            order,
            setup,
            planner: Planner { policies, quotas: setup.quotas.clone() },
            cluster: setup.cluster(),
            in_machines,
            states: vec![State::default(); jobs.len()],
            ends: BinaryHeap::new(),
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            blocked: false,
            now: start,
            accounts: Accounts::new(setup.cpus_all() * 1000),
            waits: Vec::with_capacity(jobs.len()),
            turnarounds: Vec::with_capacity(jobs.len()),
            touched: Vec::new(),
            freed: Vec::new(),
            run: Run::default(),
        }
    }

    fn run(mut self, policy: String, progress: &mut dyn FnMut(Progress)) -> Run {
        let (start, jobs) = (self.now, self.jobs.len());
        let mut told = 0;
        let mut arrived = 0;
        while let Some(next) = self.next_event(arrived) {
            let waiting = !self.queue.is_empty() || !self.held.is_empty();
            self.accounts.advance(next - self.now, waiting);
            self.now = next;
            self.end_all();
            while let Some(job) = self.arriving(arrived) {
                arrived += 1;
                self.arrive(job);
            }
            self.start_queued();
            self.compact();
            self.lend();
            let done = self.run.finished + self.run.refused;
            if done >= told + PROGRESS_JOBS {
                told = done;
                progress(Progress { done, jobs });
            }
        }
        progress(Progress { done: jobs, jobs });
        self.close(policy, start)
    }

    fn next_event(&mut self, arrived: usize) -> Option<u64> {
        while let Some(Reverse((_, job, version))) = self.ends.peek()
            && self.states[*job as usize].version != *version
        {
            self.ends.pop();
        }
        let end = self.ends.peek().map(|Reverse((at, ..))| *at);
        let arrival = self.order.get(arrived).map(|job| self.jobs[*job as usize].arrival_us);
        [end, arrival].into_iter().flatten().min()
    }

    fn arriving(&self, arrived: usize) -> Option<u32> {
        let job = *self.order.get(arrived)?;
        (self.jobs[job as usize].arrival_us <= self.now).then_some(job)
    }

    fn demand(&self, job: u32) -> Demand {
        let job = &self.jobs[job as usize];
        if self.in_machines { self.setup.machines(job) } else { job.demand() }
    }

    fn arrive(&mut self, job: u32) {
        let refusal = self.planner.admit(&self.cluster, &self.demand(job)).err();
        match refusal {
            None => self.queue.push_back(job),
            Some(refusal) if refusal.may_pass() => self.hold(job),
            Some(refusal) => self.refuse(job, &refusal.to_string()),
        }
        self.run.queue_max = self.run.queue_max.max(self.queue.len());
    }

    fn hold(&mut self, job: u32) {
        let Job { tenant, arrival_us, .. } = &self.jobs[job as usize];
        self.held.entry(Arc::clone(tenant)).or_default().insert((*arrival_us, job));
    }

    fn refuse(&mut self, job: u32, reason: &str) {
        self.run.refused += 1;
        let name = &self.jobs[job as usize].name;
        self.run.first_refusal.get_or_insert_with(|| format!("`{name}`: {reason}"));
    }

    /// One held job of the tenant may try again: its place is before all that came later.
    fn release(&mut self, tenant: &Arc<str>) {
        if let Some(held) = self.held.get_mut(tenant) {
            if let Some((_, job)) = held.pop_first() {
                self.queue.push_front(job);
                self.blocked = false;
            }
            if held.is_empty() {
                self.held.remove(tenant);
            }
        }
    }

    fn end_all(&mut self) {
        while let Some(Reverse((at, job, version))) = self.ends.peek().copied()
            && at <= self.now
        {
            self.ends.pop();
            if self.states[job as usize].version == version {
                self.end(job);
            }
        }
    }

    fn end(&mut self, job: u32) {
        let Ok(tissue) = self.cluster.finish(TissueId(job.into())) else { return };
        self.touched.extend(tissue.pieces.iter().map(|piece| piece.host));
        self.freed.extend(tissue.pieces.iter().map(|piece| piece.host));
        let state = &mut self.states[job as usize];
        state.version += 1;
        self.accounts.replace(state.share, Share::default());
        let job = &self.jobs[job as usize];
        self.turnarounds.push(self.now - job.arrival_us);
        self.run.finished += 1;
        self.blocked = false;
        self.release(&Arc::clone(&job.tenant));
    }

    /// First come, first served; behind a job that does not fit, a few may overtake.
    fn start_queued(&mut self) {
        while let Some(&head) = self.queue.front() {
            let tried = if self.blocked { Tried::NoRoom } else { self.try_start(head) };
            if tried == Tried::NoRoom {
                self.blocked = true;
                break;
            }
            self.queue.pop_front();
            if tried == Tried::Started {
                // The tenant may be below its quota still.
                self.release(&Arc::clone(&self.jobs[head as usize].tenant));
            }
        }
        let mut at = 1;
        let head = self.queue.front().copied();
        while let Some(head) = head
            && at <= self.setup.backfill
            && self.states[head as usize].overtaken < OVERTAKEN_MAX
            && let Some(&job) = self.queue.get(at)
        {
            match self.try_start(job) {
                Tried::NoRoom => at += 1,
                Tried::Held => drop(self.queue.remove(at)),
                Tried::Started => {
                    self.queue.remove(at);
                    self.states[head as usize].overtaken += 1;
                }
            }
        }
    }

    fn try_start(&mut self, job: u32) -> Tried {
        let demand = self.demand(job);
        if self.planner.quotas.admit(&self.cluster, &demand).is_err() {
            self.hold(job);
            return Tried::Held;
        }
        let Some(plan) = self.planner.plan(&self.cluster, &demand, &NoAdvice) else {
            return Tried::NoRoom;
        };
        let hosts: Vec<HostId> = plan.pieces.iter().map(|piece| piece.host).collect();
        let scatter = self.scatter(job, &plan.pieces);
        let id = TissueId(job.into());
        let Ok(reclaimed) = self.cluster.start(id, Arc::new(demand), plan) else {
            return Tried::NoRoom;
        };
        self.touched.extend(hosts);
        self.follow(&reclaimed);
        let work = self.jobs[job as usize].work_cpu_s;
        let start = if self.in_machines { self.setup.model.vm_start_us } else { 0 };
        let state = &mut self.states[job as usize];
        state.remaining = work;
        state.since = self.now;
        state.resume = self.now.saturating_add(start);
        state.scatter = scatter;
        self.waits.push(self.now - self.jobs[job as usize].arrival_us);
        self.retime(job);
        Tried::Started
    }

    /// Of ranks; those of a virtual machine are together.
    fn scatter(&self, job: u32, pieces: &[Piece]) -> Scatter {
        let job = &self.jobs[job as usize];
        let units: u32 = pieces.iter().map(|piece| piece.ranks).sum();
        if job.kind != Kind::Mpi || units == job.cpus {
            return Scatter::of(&self.cluster, pieces);
        }
        let each = job.cpus.div_ceil(units.max(1));
        let ranks = |piece: &Piece| Piece { ranks: piece.ranks.saturating_mul(each), ..*piece };
        Scatter::of(&self.cluster, &pieces.iter().map(ranks).collect::<Vec<_>>())
    }

    /// Grants that the cluster has made already.
    fn follow(&mut self, grants: &[Grant]) {
        self.run.grants += grants.len() as u64;
        for grant in grants {
            if let Ok(job) = u32::try_from(grant.tissue.0) {
                self.retime(job);
            }
        }
    }

    /// Books what was done, and finds out how fast the job is from now on.
    fn retime(&mut self, job: u32) {
        let Some(tissue) = self.cluster.tissue(TissueId(job.into())) else { return };
        let (cpu, share) = (self.useful(job, tissue), self.share(job, tissue));
        let state = &mut self.states[job as usize];
        let from = state.since.max(state.resume).min(self.now);
        state.remaining -= state.rate * seconds(u128::from(self.now - from));
        state.since = self.now;
        let (hosts, sites) = (state.scatter.host_share(), state.scatter.site_share());
        state.rate = self.setup.model.rate(&self.jobs[job as usize], cpu, hosts, sites);
        self.accounts.replace(state.share, share);
        state.share = share;
        state.version += 1;
        let rest = (state.remaining.max(0.0) / state.rate * 1e6).ceil();
        // A conversion of a number that is too large gives the largest.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let end = self.now.max(state.resume).saturating_add(rest as u64);
        self.ends.push(Reverse((end, job, state.version)));
    }

    /// CPUs of the job that have a rank or thread.
    fn useful(&self, job: u32, tissue: &Tissue) -> Cpu {
        let job = &self.jobs[job as usize];
        match self.in_machines || job.kind == Kind::Mpi {
            true => Cpu(u64::from(job.cpus) * 1000),
            false => tissue.granted(),
        }
    }

    fn share(&self, job: u32, tissue: &Tissue) -> Share {
        let cpu = self.useful(job, tissue).0;
        let (job, scatter) = (&self.jobs[job as usize], &self.states[job as usize].scatter);
        if job.kind != Kind::Mpi || job.cpus < 2 {
            return Share { cpu, ..Share::default() };
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
        let millionths = |share: f64| (share * 1e6).round() as u64;
        let ranks = u64::from(job.cpus);
        let hosts_apart = ranks * millionths(scatter.host_share());
        let sites_apart = ranks * millionths(scatter.site_share());
        Share { cpu, ranks, hosts_apart, sites_apart }
    }

    /// Room was made: scattered jobs come together.
    fn compact(&mut self) {
        let mut left = if self.in_machines { 0 } else { MIGRATIONS_MAX };
        while let Some(host) = self.freed.pop() {
            while left > 0
                && let scope = Scope::Hosts(&[host])
                && let Some(migration) = self.planner.policies.rebalance(&self.cluster, scope)
                && self.migrate(&migration)
            {
                left -= 1;
            }
        }
    }

    fn migrate(&mut self, migration: &Migration) -> bool {
        let Ok(job) = u32::try_from(migration.tissue.0) else { return false };
        let Ok(reclaimed) = self.cluster.migrate(migration) else { return false };
        self.follow(&reclaimed);
        // What it did at its old place is booked at the old rate.
        self.retime(job);
        let bytes = migration.moves.iter().map(|moved| u64::from(moved.ranks));
        let memory = self.jobs[job as usize].memory.0;
        let bytes = types::Bytes(memory.saturating_mul(bytes.sum()));
        let pause = self.setup.model.pause_us(bytes);
        let scatter = self.scatter(job, &migration.pieces);
        let state = &mut self.states[job as usize];
        state.resume = state.resume.max(self.now).saturating_add(pause);
        state.scatter = scatter;
        self.retime(job);
        self.run.migrations += 1;
        self.run.ranks_moved += u64::from(migration.ranks());
        self.run.pause_s += seconds(u128::from(pause));
        for moved in &migration.moves {
            self.touched.extend([moved.from, moved.to]);
            self.freed.push(moved.from);
        }
        self.blocked = false;
        true
    }

    /// What nobody has is lent, on every host on which something changed.
    fn lend(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for host in touched.drain(..) {
            let grants = self.planner.policies.grow(&self.cluster, host);
            for grant in grants {
                if self.cluster.grant(grant).is_ok() {
                    self.follow(&[grant]);
                }
            }
        }
        self.touched = touched;
    }

    fn close(mut self, policy: String, start: u64) -> Run {
        let held = std::mem::take(&mut self.held).into_values().flatten().map(|(_, job)| job);
        let left: Vec<u32> = self.queue.drain(..).chain(held).collect();
        for job in left {
            self.refuse(job, "no room was found for it, even when all others had ended");
        }
        let (fragmentation, site_fragmentation) = self.accounts.fragmentation();
        Run {
            policy,
            makespan_s: seconds(u128::from(self.now - start)),
            wait: Distribution::of(&mut self.waits),
            turnaround: Distribution::of(&mut self.turnarounds),
            fragmentation,
            site_fragmentation,
            idle_cpu_s: self.accounts.idle_cpu_s(),
            stranded_cpu_s: self.accounts.stranded_cpu_s(),
            utilisation: self.accounts.utilisation(),
            ..self.run
        }
    }
}

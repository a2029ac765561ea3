//! Hosts, what runs on them, and what they have left.

use super::{
    Demand, Grant, Host, Migration, Piece, Plan, PlanError, Reach, Resources, Scatter, Usage,
    index::{Class, Found, Merged},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use types::Cpu;

/// A host's number: its place in the list that the cluster was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// A site's number, in the order of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u32);

/// A tissue's number, chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TissueId(pub u64);

/// A tissue that runs.
#[derive(Debug, Clone)]
pub struct Tissue {
    /// What it asked for.
    pub demand: Arc<Demand>,
    /// Where it is.
    pub pieces: Vec<Piece>,
    /// CPUs of each rank that are its own.
    pub cpu: Cpu,
    /// CPUs that are lent to it, until another tissue is placed where they are.
    pub lent: Cpu,
}

impl Tissue {
    /// The CPUs that its single rank may use now.
    pub fn granted(&self) -> Cpu {
        Cpu(self.cpu.0 + self.lent.0)
    }

    fn each(&self) -> Resources {
        self.demand.each_with(self.cpu)
    }
}

/// What one host has left.
#[derive(Debug)]
struct Room {
    class: usize,
    /// Not anyone's own: what is lent counts as free.
    free: Resources,
    lent: u64,
    tissues: Vec<TissueId>,
}

/// All hosts and all tissues on them.
#[derive(Debug, Default)]
pub struct Cluster {
    hosts: Vec<Host>,
    rooms: Vec<Room>,
    sites: Vec<String>,
    classes: Vec<Class>,
    tissues: BTreeMap<TissueId, Tissue>,
    scattered: BTreeSet<TissueId>,
    usage: BTreeMap<String, Usage>,
}

impl Cluster {
    /// Empty hosts. Those beyond 2³² are left out, and capacities cut so that their sum can be
    /// counted: what hosts say of themselves is not to be trusted.
    pub fn new(hosts: impl IntoIterator<Item = Host>) -> Self {
        let mut hosts: Vec<Host> = hosts.into_iter().take(u32::MAX as usize).collect();
        let most = u64::MAX / (hosts.len() as u64).max(1);
        for Resources { cpu, memory, devices } in hosts.iter_mut().map(|host| &mut host.capacity) {
            cpu.0 = cpu.0.min(most);
            memory.0 = memory.0.min(most);
            devices.values_mut().for_each(|shares| *shares = (*shares).min(most));
        }
        let sites: BTreeSet<&String> = hosts.iter().map(|host| &host.site).collect();
        let sites: Vec<String> = sites.into_iter().cloned().collect();
        let mut cluster = Self { sites, ..Self::default() };
        for (number, host) in (0..).zip(&hosts) {
            let class = cluster.class_of(host);
            cluster.classes[class].join(number, &host.capacity);
            let free = host.capacity.clone();
            cluster.rooms.push(Room { class, free, lent: 0, tissues: Vec::new() });
        }
        Self { hosts, ..cluster }
    }

    fn class_of(&mut self, host: &Host) -> usize {
        if let Some(class) = self.classes.iter().position(|class| class.is_like(host)) {
            return class;
        }
        let site = self.sites.binary_search(&host.site).unwrap_or_default();
        let site = u32::try_from(site).unwrap_or_default();
        self.classes.push(Class::new(host.clone(), site));
        self.classes.len() - 1
    }

    /// All hosts; a host's number is its place.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The names of all sites; a site's number is its place.
    pub fn sites(&self) -> &[String] {
        &self.sites
    }

    /// The site of this name.
    pub fn site(&self, name: &str) -> Option<SiteId> {
        let at = self.sites.binary_search_by(|site| site.as_str().cmp(name)).ok()?;
        u32::try_from(at).ok().map(SiteId)
    }

    /// Where the host is.
    ///
    /// # Panics
    /// If the number is of another cluster, as with all that is asked of a host.
    pub fn site_of(&self, host: HostId) -> SiteId {
        SiteId(self.classes[self.rooms[host.0 as usize].class].site)
    }

    /// What the host has left; what is lent counts as free.
    pub fn free(&self, host: HostId) -> &Resources {
        &self.rooms[host.0 as usize].free
    }

    /// CPUs of the host that nobody has, not even lent.
    pub fn idle(&self, host: HostId) -> Cpu {
        let room = &self.rooms[host.0 as usize];
        Cpu(room.free.cpu.0 - room.lent)
    }

    /// The tissues with ranks on the host, in the order in which they came.
    pub fn on(&self, host: HostId) -> &[TissueId] {
        &self.rooms[host.0 as usize].tissues
    }

    /// A tissue that runs.
    pub fn tissue(&self, id: TissueId) -> Option<&Tissue> {
        self.tissues.get(&id)
    }

    /// All that run.
    pub fn tissues(&self) -> impl Iterator<Item = (TissueId, &Tissue)> {
        self.tissues.iter().map(|(id, tissue)| (*id, tissue))
    }

    /// Those on more than one host.
    pub fn scattered(&self) -> impl Iterator<Item = TissueId> {
        self.scattered.iter().copied()
    }

    /// What a tenant's tissues have; loans are free of charge.
    pub fn usage(&self, tenant: &str) -> Usage {
        self.usage.get(tenant).cloned().unwrap_or_default()
    }

    /// Counts of all tissues together; sites and hosts are summed over tissues.
    pub fn scatter(&self) -> Scatter {
        self.tissues.values().fold(Scatter::default(), |sum, tissue| {
            let one = Scatter::of(self, &tissue.pieces);
            Scatter {
                sites: sum.sites + one.sites,
                hosts: sum.hosts + one.hosts,
                across_hosts: sum.across_hosts.saturating_add(one.across_hosts),
                across_sites: sum.across_sites.saturating_add(one.across_sites),
                pairs: sum.pairs.saturating_add(one.pairs),
            }
        })
    }

    /// Begins to run a tissue. What was lent of the CPUs that it takes is taken back first.
    ///
    /// # Errors
    /// Whatever the plan breaks; nothing has changed then.
    pub fn start(
        &mut self,
        id: TissueId,
        demand: Arc<Demand>,
        plan: Plan,
    ) -> Result<Vec<Grant>, PlanError> {
        self.enter(id, demand, plan, false)
    }

    /// Counts a tissue that runs already: it stays where newcomers are not let in, but takes no
    /// more than there is.
    ///
    /// # Errors
    /// As [`Self::start`], but for what hosts have to be.
    pub fn adopt(
        &mut self,
        id: TissueId,
        demand: Arc<Demand>,
        plan: Plan,
    ) -> Result<Vec<Grant>, PlanError> {
        self.enter(id, demand, plan, true)
    }

    fn enter(
        &mut self,
        id: TissueId,
        demand: Arc<Demand>,
        plan: Plan,
        runs: bool,
    ) -> Result<Vec<Grant>, PlanError> {
        demand.check()?;
        if self.tissues.contains_key(&id) {
            return Err(PlanError::Runs(id));
        }
        let (min, max) = (demand.cpu_min(), demand.cpu_max());
        if plan.cpu < min || plan.cpu > max {
            return Err(PlanError::CpuOutside { cpu: plan.cpu, min, max });
        }
        let each = demand.each_with(plan.cpu);
        let stays = |piece: &Piece| if runs { piece.ranks } else { 0 };
        self.check(&demand, &each, &plan.pieces, |_| 0, stays)?;
        self.usage.entry(demand.tenant.clone()).or_default().add(&each, demand.ranks);
        let tissue = Tissue { demand, pieces: plan.pieces, cpu: plan.cpu, lent: Cpu(0) };
        let reclaimed = self.settle(id, &tissue.pieces, &each);
        self.note_scatter(id, &tissue.pieces);
        self.tissues.insert(id, tissue);
        Ok(reclaimed)
    }

    /// Ends a tissue and frees what it had.
    ///
    /// # Errors
    /// It does not run.
    pub fn finish(&mut self, id: TissueId) -> Result<Tissue, PlanError> {
        let tissue = self.tissues.remove(&id).ok_or(PlanError::Unknown(id))?;
        self.leave(id, &tissue);
        self.scattered.remove(&id);
        let each = tissue.each();
        let tenant = &tissue.demand.tenant;
        if let Some(usage) = self.usage.get_mut(tenant)
            && usage.remove(&each, tissue.demand.ranks)
        {
            self.usage.remove(tenant);
        }
        Ok(tissue)
    }

    /// Moves ranks of a tissue; it gives back what was lent to it.
    ///
    /// # Errors
    /// Whatever the migration breaks; nothing has changed then.
    pub fn migrate(&mut self, migration: &Migration) -> Result<Vec<Grant>, PlanError> {
        let id = migration.tissue;
        let tissue = self.tissues.get(&id).ok_or(PlanError::Unknown(id))?;
        let each = tissue.each();
        let own = |piece: &Piece| {
            let own = tissue.pieces.iter().find(|other| other.host == piece.host);
            own.map_or(0, |own| own.ranks)
        };
        self.check(&tissue.demand, &each, &migration.pieces, own, own)?;
        let mut tissue = self.tissues.remove(&id).ok_or(PlanError::Unknown(id))?;
        self.leave(id, &tissue);
        tissue.pieces.clone_from(&migration.pieces);
        tissue.lent = Cpu(0);
        let reclaimed = self.settle(id, &tissue.pieces, &each);
        self.note_scatter(id, &tissue.pieces);
        self.tissues.insert(id, tissue);
        Ok(reclaimed)
    }

    /// Sets what a single rank may use; what is beyond its own is lent.
    ///
    /// # Errors
    /// More than it allows, less than its own, or more than is idle on its host.
    pub fn grant(&mut self, grant: Grant) -> Result<(), PlanError> {
        let tissue = self.tissues.get_mut(&grant.tissue).ok_or(PlanError::Unknown(grant.tissue))?;
        let (min, max) = (tissue.cpu, tissue.demand.cpu_max().max(tissue.cpu));
        if grant.cpu < min || grant.cpu > max {
            return Err(PlanError::CpuOutside { cpu: grant.cpu, min, max });
        }
        let Some(piece) = tissue.pieces.first() else { return Ok(()) };
        let room = &mut self.rooms[piece.host.0 as usize];
        let (before, after) = (tissue.lent.0, grant.cpu.0 - tissue.cpu.0);
        let idle = room.free.cpu.0 - room.lent;
        if after > before + idle {
            let host = self.hosts[piece.host.0 as usize].name.clone();
            return Err(PlanError::NotIdle { host, idle: Cpu(idle), asked: Cpu(after - before) });
        }
        room.lent = room.lent - before + after;
        tissue.lent = Cpu(after);
        Ok(())
    }

    /// Whether pieces hold to capacities, with what ranks have there (`own`) given up, and to
    /// constraints, which do not count for ranks that are there already (`stays`).
    fn check(
        &self,
        demand: &Demand,
        each: &Resources,
        pieces: &[Piece],
        own: impl Fn(&Piece) -> u32,
        stays: impl Fn(&Piece) -> u32,
    ) -> Result<(), PlanError> {
        let placed: u64 = pieces.iter().map(|piece| u64::from(piece.ranks)).sum();
        if placed != u64::from(demand.ranks) {
            return Err(PlanError::Ranks { placed, ranks: demand.ranks });
        }
        let mut seen = BTreeSet::new();
        let mut sites = BTreeSet::new();
        for piece in pieces {
            let Some(host) = self.hosts.get(piece.host.0 as usize) else {
                return Err(PlanError::NoHost(piece.host));
            };
            if piece.ranks == 0 || !seen.insert(piece.host) {
                return Err(PlanError::Pieces(host.name.clone()));
            }
            sites.insert(self.site_of(piece.host));
            // Who is there already may stay where newcomers are not let in.
            if stays(piece) < piece.ranks
                && let Some(obstacle) = demand.constraints.obstacle(host)
            {
                return Err(PlanError::Constraint { host: host.name.clone(), obstacle });
            }
            let room = self.free(piece.host).fits(each).saturating_add(own(piece));
            if room < piece.ranks {
                let (host, ranks) = (host.name.clone(), piece.ranks);
                return Err(PlanError::Full { host, room, ranks });
            }
        }
        let (hosts, sites) = (pieces.len(), sites.len());
        match demand.reach {
            Reach::Host if hosts > 1 => Err(PlanError::Reach { hosts, sites }),
            Reach::Site if sites > 1 => Err(PlanError::Reach { hosts, sites }),
            _ => Ok(()),
        }
    }

    /// Takes what the pieces need, and back what was lent of it.
    fn settle(&mut self, id: TissueId, pieces: &[Piece], each: &Resources) -> Vec<Grant> {
        let mut reclaimed = Vec::new();
        for piece in pieces {
            self.change(piece.host, |room| {
                room.free.take(each, piece.ranks);
                room.tissues.push(id);
            });
            self.reclaim(piece.host, &mut reclaimed);
        }
        reclaimed
    }

    fn leave(&mut self, id: TissueId, tissue: &Tissue) {
        let each = tissue.each();
        for piece in &tissue.pieces {
            self.change(piece.host, |room| {
                room.free.give(&each, piece.ranks);
                room.lent -= tissue.lent.0;
                room.tissues.retain(|other| *other != id);
            });
        }
    }

    /// Changes a room and keeps its class in order.
    fn change(&mut self, host: HostId, change: impl FnOnce(&mut Room)) {
        let room = &mut self.rooms[host.0 as usize];
        let class = &mut self.classes[room.class];
        class.remove(host.0, &room.free);
        change(room);
        class.insert(host.0, &room.free);
    }

    /// Takes back loans that are no longer covered, a CPU at a time from the largest.
    fn reclaim(&mut self, host: HostId, grants: &mut Vec<Grant>) {
        let room = &self.rooms[host.0 as usize];
        let mut missing = room.lent.saturating_sub(room.free.cpu.0);
        if missing == 0 {
            return;
        }
        let loan = |id: &TissueId| Some((self.tissues.get(id)?.lent.0, *id));
        let mut loans: Vec<(u64, TissueId)> =
            room.tissues.iter().filter_map(loan).filter(|(lent, _)| *lent > 0).collect();
        let mut taken = BTreeSet::new();
        while missing > 0 {
            let Some(largest) = loans.iter_mut().max() else { break };
            let part = missing.min(largest.0).min(1000);
            largest.0 -= part;
            missing -= part;
            taken.insert(largest.1);
        }
        for (lent, id) in loans.into_iter().filter(|(_, id)| taken.contains(id)) {
            let Some(tissue) = self.tissues.get_mut(&id) else { continue };
            self.rooms[host.0 as usize].lent -= tissue.lent.0 - lent;
            tissue.lent = Cpu(lent);
            grants.push(Grant { tissue: id, cpu: tissue.granted() });
        }
    }

    fn note_scatter(&mut self, id: TissueId, pieces: &[Piece]) {
        if pieces.len() > 1 {
            self.scattered.insert(id);
        } else {
            self.scattered.remove(&id);
        }
    }

    /// The classes that a demand may use, at one site or anywhere.
    pub(super) fn classes<'a>(
        &'a self,
        demand: &'a Demand,
        site: Option<SiteId>,
    ) -> impl Iterator<Item = &'a Class> + Clone {
        let at = move |class: &&Class| site.is_none_or(|site| site.0 == class.site);
        let allowed = |class: &&Class| class.allowed_by(&demand.constraints);
        self.classes.iter().filter(at).filter(allowed)
    }

    /// Hosts with room for one rank at least, the tightest first, with how many ranks fit.
    pub(super) fn tight<'a>(
        &'a self,
        demand: &'a Demand,
        each: &'a Resources,
        site: Option<SiteId>,
    ) -> impl Iterator<Item = (HostId, u32)> {
        let searches = self.classes(demand, site).map(|class| class.tight(each));
        self.fitting(Merged::new(searches, false), each)
    }

    /// The same, the roomiest first.
    pub(super) fn roomy<'a>(
        &'a self,
        demand: &'a Demand,
        each: &'a Resources,
        site: Option<SiteId>,
    ) -> impl Iterator<Item = (HostId, u32)> {
        let searches = self.classes(demand, site).map(|class| class.roomy(each));
        self.fitting(Merged::new(searches, true), each)
    }

    fn fitting<'a>(
        &'a self,
        found: impl Iterator<Item = Found>,
        each: &'a Resources,
    ) -> impl Iterator<Item = (HostId, u32)> {
        found.filter_map(|found| {
            let fits = self.rooms[found.host as usize].free.fits(each);
            (fits > 0).then_some((HostId(found.host), fits))
        })
    }
}

//! Regions: their beginning, their threads, and the runtime that owns them.

use crate::{
    Advice, Config, Error, Guest, Memory, Result, Threads,
    config::Icvs,
    mailbox::{Mailbox, OwnTeam, Seat, Work},
    save,
    shared::{Shared, lock},
    size::{self, Region},
    team::Team,
    thread::{Member, Thread},
};
use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

/// Most teams of a league.
const TEAMS_MAX: u32 = 256;

/// Most variables that a region shares.
const ARGS_MAX: u32 = 4096;

/// OpenMP for one program; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// A thread to be: see [`Threads::start`].
pub struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    gtid: u32,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("gtid", &self.gtid).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime for the program that has this memory.
    pub fn new(
        config: Config,
        memory: Memory,
        threads: Arc<dyn Threads>,
        advice: Arc<dyn Advice>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(config, memory, threads, advice)) }
    }

    /// The runtime of a program that goes on where [`Thread::save`] saw it: its settings are the
    /// image's, but for what `config` says of the machine.
    ///
    /// # Errors
    /// [`Error::Image`] if the image cannot be used.
    pub fn restored(
        config: Config,
        memory: Memory,
        threads: Arc<dyn Threads>,
        advice: Arc<dyn Advice>,
        image: &[u8],
    ) -> Result<Self> {
        let mut shared = Shared::new(config, memory, threads, advice);
        save::restore(&mut shared, image)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The thread that runs `main`; to be called once, there.
    pub fn initial_thread(&self) -> Rc<Thread> {
        let thread = Thread::new(self.shared.clone(), 0, initial_team(&self.shared));
        thread.resume();
        Rc::new(thread)
    }

    /// Ends the program for all its threads, for this reason unless there already is one.
    pub fn fail(&self, error: Error) {
        self.shared.fail(error);
    }

    /// Ends the program for all its threads, which then return.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Waits until the program is ended for all its threads.
    pub fn wait_for_stop(&self) {
        self.shared.wait_for_stop();
    }

    /// The reason of the first thread that failed; once.
    pub fn take_failure(&self) -> Option<Error> {
        self.shared.take_failure()
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Threads that work now.
    pub fn busy(&self) -> u32 {
        self.shared.busy.load(Ordering::Relaxed)
    }
}

/// Teams that a thread keeps: regions of a few sizes may take turns.
const TEAMS_KEPT_MAX: usize = 4;

/// A team that a thread has for regions that are alike.
pub(crate) struct Hot {
    team: OwnTeam,
    /// Threads that were through with its regions so far, this thread excepted.
    joined: u32,
}

/// Threads for regions, in the order of their numbers in a team.
pub(crate) type Crew = Vec<Hired>;

/// A thread, and the team in which it last had a number.
pub(crate) struct Hired {
    mailbox: Arc<Mailbox>,
    knows: Option<OwnTeam>,
}

impl Hired {
    fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, knows: None }
    }

    /// Where it gets its regions.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Gives it a region.
    fn put(&mut self, (team, tid, joined): (&OwnTeam, u32, u32), work: &Work) {
        if self.knows.as_ref().is_some_and(|known| Rc::ptr_eq(known, team)) {
            return self.mailbox.put(work, None);
        }
        self.knows = Some(team.clone());
        self.mailbox.put(work, Some(Seat { team: Arc::clone(team), tid, joined }));
    }
}

fn initial_team(shared: &Shared) -> Team {
    Team::new(1, None, Icvs::initial(&shared.config), shared)
}

impl Worker {
    /// The thread's number in the program.
    pub fn number(&self) -> u32 {
        self.gtid
    }

    /// The thread itself; to be called once, on the host's thread that will serve.
    pub fn thread(&self) -> Rc<Thread> {
        let thread = Thread::new(self.shared.clone(), self.gtid, initial_team(&self.shared));
        thread.resume();
        Rc::new(thread)
    }

    /// Runs regions until the program ends.
    pub fn serve(self, thread: &Thread, guest: &mut dyn Guest) {
        let (mut number, mut member) = (0, None);
        loop {
            let spins = member.as_ref().map_or(0, |member: &Member| member.team.spins());
            let Some((work, seat)) = self.mailbox.take(&self.shared, spins, &mut number) else {
                return;
            };
            if let Some(Seat { team, tid, joined }) = seat {
                member = Some(Member { team: Rc::new(team), tid, goal: joined });
            }
            // Its first region comes with a seat.
            let Some(member) = &mut member else { continue };
            // All regions of a team are of one size.
            member.goal = member.goal.wrapping_add(member.team.size - 1);
            let next = || self.mailbox.is_full(number);
            if let Err(error) = thread.run_member(guest, member, &work, next) {
                self.shared.fail(error);
                return;
            }
        }
    }

    /// The thread has come to nothing: the program ends.
    pub fn fail(self, error: Error) {
        self.shared.fail(error);
    }
}

impl Thread {
    /// The runtime that the thread belongs to.
    pub fn runtime(&self) -> Runtime {
        Runtime { shared: self.shared.clone() }
    }

    /// `__kmpc_push_num_threads`: what the next region's clause asks for.
    pub fn push_num_threads(&self, threads: u32) {
        // A negative number is none.
        self.pushed_threads.set(if threads > i32::MAX as u32 { 0 } else { threads });
    }

    /// `__kmpc_fork_call`: runs a region to its end.
    ///
    /// # Errors
    /// Of whichever thread failed here, or [`Error::Stopped`] if it was another.
    pub fn fork_call(
        &self,
        guest: &mut dyn Guest,
        argc: u32,
        microtask: u32,
        args: u32,
    ) -> Result<()> {
        self.shared.check()?;
        let work = self.work(argc, microtask, args)?;
        let (parent, parent_tid) = self.frame(|frame| (frame.team.clone(), frame.tid));
        let icvs = self.icvs();
        let (mut crew, size) = self.enlist(guest, &parent, &icvs)?;
        let (team, joined) = self.hot_team(size, (&parent, parent_tid), icvs);
        for (hired, tid) in crew.iter_mut().zip(1..size) {
            hired.put((&team, tid, joined), &work);
        }
        if parent.depth == 0 {
            crew = self.crew.replace(crew);
        }
        let member = Member { team, tid: 0, goal: joined.wrapping_add(size - 1) };
        let ran = self.run_member(guest, &member, &work, || false);
        self.shared.busy.fetch_sub(size - 1, Ordering::Relaxed);
        if !crew.is_empty() {
            lock(&self.shared.idle).extend(crew.into_iter().map(|hired| hired.mailbox));
        }
        ran
    }

    /// Decides on a region's size and finds its threads, which count as busy from then on. Those
    /// that the first thread keeps may be more.
    fn enlist(&self, guest: &mut dyn Guest, parent: &Team, icvs: &Icvs) -> Result<(Crew, u32)> {
        let size = self.reserve(parent.active_level, icvs);
        let hired = self.hire(guest, size - 1, parent.depth);
        let found = hired.as_ref().map_or(0, |crew| crew.len().min(size as usize - 1) as u32);
        let missing = size - 1 - found;
        if missing > 0 {
            self.shared.busy.fetch_sub(missing, Ordering::Relaxed);
        }
        Ok((hired?, size - missing))
    }

    /// The team for a region, and the count from which its threads are counted that are through:
    /// the team of an earlier one that was alike, if there is any.
    fn hot_team(&self, size: u32, (parent, tid): (&OwnTeam, u32), icvs: Icvs) -> (OwnTeam, u32) {
        let make = || {
            let around = Some((Arc::clone(parent), tid));
            Rc::new(Arc::new(Team::new(size, around, icvs, &self.shared)))
        };
        // Within regions other threads come each time: one that is late, and still looks whether
        // the team's last region is over, must not meet the next one there.
        if size > 1 && parent.depth > 0 {
            return (make(), 0);
        }
        let mut teams = self.teams.borrow_mut();
        let at = teams.iter().position(|hot| hot.team.fits(size, (parent, tid), &icvs));
        let at = at.unwrap_or_else(|| {
            if teams.len() == TEAMS_KEPT_MAX {
                teams.remove(0);
            }
            teams.push(Hot { team: make(), joined: 0 });
            teams.len() - 1
        });
        let hot = &mut teams[at];
        let joined = hot.joined;
        hot.joined = joined.wrapping_add(size - 1);
        hot.team.renew(&self.shared);
        (hot.team.clone(), joined)
    }

    fn work(&self, argc: u32, microtask: u32, args: u32) -> Result<Work> {
        if argc > ARGS_MAX {
            return Err(Error::Limit { what: "shared variables", limit: u64::from(ARGS_MAX) });
        }
        let words = if argc == 0 { &[] } else { self.memory().words(args, argc)? };
        Ok(Work::new(
            microtask,
            words.iter().map(|word| u32::from_le(word.load(Ordering::Relaxed))),
        ))
    }

    /// Decides on the region's size, and counts its threads as busy.
    fn reserve(&self, active_level: u32, icvs: &Icvs) -> u32 {
        let config = &self.shared.config;
        let pushed = self.pushed_threads.replace(0);
        let wanted = if pushed == 0 { icvs.threads } else { pushed }.min(icvs.thread_limit);
        let bounds = size::Bounds {
            thread_limit: config.thread_limit,
            max_active_levels: icvs.max_active_levels,
            adjustable: icvs.dynamic || config.elastic,
        };
        let mut busy = self.shared.busy.load(Ordering::Relaxed);
        loop {
            let region = Region { wanted, ceiling: config.ceiling, busy, active_level };
            let size = size::decide(&region, &bounds, &*self.shared.advice);
            let now = &self.shared.busy;
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            // Another thread's region may have begun meanwhile, and leave fewer.
            match now.compare_exchange(busy, busy + (size - 1), success, failure) {
                Ok(_) => return size,
                Err(other) => busy = other,
            }
        }
    }

    /// Finds so many threads, or fewer where no more may be made.
    fn hire(&self, guest: &mut dyn Guest, count: u32, depth: u32) -> Result<Crew> {
        // Between regions the first thread keeps those it had, in their order.
        let mut crew = if depth == 0 { self.crew.take() } else { Vec::new() };
        while crew.len() < count as usize {
            let idle = lock(&self.shared.idle).pop();
            let mailbox = match idle {
                Some(mailbox) => Some(mailbox),
                None => self.create(guest)?,
            };
            let Some(mailbox) = mailbox else { break };
            crew.push(Hired::new(mailbox));
        }
        Ok(crew)
    }

    /// Makes a thread, unless there are as many as there may be.
    fn create(&self, guest: &mut dyn Guest) -> Result<Option<Arc<Mailbox>>> {
        let limit = self.shared.config.thread_limit;
        let take = |made: u32| (made < limit).then(|| made + 1);
        let new = || {
            let made = &self.shared.created;
            made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
        };
        let Some(gtid) = self.shared.kept.returning().or_else(new) else { return Ok(None) };
        let mailbox = Arc::new(Mailbox::default());
        self.shared.kept.made(gtid, &mailbox);
        lock(&self.shared.mailboxes).push(mailbox.clone());
        let worker = Worker { shared: self.shared.clone(), mailbox: mailbox.clone(), gtid };
        self.shared.threads.start(guest, worker)?;
        Ok(Some(mailbox))
    }

    /// `__kmpc_push_num_teams` and `__kmpc_push_num_teams_51`: what the next league's clauses ask
    /// for.
    pub fn push_num_teams(&self, teams: u32, threads: u32) {
        let positive = |number: u32| if number > i32::MAX as u32 { 0 } else { number };
        self.pushed_teams.set((positive(teams), positive(threads)));
    }

    /// `__kmpc_set_thread_limit`: most threads of regions within this task.
    pub fn set_thread_limit(&self, threads: u32) {
        if (1..=i32::MAX as u32).contains(&threads) {
            self.set_icvs(|icvs| icvs.thread_limit = icvs.thread_limit.min(threads));
        }
    }

    /// `__kmpc_fork_teams`: a league, whose teams never wait for one another: this thread runs
    /// them one after the other.
    ///
    /// # Errors
    /// As for [`Self::fork_call`].
    pub fn fork_teams(
        &self,
        guest: &mut dyn Guest,
        argc: u32,
        microtask: u32,
        args: u32,
    ) -> Result<()> {
        let work = self.work(argc, microtask, args)?;
        let mut icvs = self.icvs();
        let (teams, threads) = self.pushed_teams.replace((0, 0));
        let or = |asked: u32, otherwise: u32| if asked == 0 { otherwise } else { asked };
        let teams = or(teams, icvs.teams).clamp(1, TEAMS_MAX);
        let most = icvs.thread_limit;
        icvs.thread_limit = or(or(threads, icvs.teams_thread_limit), most).min(most);
        let around = self.team();
        for number in 0..teams {
            let league = (number, teams);
            let team = Team::of_league(&around, league, icvs, &self.shared);
            let member = Member { team: Rc::new(Arc::new(team)), tid: 0, goal: 0 };
            self.run_member(guest, &member, &work, || false)?;
        }
        Ok(())
    }

    /// `__kmpc_serialized_parallel`: a region that this thread runs alone, by its own call.
    ///
    /// # Errors
    /// If regions are nested too deeply.
    pub fn serialized_parallel(&self) -> Result<()> {
        self.pushed_threads.set(0);
        let (parent, tid) = self.frame(|frame| (frame.team.clone(), frame.tid));
        let (team, _) = self.hot_team(1, (&parent, tid), self.icvs());
        self.push_serial(team)
    }

    /// `__kmpc_end_serialized_parallel`.
    ///
    /// # Errors
    /// If the thread is not in such a region, and as for a barrier.
    pub fn end_serialized_parallel(&self, guest: &mut dyn Guest) -> Result<()> {
        let team = self.team();
        if team.size == 1 && team.queue.outstanding() > 0 {
            self.barrier(guest)?;
        }
        self.pop_serial()
    }
}

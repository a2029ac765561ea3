//! Regions: their beginning, their threads, and the runtime that owns them.

use crate::{
    Advice, Config, Error, Guest, Memory, Result, Threads,
    config::Icvs,
    save,
    shared::{Mailbox, Shared, lock},
    size::{self, Region},
    team::{Team, Work},
    thread::Thread,
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

/// Teams that a thread keeps: by the time that the first is needed again, it has been left.
const SPARE_TEAMS_MAX: usize = 3;

fn initial_team(shared: &Shared) -> Arc<Team> {
    let icvs = Icvs::initial(&shared.config);
    Arc::new(Team::new(1, None, Work { microtask: 0, args: Vec::new(), icvs }, shared))
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
        while let Some((team, tid)) = self.mailbox.take(&self.shared) {
            if let Err(error) = thread.run_member(guest, team, tid) {
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
        let parent = self.frame(|frame| (frame.team.clone(), frame.tid));
        let (level, depth) = (parent.0.active_level, parent.0.depth);
        let size = self.reserve(level, work.icvs);
        let crew = match self.hire(guest, size - 1, depth) {
            Ok(crew) => crew,
            Err(error) => {
                self.shared.busy.fetch_sub(size - 1, Ordering::Relaxed);
                return Err(error);
            }
        };
        let size = crew.len() as u32 + 1;
        let team = self.make_team(size, parent, work);
        for (mailbox, tid) in crew.iter().zip(1..) {
            mailbox.put(team.clone(), tid);
        }
        let ran = self.run_member(guest, team.clone(), 0);
        self.keep_team(team);
        self.shared.busy.fetch_sub(size - 1, Ordering::Relaxed);
        if depth > 0 {
            lock(&self.shared.idle).extend(crew);
        }
        ran
    }

    /// A team, made of one of a region that is over, if its threads have all left that.
    fn make_team(&self, size: u32, parent: (Arc<Team>, u32), work: Work) -> Arc<Team> {
        let mut spare = self.spare_teams.borrow_mut();
        if let Some(mut team) = spare.pop_front()
            && let Some(old) = Arc::get_mut(&mut team)
        {
            old.renew(size, parent, work, &self.shared);
            return team;
        }
        Arc::new(Team::new(size, Some(parent), work, &self.shared))
    }

    /// Keeps a team for a later region; its threads leave it after its end.
    fn keep_team(&self, team: Arc<Team>) {
        let mut spare = self.spare_teams.borrow_mut();
        if spare.len() < SPARE_TEAMS_MAX {
            spare.push_back(team);
        }
    }

    fn work(&self, argc: u32, microtask: u32, args: u32) -> Result<Work> {
        if argc > ARGS_MAX {
            return Err(Error::Limit { what: "shared variables", limit: u64::from(ARGS_MAX) });
        }
        let at = |index: u32| args.checked_add(index * 4);
        let address = Error::Address { address: args, length: argc * 4 };
        let args: Option<Vec<u32>> =
            (0..argc).map(|index| self.memory().u32(at(index)?).ok()).collect();
        Ok(Work { microtask, args: args.ok_or(address)?, icvs: self.icvs() })
    }

    /// Decides on the region's size, and counts its threads as busy.
    fn reserve(&self, active_level: u32, icvs: Icvs) -> u32 {
        let config = &self.shared.config;
        let pushed = self.pushed_threads.replace(0);
        let wanted = if pushed == 0 { icvs.threads } else { pushed }.min(icvs.thread_limit);
        let bounds = size::Bounds {
            thread_limit: config.thread_limit,
            max_active_levels: icvs.max_active_levels,
            adjustable: icvs.dynamic || config.elastic,
        };
        let _alone = lock(&self.shared.forking);
        let busy = self.shared.busy.load(Ordering::Relaxed);
        let region = Region { wanted, ceiling: config.ceiling, busy, active_level };
        let size = size::decide(&region, &bounds, &*self.shared.advice);
        self.shared.busy.fetch_add(size - 1, Ordering::Relaxed);
        size
    }

    /// Finds so many threads, or fewer where no more may be made.
    fn hire(&self, guest: &mut dyn Guest, count: u32, depth: u32) -> Result<Vec<Arc<Mailbox>>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        // Between regions the first thread keeps those it had, in their order.
        let keeps = depth == 0;
        let mut crew = if keeps { self.crew.take() } else { Vec::new() };
        while crew.len() < count as usize {
            let idle = lock(&self.shared.idle).pop();
            let mailbox = match idle {
                Some(mailbox) => Some(mailbox),
                None => self.create(guest)?,
            };
            let Some(mailbox) = mailbox else { break };
            crew.push(mailbox);
        }
        let hired: Vec<_> = crew.iter().take(count as usize).cloned().collect();
        let missing = count - hired.len() as u32;
        self.shared.busy.fetch_sub(missing, Ordering::Relaxed);
        if keeps {
            self.crew.replace(crew);
        }
        Ok(hired)
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
        let mut work = self.work(argc, microtask, args)?;
        let (teams, threads) = self.pushed_teams.replace((0, 0));
        let or = |asked: u32, otherwise: u32| if asked == 0 { otherwise } else { asked };
        let teams = or(teams, work.icvs.teams).clamp(1, TEAMS_MAX);
        let most = work.icvs.thread_limit;
        work.icvs.thread_limit = or(or(threads, work.icvs.teams_thread_limit), most).min(most);
        let around = self.team();
        for number in 0..teams {
            let league = (number, teams);
            let team = Team::of_league(&around, league, work.clone(), &self.shared);
            self.run_member(guest, Arc::new(team), 0)?;
        }
        Ok(())
    }

    /// `__kmpc_serialized_parallel`: a region that this thread runs alone, by its own call.
    ///
    /// # Errors
    /// If regions are nested too deeply.
    pub fn serialized_parallel(&self) -> Result<()> {
        self.pushed_threads.set(0);
        let parent = self.frame(|frame| (frame.team.clone(), frame.tid));
        let work = Work { microtask: 0, args: Vec::new(), icvs: self.icvs() };
        self.push_serial(Team::new(1, Some(parent), work, &self.shared))
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

//! The loop that keeps a continuum's processes running.

use super::{
    ChildSpec, ChildState, DataFolder, Error, Lock, Phase, Plan, Result, State, await_ready,
    backoff::Backoff,
    down, ingress, logs, ports,
    process::{Identity, Process},
};
use crate::{
    client::Client,
    trust::{self, Authority},
};
use api::Problem;
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// A first start compiles nothing and moves nothing: this long means that something is wrong.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A child that ends so often before anything is ready will not get better by itself.
const CRASHES_MAX: u32 = 3;

/// How often logs are looked at.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Lines of a crashed child's log that its error shows.
const TAIL_LINES: usize = 5;

/// Keeps the processes of one data folder running; run it on its own task.
#[derive(Debug)]
pub struct Supervisor {
    folder: DataFolder,
    plan: Plan,
    children: Vec<ChildSpec>,
    client: Client,
    state: State,
    // Held for as long as the supervisor lives.
    _lock: Lock,
}

/// What a supervisor has to say while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// What is not ready yet.
    Waiting(String),
    /// Everything is.
    Ready,
    /// A child ended and is started again.
    Restarting {
        /// Which.
        child: String,
        /// How it ended.
        end: String,
    },
    /// Everything is being ended.
    Stopping,
}

/// What happened to a child.
#[derive(Debug)]
enum Event {
    Started { child: usize, pid: i32 },
    Ended { child: usize, end: String },
}

impl Supervisor {
    /// Takes the folder for this process; nothing is started yet.
    ///
    /// # Errors
    /// If the folder cannot be used or another supervisor has it.
    pub fn new(folder: DataFolder, plan: Plan, children: Vec<ChildSpec>) -> Result<Self> {
        folder.prepare()?;
        let lock = folder.lock()?;
        if plan.bind.is_some() {
            let authority = Authority::open(&folder.control())?;
            for site in &plan.sites {
                let path = folder.identity(&site.name);
                trust::Identity::local(&authority, &folder.control(), &site.name, &path)?;
            }
        }
        let client = Client::new(&plan.url(), Some(folder.token()?), api::DEFAULT_TENANT)?;
        let child_state = |child: &ChildSpec| ChildState {
            name: child.name.clone(),
            pid: None,
            restarts: 0,
            last_end: None,
        };
        let state = State {
            supervisor: own_identity()?,
            phase: Phase::Starting,
            problem: None,
            started: now_ms(),
            url: plan.url(),
            bind: plan.bind,
            network: plan.network,
            dns: plan.dns(),
            ingress: plan.ingress(),
            sites: plan.sites.iter().map(|site| site.name.clone()).collect(),
            children: children.iter().map(child_state).collect(),
        };
        Ok(Self { folder, plan, children, client, state, _lock: lock })
    }

    /// Runs everything until `stop`, then ends everything, workers included. `notify` hears what
    /// happens.
    ///
    /// # Errors
    /// If a port is taken, a child cannot be kept running before everything was ready once, or
    /// something cannot be ended.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut notify: impl FnMut(Notice),
    ) -> Result<()> {
        let result = self.run_until(stop, &mut notify).await;
        match &result {
            Ok(()) => self.folder.remove_state()?,
            Err(error) => {
                self.state.phase = Phase::Failed;
                self.state.problem = Some(Problem::from_error(error.kind(), error));
                self.folder.save_state(&self.state)?;
            }
        }
        result
    }

    async fn run_until(
        &mut self,
        stop: impl Future<Output = ()>,
        notify: &mut impl FnMut(Notice),
    ) -> Result<()> {
        self.folder.save_state(&self.state)?;
        let adopted = self.adopt().await?;
        self.check_ports(&adopted)?;
        let ingress = self.ingress().await?;
        let (events, heard) = mpsc::channel(64);
        let (stop_sites, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let (mut sites, mut control) = (JoinSet::new(), JoinSet::new());
        for (index, (spec, process)) in self.children.iter().zip(adopted).enumerate() {
            let (group, token) = match index {
                0 => (&mut control, &stop_control),
                _ => (&mut sites, &stop_sites),
            };
            let keeper = Keeper {
                index,
                spec: spec.clone(),
                folder: self.folder.clone(),
                log: self.folder.log(&spec.name),
                events: events.clone(),
                stop: token.clone(),
            };
            group.spawn(keeper.run(process));
        }
        drop(events);
        let result = tokio::select! {
            result = self.watch(stop, heard, notify) => result,
            never = ingress => match never {},
        };
        notify(Notice::Stopping);
        self.state.phase = Phase::Stopping;
        // A state that cannot be written must not keep anything from being ended.
        let saved = self.folder.save_state(&self.state);
        // Agents first: they tell the control plane what they hold until their last moment.
        stop_sites.cancel();
        let ended = joined(&mut sites).await;
        stop_control.cancel();
        let ended = ended.and(joined(&mut control).await);
        let ended = ended.and(down::end_workers(&self.folder).await.map(drop));
        result.and(ended).and(saved)
    }

    /// Takes over what an earlier supervisor started and left running, where it is just what would
    /// be started now; ends the rest.
    async fn adopt(&self) -> Result<Vec<Option<Process>>> {
        let mut adopted: Vec<_> = self.children.iter().map(|_| None).collect();
        for (name, identity) in self.folder.children()? {
            let wanted = self.children.iter().position(|child| child.name == name);
            let same = wanted.filter(|index| {
                let child = &self.children[*index];
                identity.runs(&child.program, &child.args)
            });
            let Some(mut process) = Process::adopt(&identity)? else {
                self.folder.remove_child(&name)?;
                continue;
            };
            match same {
                Some(index) => adopted[index] = Some(process),
                None => {
                    process.end(&name, down::GRACE).await?;
                    self.folder.remove_child(&name)?;
                }
            }
        }
        self.adopt_unnoted(&mut adopted)?;
        Ok(adopted)
    }

    /// A supervisor that was killed may have started a child and not yet noted it.
    fn adopt_unnoted(&self, adopted: &mut [Option<Process>]) -> Result<()> {
        // Only a command line that names the folder is no other continuum's.
        let is_ours = |arg: &String| Path::new(arg).starts_with(self.folder.root());
        let unknown = self.children.iter().zip(adopted).filter(|(_, it)| it.is_none());
        for (child, place) in unknown.filter(|(child, _)| child.args.iter().any(is_ours)) {
            let found = Identity::all().find(|found| found.runs(&child.program, &child.args));
            if let Some(process) = found.as_ref().map(Process::adopt).transpose()?.flatten() {
                self.folder.save_child(&child.name, &process.identity)?;
                *place = Some(process);
            }
        }
        Ok(())
    }

    /// Ports that adopted children hold are theirs.
    fn check_ports(&self, adopted: &[Option<Process>]) -> Result<()> {
        let is_adopted = |name: &str| {
            let index = self.children.iter().position(|child| child.name == name);
            index.is_some_and(|index| adopted[index].is_some())
        };
        let mut listeners = self.plan.listeners();
        listeners.retain(|listener| !is_adopted(&listener.child));
        match ports::check(listeners)? {
            taken if taken.is_empty() => Ok(()),
            taken => Err(Error::Ports(taken)),
        }
    }

    /// The local ingress, listening; it serves while the returned future is polled.
    async fn ingress(&self) -> Result<impl Future<Output = Infallible> + use<>> {
        let address = self.plan.ingress();
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen {
            address,
            purpose: "the local ingress".into(),
            source,
        })?;
        let (dns, port) = (self.plan.dns(), self.plan.site_ingress_port());
        Ok(ingress::Ingress::new(dns, port, self.client.clone()).serve(listener))
    }

    /// Keeps the state file true until `stop`, or until nothing can become ready any more.
    async fn watch(
        &mut self,
        stop: impl Future<Output = ()>,
        mut heard: mpsc::Receiver<Event>,
        notify: &mut impl FnMut(Notice),
    ) -> Result<()> {
        let (waiting, mut waits) = mpsc::unbounded_channel();
        let (client, sites, folder) =
            (self.client.clone(), self.state.sites.clone(), self.folder.logs());
        let readiness = async move {
            let tell = |text: &str| drop(waiting.send(text.to_owned()));
            await_ready(&client, &sites, READY_LIMIT, &folder, tell).await
        };
        tokio::pin!(stop, readiness);
        let mut log_time = interval(LOG_PERIOD);
        log_time.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(event) = heard.recv() => self.note(event, notify)?,
                Some(text) = waits.recv() => notify(Notice::Waiting(text)),
                ready = &mut readiness, if self.state.phase == Phase::Starting => {
                    ready?;
                    self.state.phase = Phase::Ready;
                    self.folder.save_state(&self.state)?;
                    notify(Notice::Ready);
                }
                _ = log_time.tick() => self.rotate_logs(),
            }
        }
    }

    fn note(&mut self, event: Event, notify: &mut impl FnMut(Notice)) -> Result<()> {
        match event {
            Event::Started { child, pid } => self.state.children[child].pid = Some(pid),
            Event::Ended { child, end } => {
                let state = &mut self.state.children[child];
                state.pid = None;
                state.restarts += 1;
                state.last_end = Some(end.clone());
                if self.state.phase == Phase::Starting && state.restarts >= CRASHES_MAX {
                    let log = self.folder.log(&state.name);
                    return Err(Error::Crashing {
                        child: state.name.clone(),
                        times: state.restarts,
                        last: end,
                        tail: logs::tail(&log, TAIL_LINES),
                        log,
                    });
                }
                notify(Notice::Restarting { child: state.name.clone(), end });
            }
        }
        self.folder.save_state(&self.state)
    }

    fn rotate_logs(&self) {
        let names = self.children.iter().map(|child| child.name.as_str());
        for name in names.chain(["supervisor"]) {
            if let Err(error) = logs::rotate(&self.folder.log(name), logs::LOG_MAX_BYTES) {
                tracing::warn!(error = %types::chain(&error), name, "a log grows on");
            }
        }
    }
}

/// Keeps one child running.
struct Keeper {
    index: usize,
    spec: ChildSpec,
    folder: DataFolder,
    log: PathBuf,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

impl Keeper {
    /// Runs until stopped; then the child has ended.
    async fn run(self, mut adopted: Option<Process>) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let end = match adopted.take().map_or_else(|| self.spawn(), Ok) {
                Ok(mut process) => match self.keep(&mut process).await? {
                    Some(end) => end,
                    None => return Ok(()),
                },
                Err(error) => types::chain(&error),
            };
            self.tell(Event::Ended { child: self.index, end }).await;
            tokio::select! {
                () = sleep(backoff.pause(started.elapsed())) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn spawn(&self) -> Result<Process> {
        let process = Process::spawn(&self.spec, &self.log)?;
        self.folder.save_child(&self.spec.name, &process.identity)?;
        Ok(process)
    }

    /// Returns how the child ended, or nothing if it was ended.
    async fn keep(&self, process: &mut Process) -> Result<Option<String>> {
        self.tell(Event::Started { child: self.index, pid: process.identity.pid }).await;
        let end = tokio::select! {
            end = process.ended() => Some(end),
            () = self.stop.cancelled() => None,
        };
        if end.is_none() {
            process.end(&self.spec.name, down::GRACE).await?;
        }
        self.folder.remove_child(&self.spec.name)?;
        Ok(end)
    }

    async fn tell(&self, event: Event) {
        // While everything ends nobody listens any more.
        let _ = self.events.send(event).await;
    }
}

/// The first failure of all tasks, after all have ended.
async fn joined(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let mut result = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let ended = joined.unwrap_or_else(|error| {
            Err(Error::System { action: "keep a child running", source: error.into() })
        });
        result = result.and(ended);
    }
    result
}

fn own_identity() -> Result<Identity> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    Identity::of(pid).ok_or_else(|| Error::System {
        action: "read /proc, which tells processes apart",
        source: std::io::ErrorKind::NotFound.into(),
    })
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

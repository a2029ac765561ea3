//! Leads the ranks of one tissue to their next layout.

use super::{
    super::{
        Error, Result,
        batch::Batch,
        cache::{Cell, Id},
        conn::CallError,
        decisions,
        migrate::Running,
        owed,
        state::State,
        status::set_condition,
    },
    close, fail, find, is_gone, owe, undo,
};
use api::{
    Problem,
    cell::{RanksStatus, TissueCheckpoint},
    link::{Call, Reply, Transferred},
    tissue::{Door, Layout, Step},
};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tracing::{info, warn};
use types::{Digest, ErrorKind};

/// How soon a tissue that cannot begin yet is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How long ranks may take to stop: longer than their sites wait for them.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// One change of the layout.
pub(super) struct Drive {
    state: Arc<State>,
    running: Arc<Running>,
    id: Id,
    uid: String,
    /// Where the ranks are; nothing if they begin.
    before: Option<Layout>,
    next: Layout,
    /// The sites by number.
    sites: Vec<String>,
    restore: Vec<Digest>,
    incarnation: u32,
    begun: Duration,
    /// When the ranks were asked to stop, and when the last of them could go on.
    stood: (Option<Duration>, Option<Duration>),
    steps: Vec<(&'static str, Duration)>,
    sent: Transferred,
}

/// Where each site listens, and what lets in.
type Doors = BTreeMap<u32, (SocketAddr, String)>;

impl Drive {
    pub(super) fn new(state: &Arc<State>, running: &Arc<Running>, cell: &Cell) -> Option<Self> {
        let ranks = cell.status.ranks.as_ref()?;
        let begins = ranks.layout.places.is_empty();
        let checkpoint = ranks.checkpoint.as_ref().filter(|_| begins && ranks.incarnation > 1);
        let parts = |checkpoint: &TissueCheckpoint| checkpoint.parts.clone();
        let first = || cell.spec.restore.into_iter().collect();
        Some(Self {
            state: state.clone(),
            running: running.clone(),
            id: cell.id(),
            uid: cell.uid().to_owned(),
            before: (!begins).then(|| ranks.layout.clone()),
            next: ranks.next.clone()?,
            sites: ranks.sites.clone(),
            restore: checkpoint.map_or_else(first, parts),
            incarnation: ranks.incarnation,
            begun: state.clock.monotonic(),
            stood: (None, None),
            steps: Vec::new(),
            sent: Transferred::default(),
        })
    }

    /// Leads them there, or leaves all as it was.
    pub(super) async fn run(mut self) {
        let led = self.lead().await;
        let result = match led {
            Ok(()) => self.moved().await,
            Err(problem) => self.stay(problem).await,
        };
        self.state.migrations().remove(&self.uid);
        self.running.ended(result);
        self.state.wake();
    }

    async fn lead(&mut self) -> Result<(), Problem> {
        let (old, new) = (self.old(), self.next.sites());
        let mut all = [old.clone(), new.clone()].concat();
        all.sort_unstable();
        all.dedup();
        let doors = self.prepare(&all).await?;
        self.connect(&all, &doors).await?;
        let transfer = self.state.config.transfer_timeout;
        if !old.is_empty() {
            self.all("copy", &old, Step::Copy, transfer).await?;
            self.stood.0 = Some(self.now());
            self.all("stop", &old, Step::Stop, STOP_TIMEOUT).await?;
            self.all("send", &old, Step::Send, transfer).await?;
        }
        self.all("arrive", &new, Step::Arrive, transfer).await?;
        self.commit().await.map_err(Problem::from)
    }

    fn now(&self) -> Duration {
        self.state.clock.monotonic()
    }

    fn old(&self) -> Vec<u32> {
        self.before.as_ref().map(Layout::sites).unwrap_or_default()
    }

    fn name(&self, site: u32) -> &str {
        self.sites.get(site as usize).map_or("", String::as_str)
    }

    fn took(&mut self, name: &'static str, since: Duration) {
        let took = self.now().saturating_sub(since);
        self.steps.push((name, took));
    }

    /// Asks a site for a step, unless the tissue is deleted meanwhile.
    async fn ask(&self, site: u32, step: Step, timeout: Duration) -> Result<Reply, Problem> {
        let conn = self.state.sites(|sites| sites.connection(self.name(site)))?;
        let call = Call::Tissue { uid: self.uid.clone(), number: self.next.number, step };
        tokio::select! {
            reply = conn.call(call, timeout) => Ok(reply?),
            () = self.running.cancelled() => Err(deleted()),
        }
    }

    /// Asks these sites for the same step at once.
    async fn all(
        &mut self,
        name: &'static str,
        sites: &[u32],
        step: Step,
        timeout: Duration,
    ) -> Result<(), Problem> {
        let since = self.now();
        let asked = sites.iter().map(|site| self.ask(*site, step.clone(), timeout));
        let replies = try_join_all(asked).await;
        self.took(name, since);
        for reply in replies? {
            if let Reply::Transferred(sent) = reply {
                self.sent.precopy_bytes += sent.precopy_bytes;
                self.sent.final_bytes += sent.final_bytes;
                self.sent.rounds = self.sent.rounds.max(sent.rounds);
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, sites: &[u32]) -> Result<Doors, Problem> {
        let since = self.now();
        let prepared =
            sites.iter().map(|site| async { Ok((*site, self.prepare_at(*site).await?)) });
        let doors = try_join_all(prepared).await;
        self.took("prepare", since);
        doors.map(|doors| doors.into_iter().collect())
    }

    /// Has a site make room. It may have to fetch and compile the program first; whoever begins
    /// waits for as long as it takes.
    async fn prepare_at(&self, site: u32) -> Result<(SocketAddr, String), Problem> {
        let step = Step::Prepare {
            here: site,
            incarnation: self.incarnation,
            layout: self.next.clone(),
            before: self.before.clone(),
            restore: self.restore.clone(),
        };
        let timeout = self.state.config.prepare_timeout;
        let deadline = self.now() + timeout;
        loop {
            match self.ask(site, step.clone(), timeout).await {
                Ok(Reply::Prepared { address, secret }) => return Ok((address, secret)),
                Ok(_) => return Err(odd(self.name(site))),
                Err(problem) => {
                    let waits = matches!(problem.kind, ErrorKind::Unavailable | ErrorKind::Timeout);
                    let late = self.before.is_some() && self.now() >= deadline;
                    // Others can have its ranks, as they were at the last checkpoint.
                    let gone = self.begins_again() && is_gone(&self.state, self.name(site));
                    if !waits || late || gone || self.is_over() {
                        return Err(problem);
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Whether the ranks go on from a checkpoint.
    fn begins_again(&self) -> bool {
        self.before.is_none() && self.incarnation > 1
    }

    /// Whether the tissue has ended, or is another one.
    fn is_over(&self) -> bool {
        self.state.stop.is_cancelled() || self.current().is_none()
    }

    /// The tissue, while it still is on this way.
    fn current(&self) -> Option<(Arc<Cell>, RanksStatus)> {
        let cell = find(&self.state, &self.id).ok()?;
        let ranks = cell.status.ranks.clone()?;
        let same = cell.uid() == self.uid && ranks.next.as_ref() == Some(&self.next);
        (same && !cell.deleting() && cell.status.ended.is_none()).then_some((cell, ranks))
    }

    async fn connect(&mut self, sites: &[u32], doors: &Doors) -> Result<(), Problem> {
        let since = self.now();
        let timeout = self.state.config.call_timeout;
        let asked = sites.iter().map(|site| {
            let doors = self.doors_for(*site, doors);
            self.ask(*site, Step::Connect { here: *site, doors }, timeout)
        });
        let connected = try_join_all(asked).await;
        self.took("connect", since);
        connected.map(drop)
    }

    /// What a site is to dial: states go from the old layout to the new one, and of two sites that
    /// exchange messages the lower number dials.
    fn doors_for(&self, from: u32, doors: &Doors) -> Vec<Door> {
        let before = self.before.as_ref().is_some_and(|before| before.has(from));
        let door = |(site, (address, secret)): (&u32, &(SocketAddr, String))| {
            let there = *site != from && self.next.has(*site);
            let states = (there && before).then_some(*address);
            let messages = (there && self.next.has(from) && from < *site).then_some(*address);
            let any = states.or(messages).is_some();
            any.then(|| Door { site: *site, states, messages, secret: secret.clone() })
        };
        doors.iter().filter_map(door).collect()
    }

    /// Stores the new layout; from here on its sites hear that their ranks shall run.
    async fn commit(&mut self) -> Result<()> {
        let since = self.now();
        loop {
            let Some((cell, _)) = self.current() else { return Err(deleted().into()) };
            let now = self.state.wall_ms();
            let mut status = cell.status.clone();
            let ranks = status.ranks.get_or_insert_default();
            ranks.layout = self.next.clone();
            ranks.next = None;
            status.running = true;
            status.started = status.started.or(Some(now));
            let names: Vec<&str> = self.next.sites().iter().map(|site| self.name(*site)).collect();
            let message = format!("its ranks run at `{}`", names.join("`, `"));
            set_condition(&mut status.conditions, "Running", true, "Running", message, now);
            let mut batch = Batch::new();
            batch.put(cell.with_status(&status));
            let keys: Vec<String> = names
                .iter()
                .map(|site| owe(&mut batch, &cell, site, self.next.number, Step::Go))
                .collect();
            match self.state.commit(batch).await {
                Err(Error::Raced) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    self.took("commit", since);
                    self.tell("go", &keys).await;
                    self.stood.1 = Some(self.now());
                    return Ok(());
                }
            }
        }
    }

    /// Tells sites the verdict, which they are owed until they have answered.
    async fn tell(&mut self, name: &'static str, keys: &[String]) {
        let since = self.now();
        let (state, id) = (&self.state, &self.id);
        let heard = join_all(keys.iter().map(|key| async move {
            match owed::call(state, key).await {
                Err(CallError::Unheard(_)) => None,
                Err(CallError::Refused(problem)) => {
                    warn!(tissue = %id, name, problem = problem.message, "a verdict");
                    Some(key)
                }
                Ok(()) => Some(key),
            }
        }))
        .await;
        self.took(name, since);
        let mut batch = Batch::new();
        heard.into_iter().flatten().for_each(|key| batch.settle(key));
        if let Err(error) = self.state.commit(batch).await {
            warn!(tissue = %self.id, error = types::chain(&error), "verdicts stay owed");
        }
    }

    fn observed(&self) -> serde_json::Value {
        let phases: Vec<_> = self
            .steps
            .iter()
            .map(|(name, took)| json!({"name": name, "ms": took.as_secs_f64() * 1000.0}))
            .collect();
        let stop = self.stood.0.zip(self.stood.1).map(|(from, to)| micros(to.saturating_sub(from)));
        json!({
            "phases": phases,
            "totalUs": micros(self.now().saturating_sub(self.begun)),
            "stopUs": stop,
            "precopyBytes": self.sent.precopy_bytes,
            "precopyRounds": self.sent.rounds,
            "finalBytes": self.sent.final_bytes,
        })
    }

    async fn moved(&mut self) -> Result<(), Problem> {
        close(&self.state, &self.running, decisions::DONE, self.observed()).await;
        let (layout, incarnation) = (self.next.number, self.incarnation);
        info!(tissue = %self.id, layout, incarnation, "its ranks run");
        Ok(())
    }

    /// Leaves the ranks where they were; those that could not begin have failed.
    async fn stay(&mut self, problem: Problem) -> Result<(), Problem> {
        info!(tissue = %self.id, cause = problem.message, "its ranks did not come to their places");
        let again = self.begins_again() && problem.kind == ErrorKind::Unavailable;
        while let Some((cell, ranks)) = self.current().filter(|_| !again) {
            let (mut batch, keys) = undo(&cell, &ranks, &self.next);
            if self.before.is_none() {
                if self.state.stop.is_cancelled() {
                    break;
                }
                batch = Batch::new();
                let mut status = cell.status.clone();
                fail(&self.state, &mut status, problem.message.clone());
                batch.put(cell.with_status(&status));
            }
            match self.state.commit(batch).await {
                Err(Error::Raced) => {}
                Err(error) => {
                    warn!(tissue = %self.id, error = types::chain(&error), "not undone");
                    break;
                }
                Ok(_) => {
                    if self.before.is_some() {
                        self.tell("undo", &keys).await;
                    }
                    break;
                }
            }
        }
        let mut observed = self.observed();
        observed["error"] = problem.message.clone().into();
        close(&self.state, &self.running, decisions::ROLLED_BACK, observed).await;
        let message = format!("the ranks stay where they are: {}", problem.message);
        Err(Problem::new(problem.kind, message))
    }
}

fn deleted() -> Problem {
    Problem::new(ErrorKind::Conflict, "it is being deleted, or has ended")
}

fn odd(site: &str) -> Problem {
    let message = format!("site `{site}` answered something else than it was asked");
    Problem::new(ErrorKind::Internal, message)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

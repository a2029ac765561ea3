//! Carries out the steps of one migration.

use super::{
    super::{
        Error, Result,
        batch::Batch,
        cache::{Id, Service},
        conn::CallError,
        decisions, desired,
        owed::{self, Owed},
        state::State,
        status,
    },
    Running, owed_key, undo,
};
use api::{
    Problem, Resource,
    decision::DecisionStatus,
    link::{Call, Reply, Transferred},
    service::{Migration, Phase},
};
use decide::migration::{self, Event, Outcome, Step, step};
use futures_util::future::join_all;
use serde_json::json;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tracing::{info, warn};
use types::{Epoch, ErrorKind};

/// How long each step took, in its order.
#[derive(Debug, Default)]
struct Timeline {
    steps: Vec<(&'static str, Duration)>,
    transferred: Transferred,
    /// Verdicts that were answered.
    heard: Vec<String>,
    /// What sites said against the verdict, or why they have not heard it yet.
    complaints: Vec<String>,
}

/// One migration and all that its steps need.
pub(super) struct Drive {
    state: Arc<State>,
    running: Arc<Running>,
    id: Id,
    uid: String,
    /// The epoch that the source holds.
    epoch: Epoch,
    plan: Migration,
    timeline: Mutex<Timeline>,
    begun: Duration,
    receiver: Option<(SocketAddr, String)>,
    problem: Option<Problem>,
}

impl Drive {
    pub(super) fn new(
        state: &Arc<State>,
        running: &Arc<Running>,
        service: &Service,
        plan: Migration,
        begun: Duration,
    ) -> Self {
        Self {
            state: state.clone(),
            running: running.clone(),
            id: service.id(),
            uid: service.uid().to_owned(),
            epoch: service.status.epoch,
            plan,
            timeline: Mutex::default(),
            begun,
            receiver: None,
            problem: None,
        }
    }

    /// Carries the steps out until the migration has ended.
    pub(super) async fn run(mut self, begun: (migration::State, Vec<Step>)) {
        let (mut stage, steps) = begun;
        let mut todo = VecDeque::from(steps);
        while let Some(next) = todo.pop_front() {
            let events = match next {
                Step::CallActivate | Step::CallRelease => self.tell_both(&mut todo, "switch").await,
                Step::CallAbortSource | Step::CallAbortTarget => {
                    self.tell_both(&mut todo, "abort").await
                }
                Step::SwitchName => {
                    self.switch_name();
                    Vec::new()
                }
                other => match self.act(other).await {
                    Some(event) => vec![event],
                    // The store failed: what it holds is ended by the next process.
                    None => return self.end(None).await,
                },
            };
            for event in events {
                let (after, steps) = step(stage, event);
                stage = after;
                todo.extend(steps);
            }
        }
        match stage {
            migration::State::Ended(outcome) => {
                self.settle().await;
                self.end(Some(outcome)).await;
            }
            _ => self.end(None).await,
        }
    }

    async fn act(&mut self, what: Step) -> Option<Event> {
        let begun = self.state.clock.monotonic();
        let event = match what {
            Step::CallPrepare => Some(self.prepare().await),
            Step::CallTransfer => Some(self.transfer().await),
            Step::StoreCommit => self.commit().await,
            Step::StoreAbort => self.abort().await,
            _ => None,
        };
        let name = match what {
            Step::CallPrepare => "prepare",
            Step::CallTransfer => "transfer",
            Step::StoreCommit => "commit",
            _ => "abort",
        };
        self.took(name, begun);
        event
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, name: &'static str, begun: Duration) {
        let took = self.state.clock.monotonic().saturating_sub(begun);
        self.timeline().steps.push((name, took));
    }

    /// Asks a site, unless the migration is cancelled meanwhile.
    async fn ask(&self, site: &str, call: Call, timeout: Duration) -> Result<Reply, Problem> {
        let conn = self.state.sites(|sites| sites.connection(site))?;
        tokio::select! {
            reply = conn.call(call, timeout) => Ok(reply?),
            () = self.running.cancelled.cancelled() => Err(Problem::new(
                ErrorKind::Conflict,
                "the migration was cancelled, for the service is being deleted",
            )),
        }
    }

    fn failed(&mut self, problem: Problem) -> Event {
        self.problem.get_or_insert(problem);
        Event::Failed
    }

    async fn prepare(&mut self) -> Event {
        let service = self.state.cache(|cache| cache.services.get(&self.id).cloned());
        let assignment = service.and_then(|service| desired::assignment(&service, self.plan.epoch));
        let Some(assignment) = assignment else {
            return self.failed(Problem::new(ErrorKind::NotFound, "the service is gone"));
        };
        let call =
            Call::Prepare { migration: self.plan.id.clone(), assignment: Box::new(assignment) };
        match self.ask(&self.plan.to, call, self.state.config.prepare_timeout).await {
            Ok(Reply::Prepared { address, secret }) => {
                self.receiver = Some((address, secret));
                Event::Prepared
            }
            Ok(_) => self.failed(unexpected(&self.plan.to)),
            Err(problem) => self.failed(problem),
        }
    }

    async fn transfer(&mut self) -> Event {
        let Some((address, secret)) = self.receiver.clone() else {
            return self.failed(unexpected(&self.plan.to));
        };
        let call = Call::Transfer {
            migration: self.plan.id.clone(),
            uid: self.uid.clone(),
            epoch: self.epoch,
            address,
            secret,
        };
        match self.ask(&self.plan.from, call, self.state.config.transfer_timeout).await {
            Ok(Reply::Transferred(cost)) => {
                self.timeline().transferred = cost;
                Event::Transferred
            }
            Ok(_) => self.failed(unexpected(&self.plan.from)),
            Err(problem) => self.failed(problem),
        }
    }

    /// The service, while it still is the one that this migration moves.
    fn moving(&self) -> Option<Arc<Service>> {
        let service = self.state.cache(|cache| cache.services.get(&self.id).cloned())?;
        let plan = service.status.migration.as_ref()?;
        (plan.id == self.plan.id).then_some(service)
    }

    /// Stores the switch. Nothing if the store failed and the outcome is not known.
    async fn commit(&mut self) -> Option<Event> {
        loop {
            if let Err(problem) = self.state.sites(|sites| sites.connection(&self.plan.to)) {
                self.failed(problem);
                return Some(Event::NotCommitted);
            }
            let Some(service) = self.moving().filter(|service| !service.deleting()) else {
                self.failed(Problem::new(ErrorKind::Conflict, "the service is being deleted"));
                return Some(Event::NotCommitted);
            };
            let (batch, decision) = self.switch(&service)?;
            match self.store(batch, decision).await {
                Ok(()) => return Some(Event::Committed),
                Err(Error::Raced) => {}
                Err(_) if self.state.stop.is_cancelled() => return None,
                Err(error) => {
                    self.failed(error.into());
                    return Some(Event::NotCommitted);
                }
            }
        }
    }

    async fn store(&self, batch: Batch, mut decision: Resource) -> Result<()> {
        let revision = self.state.commit(batch).await?;
        decision.metadata.resource_version = Some(revision);
        self.running.decided(decision);
        Ok(())
    }

    /// The transaction that moves the service.
    fn switch(&self, service: &Service) -> Option<(Batch, Resource)> {
        let mut new = service.status.clone();
        new.site = Some(self.plan.to.clone());
        new.epoch = self.plan.epoch;
        new.incarnation = 0;
        new.requests_answered = 0;
        new.cpu_us = 0;
        new.phase = Phase::Ready;
        new.migration = None;
        let now = self.state.wall_ms();
        let message = format!("`{}` answers", self.plan.to);
        let placed = format!("on `{}`", self.plan.to);
        status::set_condition(&mut new.conditions, "Ready", true, "Serving", message, now);
        status::set_condition(&mut new.conditions, "Placed", true, "Placed", placed, now);
        status::locate(&self.state, service, &mut new);
        let decision = self.running.decision()?;
        let decision = decisions::ended(&self.state, decision, decisions::DONE, self.observed());
        let mut batch = Batch::new();
        batch.put(service.with_status(&new));
        batch.put(decision.clone());
        batch.owe(&self.key(&self.plan.to), self.owed(&self.plan.to, self.activate()));
        batch.owe(&self.key(&self.plan.from), self.owed(&self.plan.from, self.release()?));
        Some((batch, decision))
    }

    fn activate(&self) -> Call {
        Call::Activate { migration: self.plan.id.clone() }
    }

    fn release(&self) -> Option<Call> {
        let grace = self.state.config.forward_grace.as_millis();
        Some(Call::Release {
            migration: self.plan.id.clone(),
            to: self.state.door_of(&self.plan.to)?,
            forward_ms: u64::try_from(grace).unwrap_or(u64::MAX),
        })
    }

    fn key(&self, site: &str) -> String {
        owed_key(site, &self.plan)
    }

    fn owed(&self, site: &str, call: Call) -> Owed {
        Owed { site: site.to_owned(), uid: self.uid.clone(), call }
    }

    fn switch_name(&self) {
        let begun = self.state.clock.monotonic();
        if let Some(address) = self.state.address_of(&self.plan.to) {
            self.state.names.switch(&self.id.tenant, &self.id.name, address);
        }
        self.took("name", begun);
    }

    /// Stores that nothing moved. Nothing if the store failed.
    async fn abort(&mut self) -> Option<Event> {
        let problem = self.problem.clone().unwrap_or_else(|| unexpected(&self.plan.to));
        let why = problem.message.clone();
        loop {
            let service = self.moving()?;
            let mut observed = self.observed();
            observed["error"] = why.clone().into();
            let decision = self.running.decision()?;
            let decision =
                decisions::ended(&self.state, decision, decisions::ROLLED_BACK, observed);
            let mut batch = Batch::new();
            undo(&self.state, &mut batch, &service, &self.plan);
            batch.put(decision.clone());
            match self.store(batch, decision).await {
                Ok(()) => return Some(Event::Aborted),
                Err(Error::Raced) => {}
                Err(error) => {
                    warn!(service = %self.id, error = types::chain(&error), "abort not stored");
                    return None;
                }
            }
        }
    }

    /// Tells both sites the verdict at once. What a site does not hear it stays owed.
    async fn tell_both(&self, todo: &mut VecDeque<Step>, what: &str) -> Vec<Event> {
        todo.pop_front();
        let begun = self.state.clock.monotonic();
        let steps = match what {
            "switch" => [("activate", &self.plan.to), ("release", &self.plan.from)],
            _ => [("abortTarget", &self.plan.to), ("abortSource", &self.plan.from)],
        };
        join_all(steps.map(|(step, site)| async move {
            let key = self.key(site);
            let answer = owed::call(&self.state, &key).await;
            self.took(step, begun);
            if !matches!(answer, Err(CallError::Unheard(_))) {
                self.timeline().heard.push(key);
            }
            if let Err(problem) = answer.map_err(Problem::from) {
                warn!(service = %self.id, site, step, problem = problem.message, "a verdict");
                self.timeline().complaints.push(problem.message);
            }
        }))
        .await;
        vec![Event::TargetTold, Event::SourceTold]
    }

    /// What is known of the migration by now: times in milliseconds and microseconds, sizes.
    fn observed(&self) -> serde_json::Value {
        let timeline = self.timeline();
        let phases: Vec<_> = timeline
            .steps
            .iter()
            .map(|(name, took)| json!({"name": name, "ms": took.as_secs_f64() * 1000.0, "us": micros(*took)}))
            .collect();
        let cost = &timeline.transferred;
        json!({
            "phases": phases,
            "totalUs": micros(self.state.clock.monotonic().saturating_sub(self.begun)),
            "stopUs": cost.stop_us,
            "transferUs": cost.total_us,
            "precopyBytes": cost.precopy_bytes,
            "precopyRounds": cost.rounds,
            "finalBytes": cost.final_bytes,
            "complaints": timeline.complaints,
        })
    }

    async fn end(self, outcome: Option<Outcome>) {
        let result = match outcome {
            Some(Outcome::Moved) => {
                let total = self.state.clock.monotonic().saturating_sub(self.begun);
                let stop = self.timeline().transferred.stop_us;
                self.state.metrics.moved(total, Duration::from_micros(stop));
                info!(service = %self.id, from = self.plan.from, to = self.plan.to, ?total, "moved");
                Ok(())
            }
            Some(Outcome::RolledBack | Outcome::Refused) => {
                self.state.metrics.rolled_back();
                let cause = self.problem.clone().unwrap_or_else(|| unexpected(&self.plan.to));
                info!(service = %self.id, cause = cause.message, "rolled back");
                let message = format!(
                    "the migration was rolled back and `{}` serves on: {}",
                    self.plan.from, cause.message
                );
                Err(Problem::new(cause.kind, message))
            }
            None => Err(Problem::new(
                ErrorKind::Unavailable,
                "the store failed: the migration is ended when the control plane is back",
            )),
        };
        // Without an outcome nobody may touch the service before the store was read anew.
        if outcome.is_some() {
            self.state.migrations().remove(&self.uid);
        }
        self.running.ended.send_replace(Some(result));
        self.state.wake();
    }

    /// Forgets the verdicts that were answered, and adds to the decision what was observed since
    /// it was stored. Without the latter if the decision is gone.
    async fn settle(&self) {
        let heard = self.timeline().heard.clone();
        for explained in [true, false] {
            let mut batch = Batch::new();
            heard.iter().for_each(|key| batch.settle(key));
            if explained && let Some(mut decision) = self.running.decision() {
                let mut status: DecisionStatus = decision.status();
                let error = status.observed["error"].take();
                status.observed = self.observed();
                if !error.is_null() {
                    status.observed["error"] = error;
                }
                decision.set_status(&status);
                batch.put(decision);
            }
            match self.state.commit(batch).await {
                Err(Error::Raced) => {}
                Err(error) => {
                    warn!(service = %self.id, error = types::chain(&error), "verdicts stay owed");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn unexpected(site: &str) -> Problem {
    let message = format!("site `{site}` answered something else than it was asked");
    Problem::new(ErrorKind::Internal, message)
}

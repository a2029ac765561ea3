//! The one thread that changes the file.

use super::{
    Committed, Shared,
    draft::{Draft, Effects, State},
    tables::Stored,
};
use crate::{Error, Lease, LeaseId, Result, Txn, TxnOutcome};
use redb::Database;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

/// A request and its place in the queue.
pub(super) struct Job {
    pub(super) request: Request,
    /// Held until the answer, also when the caller no longer waits.
    pub(super) _place: OwnedSemaphorePermit,
}

type Reply<T> = oneshot::Sender<Result<T>>;

pub(super) enum Request {
    Txn(Txn, Reply<TxnOutcome>),
    Grant(u64, Reply<Lease>),
    Revoke(LeaseId, Reply<u64>),
    Compact(u64, Reply<()>),
}

/// What will be said to a caller once the commit is on disk.
enum Answer {
    Txn(Result<TxnOutcome>),
    Grant(Result<Lease>),
    Revoke(Result<u64>),
    Compact(Result<()>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    committed: watch::Sender<Committed>,
    state: State,
    /// Why the file can no longer be changed. What is on disk is uncertain after a failed commit,
    /// so nothing further is built on it.
    failed: Option<Error>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: Receiver<Job>,
        committed: watch::Sender<Committed>,
        state: State,
    ) -> Self {
        Self { shared, jobs, committed, state, failed: None }
    }

    /// Commits until the store's handle is dropped.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            self.commit(batch);
        }
    }

    /// The requests that wait now; none if it is time to look at the leases; `None` at the end.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let first = match self.lease_wait() {
            None => self.jobs.recv().ok()?,
            Some(wait) => match self.jobs.recv_timeout(wait) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        let more = self.shared.config.commit_batch_max - 1;
        Some(std::iter::once(first).chain(self.jobs.try_iter().take(more)).collect())
    }

    fn lease_wait(&self) -> Option<Duration> {
        if self.failed.is_some() {
            return None;
        }
        let end = self.shared.leases().next_end(self.shared.clock.monotonic())?;
        let check = Duration::from_millis(self.shared.config.lease_check_ms);
        Some(end.clamp(Duration::from_millis(1), check))
    }

    fn commit(&mut self, batch: Vec<Job>) {
        if let Some(error) = &self.failed {
            batch.into_iter().for_each(|job| job.request.refuse(error));
            return;
        }
        // Before the requests: whoever lost a lease must not pass its compare.
        let due = self.shared.leases().due(self.shared.clock.monotonic());
        if batch.is_empty() && due.is_empty() {
            return;
        }
        let written = self.shared.with_database(|database| self.write(database, &due, &batch));
        match written {
            Ok((state, effects, answers)) => {
                self.publish(state, effects);
                batch.into_iter().zip(answers).for_each(|(job, answer)| job.request.answer(answer));
            }
            Err(error) => {
                let path = self.shared.path.display();
                tracing::error!(%path, error = types::chain(&error), "the store failed");
                batch.into_iter().for_each(|job| job.request.refuse(&error));
                self.failed = Some(error);
            }
        }
    }

    /// Brings the requests to disk, in order.
    fn write(
        &self,
        database: &Database,
        due: &[LeaseId],
        batch: &[Job],
    ) -> Stored<(State, Effects, Vec<Answer>)> {
        let config = &self.shared.config;
        let txn = database.begin_write()?;
        let mut draft = Draft::open(&txn, self.state)?;
        for lease in due {
            // One that was revoked already is as good as ended.
            let _ = draft.end_lease(*lease)?;
        }
        let mut answers = Vec::with_capacity(batch.len());
        for job in batch {
            answers.push(match &job.request {
                Request::Txn(txn, _) => Answer::Txn(draft.txn(txn)?),
                Request::Grant(ttl_ms, _) => Answer::Grant(draft.grant(config, *ttl_ms)?),
                Request::Revoke(lease, _) => Answer::Revoke(draft.end_lease(*lease)?),
                Request::Compact(revision, _) => Answer::Compact(draft.compact(*revision)?),
            });
        }
        draft.trim(config)?;
        let (state, effects) = draft.finish();
        if state == self.state {
            txn.abort()?;
        } else {
            state.save(&txn)?;
            txn.commit()?;
        }
        Ok((state, effects, answers))
    }

    /// Lets watchers and the lease timer know, before any caller does.
    fn publish(&mut self, state: State, effects: Effects) {
        let now = self.shared.clock.monotonic();
        {
            let mut leases = self.shared.leases();
            effects.granted.iter().for_each(|lease| leases.insert(lease.id, lease.ttl, now));
            effects.ended.iter().for_each(|lease| leases.remove(*lease));
        }
        if state != self.state {
            self.state = state;
            self.shared.recent().extend(effects.events);
            self.committed.send_replace(state.committed());
        }
    }
}

impl Request {
    /// A caller that no longer waits is no failure.
    fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Txn(_, reply), Answer::Txn(answer)) => drop(reply.send(answer)),
            (Self::Grant(_, reply), Answer::Grant(answer)) => drop(reply.send(answer)),
            (Self::Revoke(_, reply), Answer::Revoke(answer)) => drop(reply.send(answer)),
            (Self::Compact(_, reply), Answer::Compact(answer)) => drop(reply.send(answer)),
            _ => unreachable!("answers are made in the order of their requests"),
        }
    }

    fn refuse(self, error: &Error) {
        let error = error.clone();
        match self {
            Self::Txn(_, reply) => drop(reply.send(Err(error))),
            Self::Grant(_, reply) => drop(reply.send(Err(error))),
            Self::Revoke(_, reply) => drop(reply.send(Err(error))),
            Self::Compact(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

//! Checkpoints of tissues: all ranks stop for a moment, every site writes its own, and what they
//! wrote is kept with the control plane.

use super::{
    super::{Error, batch::Batch, cache::Cell, conn::CallError, migrate::Running, state::State},
    find, form, owe,
};
use api::{
    Problem,
    cell::{RanksStatus, TissueCheckpoint},
    link::{Call, Reply},
    tissue::Step,
};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};
use types::ErrorKind;

/// How soon a checkpoint that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long ranks may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Takes the checkpoint that is due, or says when one will be.
pub(super) fn keep(state: &Arc<State>, cell: &Cell) -> Option<Duration> {
    let every = form(cell).and_then(|form| form.checkpoint_every)?;
    let ranks = cell.status.ranks.clone()?;
    let last = ranks.checkpoint.as_ref().map(|checkpoint| checkpoint.at);
    let last = last.max(cell.status.started).unwrap_or_default();
    let since = Duration::from_millis(state.wall_ms().saturating_sub(last));
    let left = every.0.saturating_sub(since);
    if !left.is_zero() {
        return Some(state.clock.monotonic() + left);
    }
    let running = Arc::new(Running::new());
    state.migrations().insert(cell.uid().to_owned(), running.clone());
    let (state, cell) = (state.clone(), cell.clone());
    state.clone().tasks.spawn(async move {
        if let Err(problem) = take(&state, &cell, &ranks).await {
            warn!(tissue = %cell.id(), problem = problem.message, "a checkpoint was not taken");
            // Not at once again: the ranks may just be through.
            tokio::time::sleep(RETRY).await;
        }
        state.migrations().remove(cell.uid());
        running.ended(Ok(()));
        state.wake();
    });
    None
}

async fn take(state: &Arc<State>, cell: &Cell, ranks: &RanksStatus) -> Result<(), Problem> {
    let begun = state.clock.monotonic();
    let sites: Vec<String> = ranks
        .layout
        .sites()
        .iter()
        .filter_map(|site| ranks.site(*site))
        .map(str::to_owned)
        .collect();
    let number = begin(state, cell, ranks).await?;
    let all = |step: Step, timeout: Duration| {
        let sites = &sites;
        async move {
            let uid = cell.uid();
            let asked =
                sites.iter().map(|site| ask(state, site, uid, number, step.clone(), timeout));
            // Every answer is waited for: whoever was heard must be undone after it.
            join_all(asked).await
        }
    };
    let transfer = state.config.transfer_timeout;
    let stopped = all_well(all(Step::Stop, STOP_TIMEOUT).await);
    let saved = match stopped {
        Ok(_) => all_well(all(Step::Save, transfer).await),
        Err(problem) => Err(problem),
    };
    let resumed = all(Step::Undo, state.config.call_timeout).await;
    let stood = state.clock.monotonic().saturating_sub(begun);
    owe_unheard(state, cell, number, sites.iter().zip(&resumed)).await?;
    saved?;
    let kept = all_well(all(Step::Keep, transfer).await)?;
    let mut checkpoint = TissueCheckpoint { at: state.wall_ms(), ..TissueCheckpoint::default() };
    for reply in kept {
        let Reply::Snapshot { digest, size_bytes } = reply else {
            return Err(Problem::new(ErrorKind::Internal, "a site answered something else"));
        };
        checkpoint.parts.push(digest);
        checkpoint.size_bytes += size_bytes;
    }
    info!(tissue = %cell.id(), ?stood, bytes = checkpoint.size_bytes, "checkpoint");
    note(state, cell, ranks, checkpoint).await
}

/// Gives the checkpoint a number that nothing before it had, so that late words about others leave
/// the ranks alone while it is taken. Stored, so that whoever goes on after this process knows it.
async fn begin(state: &Arc<State>, cell: &Cell, ranks: &RanksStatus) -> Result<u64, Problem> {
    change(state, cell, ranks, |known| {
        known.issued += 1;
        known.issued
    })
    .await?
    .ok_or_else(|| Problem::new(ErrorKind::Conflict, "it is not what it was"))
}

fn all_well(replies: Vec<Result<Reply, CallError>>) -> Result<Vec<Reply>, Problem> {
    replies.into_iter().map(|reply| reply.map_err(Problem::from)).collect()
}

/// Sites that have not heard that their ranks go on hear it when they are back.
async fn owe_unheard<'a>(
    state: &Arc<State>,
    cell: &Cell,
    number: u64,
    replies: impl Iterator<Item = (&'a String, &'a Result<Reply, CallError>)>,
) -> Result<(), Problem> {
    let mut batch = Batch::new();
    for (site, reply) in replies {
        if matches!(reply, Err(CallError::Unheard(_))) {
            owe(&mut batch, cell, site, number, Step::Undo);
        }
    }
    state.commit(batch).await.map(drop).map_err(Problem::from)
}

async fn ask(
    state: &State,
    site: &str,
    uid: &str,
    number: u64,
    step: Step,
    timeout: Duration,
) -> Result<Reply, CallError> {
    let conn = state.sites(|sites| sites.connection(site)).map_err(CallError::Unheard)?;
    conn.call(Call::Tissue { uid: uid.to_owned(), number, step }, timeout).await
}

async fn note(
    state: &Arc<State>,
    cell: &Cell,
    ranks: &RanksStatus,
    checkpoint: TissueCheckpoint,
) -> Result<(), Problem> {
    change(state, cell, ranks, |known| known.checkpoint = Some(checkpoint.clone())).await.map(drop)
}

/// Changes what is stored of the ranks, if they still are what they were.
async fn change<T>(
    state: &Arc<State>,
    cell: &Cell,
    ranks: &RanksStatus,
    change: impl Fn(&mut RanksStatus) -> T,
) -> Result<Option<T>, Problem> {
    loop {
        let now = find(state, &cell.id()).map_err(Problem::from)?;
        let mut status = now.status.clone();
        let known = status.ranks.get_or_insert_default();
        if now.uid() != cell.uid() || known.incarnation != ranks.incarnation {
            return Ok(None);
        }
        let made = change(known);
        let mut batch = Batch::new();
        batch.put(now.with_status(&status));
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            done => return done.map(|_| Some(made)).map_err(Problem::from),
        }
    }
}

//! Ranks that were placed with `compaction` come together when there is room: one tissue at a
//! time, and after a pause, so that room that comes and goes does not send them to and fro.

use super::{
    super::{
        cache::{Cell, Id},
        planner::{Fleet, open_hosts},
        state::State,
    },
    Wish, migrate,
};
use api::cell::{Place, RanksStatus};
use decide::plan::{Compaction, Migration, TissueId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracing::info;

/// How long a tissue is left alone whose move failed, in pauses: most fail again, as those of
/// programs that were not built to move.
const FAILED_PAUSES: u32 = 20;

/// What was done lately. Forgotten with the process, which only makes the next move later.
#[derive(Debug, Default)]
pub(in super::super) struct Lately(Mutex<Moves>);

#[derive(Debug, Default)]
struct Moves {
    /// One is under way.
    moving: bool,
    /// No other before then, by the monotonic clock.
    rests_until: Duration,
    /// Those whose move failed, by uid, and until when they are left alone.
    failed: HashMap<String, Duration>,
}

impl Lately {
    fn with<T>(&self, f: impl FnOnce(&mut Moves) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Begins the next move that is worth it; returns when to look again.
pub(super) fn gather(state: &Arc<State>) -> Option<Duration> {
    let now = state.clock.monotonic();
    let apart: Vec<Arc<Cell>> = state.cache(|cache| {
        let apart = cache.tissues.values().filter(|cell| is_apart(cell));
        apart.cloned().collect()
    });
    let (moving, rests_until) = state.lately.with(|moves| {
        // Whoever is not apart any more, or gone, need not be remembered.
        moves.failed.retain(|uid, _| apart.iter().any(|cell| cell.uid() == uid));
        (moves.moving, moves.rests_until)
    });
    if apart.is_empty() || moving {
        return None;
    }
    if now < rests_until {
        return Some(rests_until);
    }
    let waits = |cell: &Arc<Cell>| {
        state.lately.with(|moves| moves.failed.get(cell.uid()).copied()).filter(|at| now < *at)
    };
    let due = apart.iter().filter_map(waits).min();
    let free: Vec<_> = apart.into_iter().filter(|cell| waits(cell).is_none()).collect();
    if let Some((id, uid, wish)) = next(state, &free) {
        start(state, id, uid, wish);
        return None;
    }
    due
}

/// Whether its ranks may come together and are apart.
fn is_apart(cell: &Cell) -> bool {
    let settled = |ranks: &RanksStatus| {
        ranks.next.is_none() && ranks.ended.is_empty() && ranks.layout.sites().len() > 1
    };
    cell.spec.place == Some(Place::Compaction)
        && cell.status.running
        && cell.status.ended.is_none()
        && !cell.deleting()
        && cell.status.ranks.as_ref().is_some_and(settled)
}

/// The first tissue whose ranks fit on fewer sites, and who moves.
fn next(state: &State, apart: &[Arc<Cell>]) -> Option<(Id, String, Wish)> {
    if apart.is_empty() {
        return None;
    }
    let fleet = state.both(|cache, live| Fleet::new(cache, open_hosts(state, cache, live)));
    let numbers = (0..).map(TissueId).zip(&fleet.runs);
    let wanted = numbers.filter(|(_, run)| apart.iter().any(|cell| cell.uid() == run.uid()));
    for (number, run) in wanted {
        if state.migrations().contains_key(run.uid()) {
            continue;
        }
        let Some(ranks) = run.status.ranks.as_ref() else { continue };
        let tissue = fleet.cluster.tissue(number)?;
        // Ranks at a site that is away cannot move.
        if tissue.demand.ranks as usize != ranks.layout.places.len() {
            continue;
        }
        let before = tissue.pieces.len();
        let migration = Compaction::default().improve(&fleet.cluster, number);
        if let Some(migration) = migration.filter(|migration| migration.pieces.len() < before) {
            let wish = wish(&fleet, ranks, &migration);
            return Some((run.id(), run.uid().to_owned(), wish));
        }
    }
    None
}

/// Which ranks go where: of each site those with the highest numbers.
fn wish(fleet: &Fleet, ranks: &RanksStatus, migration: &Migration) -> Wish {
    let name = |host: decide::plan::HostId| {
        fleet.cluster.hosts().get(host.0 as usize).map_or("", |host| host.name.as_str())
    };
    let mut left: Vec<(u32, Option<&str>)> =
        (0..).zip(ranks.layout.places.iter().map(|place| ranks.site(*place))).collect();
    let mut moves = Vec::new();
    for step in &migration.moves {
        let from = name(step.from);
        let there = left.iter().rev().filter(|(_, site)| *site == Some(from));
        let leaving: Vec<u32> = there.map(|(rank, _)| *rank).take(step.ranks as usize).collect();
        left.retain(|(rank, _)| !leaving.contains(rank));
        moves.push((leaving, name(step.to).to_owned()));
    }
    Wish { moves, by: "planner", reason: "its ranks fit on fewer sites".to_owned() }
}

/// Moves them in a task of its own, and rests afterwards.
fn start(state: &Arc<State>, id: Id, uid: String, wish: Wish) {
    state.lately.with(|moves| moves.moving = true);
    let own = state.clone();
    state.tasks.spawn(async move {
        let moved = match migrate(&own, &id, wish).await {
            Ok(running) => running.end().await.map_err(|problem| problem.message),
            Err(error) => Err(types::chain(&error)),
        };
        let (now, pause) = (own.clock.monotonic(), own.config.compaction_pause);
        own.lately.with(|moves| {
            moves.moving = false;
            moves.rests_until = now + pause;
            if let Err(problem) = moved {
                info!(tissue = %id, problem, "its ranks did not come together");
                moves.failed.insert(uid, now + pause * FAILED_PAUSES);
            }
        });
        own.wake();
    });
}

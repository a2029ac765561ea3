//! Tissues of ranks: they begin at several sites, move between them, and go on from their last
//! checkpoint when a site is lost.
//!
//! A tissue's status says where its ranks are (`layout`) and where they are on their way to
//! (`next`). [`drive`] leads them there by the steps of [`api::tissue`]; until the new layout is
//! stored everything can be undone, and afterwards every site hears that its ranks shall run.

mod checkpoint;
mod compaction;
mod drive;

pub(super) use compaction::Lately;

use super::{
    Error, Result,
    batch::Batch,
    cache::{Cell, Id},
    decisions,
    migrate::Running,
    owed::Owed,
    runs,
    state::State,
    status::set_condition,
    views,
};
use api::{
    Kind, Resource,
    cell::{CellStatus, Form, PartEnd, Ranks, RanksStatus},
    decision::{DecisionSpec, DecisionStatus},
    link::{Call, HeldCell},
    tissue::{Layout, Step},
};
use drive::Drive;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use types::ErrorKind;

/// Which ranks shall move where, and who asks for it.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Ranks, all if none are named, and where to.
    moves: Vec<(Vec<u32>, String)>,
    by: &'static str,
    reason: String,
}

impl Wish {
    /// What a user asks for.
    pub(super) fn of_user(ranks: Vec<u32>, to: String) -> Self {
        Self { moves: vec![(ranks, to)], by: "user", reason: "a user asked for it".to_owned() }
    }
}

fn form(cell: &Cell) -> Option<&Ranks> {
    match &cell.spec.form {
        Some(Form::Ranks(ranks)) => Some(ranks),
        _ => None,
    }
}

/// The tissue with this name as the cache has it.
fn find(state: &State, id: &Id) -> Result<Arc<Cell>> {
    runs::find(state, Kind::Tissue, id)
}

/// The status after a report of a site on its part, if that is news.
pub(super) fn update(
    state: &State,
    cell: &Cell,
    site: &str,
    held: &HeldCell,
) -> Option<CellStatus> {
    let ranks = cell.status.ranks.as_ref()?;
    let over = held.exit_code.is_some() || held.error.is_some();
    if cell.status.ended.is_some() || held.incarnation != ranks.incarnation || !over {
        return None;
    }
    let end = PartEnd { exit_code: held.exit_code, error: held.error.clone(), lost: held.lost };
    if ranks.ended.get(site) == Some(&end) {
        return None;
    }
    let mut status = cell.status.clone();
    let ranks = status.ranks.get_or_insert_default();
    ranks.ended.insert(site.to_owned(), end);
    end_of(state, &mut status);
    Some(status)
}

/// Ends the tissue where its parts say so.
fn end_of(state: &State, status: &mut CellStatus) {
    let Some(ranks) = &status.ranks else { return };
    let failed = ranks.ended.iter().find(|(_, end)| end.error.is_some() && !end.lost);
    let lost = ranks.ended.iter().find(|(_, end)| end.error.is_some());
    // What was lost is begun again.
    let lost = lost.filter(|_| ranks.checkpoint.is_none());
    if let Some((site, end)) = failed.or(lost) {
        let error = end.error.clone().unwrap_or_default();
        return fail(state, status, format!("at `{site}`: {error}"));
    }
    let sites = ranks.layout.sites();
    let codes: Option<Vec<i32>> =
        sites.iter().map(|number| ranks.ended.get(ranks.site(*number)?)?.exit_code).collect();
    let Some(codes) = codes.filter(|codes| !codes.is_empty()) else { return };
    let code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    let now = state.wall_ms();
    status.running = false;
    status.ended = Some(now);
    status.exit_code = Some(code);
    let message = format!("it ended with exit code {code}");
    set_condition(&mut status.conditions, "Running", false, "Ended", message, now);
}

fn fail(state: &State, status: &mut CellStatus, error: String) {
    let now = state.wall_ms();
    status.running = false;
    status.ended = Some(now);
    status.error = Some(error.clone());
    set_condition(&mut status.conditions, "Running", false, "Failed", error, now);
}

/// Begins tissues that are new, leads on those whose driver is gone, begins again those that lost
/// a site, and keeps checkpoints; returns when something is due next.
pub(super) async fn converge(state: &Arc<State>) -> Result<Option<Duration>> {
    let mut due: Option<Duration> = None;
    let tissues: Vec<Arc<Cell>> = state.cache(|cache| {
        let open = |cell: &&Arc<Cell>| cell.status.ended.is_none() && !cell.deleting();
        cache.tissues.values().filter(open).filter(|cell| form(cell).is_some()).cloned().collect()
    });
    for cell in tissues {
        if state.migrations().contains_key(cell.uid()) {
            continue;
        }
        let done = match &cell.status.ranks {
            None => begin(state, &cell).await,
            Some(ranks) if is_lost(state, ranks) => begin_again(state, &cell).await,
            Some(ranks) if ranks.next.is_some() => {
                lead(state, &cell, &Arc::new(Running::new()));
                Ok(None)
            }
            Some(_) => Ok(checkpoint::keep(state, &cell)),
        };
        match done {
            Ok(next) => due = due.into_iter().chain(next).min(),
            Err(Error::Raced) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(due.into_iter().chain(compaction::gather(state)).min())
}

/// Gives a new tissue its first places.
async fn begin(state: &Arc<State>, cell: &Cell) -> Result<Option<Duration>> {
    let Some(form) = form(cell) else { return Ok(None) };
    let own = std::slice::from_ref(&cell.spec.site);
    let sites = if form.sites.is_empty() { own } else { &form.sites };
    let mut status = cell.status.clone();
    status.ranks = Some(RanksStatus::first(sites.to_vec(), form.places(sites.len())));
    let mut batch = Batch::new();
    batch.put(cell.with_status(&status));
    state.commit(batch).await.map(|_| None)
}

/// Whether parts were lost that can go on from a checkpoint.
fn is_lost(state: &State, ranks: &RanksStatus) -> bool {
    if ranks.checkpoint.is_none() {
        return false;
    }
    let lost = |number: &u32| {
        let Some(site) = ranks.site(*number) else { return true };
        ranks.ended.get(site).is_some_and(|end| end.error.is_some()) || is_gone(state, site)
    };
    ranks.wanted().sites().iter().any(lost)
}

/// Whether a site has not been heard of for so long that it is counted as lost.
fn is_gone(state: &State, site: &str) -> bool {
    let now = state.clock.monotonic();
    state.both(|cache, live| {
        let view = views::sites(cache, live, state.lease());
        let connected = live.get(site).is_some_and(|live| live.conn.is_some());
        !connected && now >= view.takeover(site)
    })
}

/// Has all ranks go on from the last checkpoint: where they were, or, if their site is gone, at
/// one that is left.
async fn begin_again(state: &Arc<State>, cell: &Cell) -> Result<Option<Duration>> {
    let Some(mut ranks) = cell.status.ranks.clone() else { return Ok(None) };
    let soon = Some(state.clock.monotonic() + state.config.margin);
    let layout = ranks.wanted().clone();
    let sites = layout.sites();
    let at = |number: u32| ranks.site(number).unwrap_or_default();
    let (left, away): (Vec<u32>, Vec<u32>) = sites
        .iter()
        .partition(|number| state.sites(|sites| sites.connection(at(**number)).is_ok()));
    if away.iter().any(|number| !is_gone(state, at(*number))) {
        // It may be back in a moment.
        return Ok(soon);
    }
    let gone: Vec<String> = away.iter().map(|number| at(*number).to_owned()).collect();
    let refuges = match left.is_empty() {
        false => left.clone(),
        true => match others(state).first() {
            Some(site) => vec![ranks.number_of(site)],
            None => return Ok(soon),
        },
    };
    ranks.issued += 1;
    let mut next = Layout { number: ranks.issued, ..layout };
    let homeless = next.places.iter_mut().filter(|place| away.contains(place));
    for (turn, place) in homeless.enumerate() {
        *place = refuges[turn % refuges.len()];
    }
    let mut status = cell.status.clone();
    ranks.layout.places.clear();
    ranks.next = Some(next);
    ranks.incarnation += 1;
    ranks.ended.clear();
    let reason = match gone.is_empty() {
        true => "a worker of it was lost".to_owned(),
        false => format!("`{}` was lost", gone.join("`, `")),
    };
    let message = format!("{reason}: it goes on from its last checkpoint");
    set_condition(&mut status.conditions, "Running", false, "Restarting", message, state.wall_ms());
    status.running = false;
    let spec = DecisionSpec {
        action: "restart".into(),
        subject: format!("tissue/{}", cell.resource.metadata.name),
        by: "lease".into(),
        reason,
        inputs: json!({"lost": gone, "checkpoint": ranks.checkpoint, "incarnation": ranks.incarnation}),
        alternatives: Vec::new(),
        prediction: serde_json::Value::Null,
        at: state.wall_ms(),
    };
    status.ranks = Some(ranks);
    let decision = decisions::new(state, &cell.resource.metadata.tenant, &spec);
    let mut batch = Batch::new();
    batch.put(cell.with_status(&status));
    decisions::add(
        state,
        &mut batch,
        decisions::ended(state, decision, decisions::DONE, json!({})),
    );
    state.commit(batch).await.map(|_| None)
}

/// Sites that could take ranks.
fn others(state: &State) -> Vec<String> {
    let now = state.clock.monotonic();
    state.both(|cache, live| {
        let view = views::sites(cache, live, state.lease());
        let open = view.sites.iter().filter(|(name, site)| !site.cordoned && view.ready(name, now));
        open.map(|(name, _)| name.clone()).collect()
    })
}

/// Leads a tissue to its next layout, in a task of its own.
fn lead(state: &Arc<State>, cell: &Cell, running: &Arc<Running>) {
    state.migrations().insert(cell.uid().to_owned(), running.clone());
    if let Some(drive) = Drive::new(state, running, cell) {
        state.tasks.spawn(drive.run());
    } else {
        state.migrations().remove(cell.uid());
    }
}

/// Records that ranks shall move, and begins to move them.
pub(super) async fn migrate(state: &Arc<State>, id: &Id, wish: Wish) -> Result<Arc<Running>> {
    let cell = find(state, id)?;
    let running = Arc::new(Running::new());
    {
        let mut migrations = state.migrations();
        if migrations.contains_key(cell.uid()) {
            let why = "its ranks are on their way or are saved: try again";
            return Err(conflict(&cell, why));
        }
        migrations.insert(cell.uid().to_owned(), running.clone());
    }
    let (state, id, uid) = (state.clone(), id.clone(), cell.uid().to_owned());
    // Recorded and driven even if the one who asked goes away.
    let recording = tokio::spawn(async move {
        match record(&state, &id, &uid, &wish).await {
            Ok((cell, decision)) => {
                running.decided(decision);
                lead(&state, &cell, &running);
                Ok(running)
            }
            Err(error) => {
                state.migrations().remove(&uid);
                state.wake();
                Err(error)
            }
        }
    });
    super::state::converting(recording.await)
}

/// Records where ranks shall move; the tissue as it is then, and the decision.
async fn record(
    state: &Arc<State>,
    id: &Id,
    uid: &str,
    wish: &Wish,
) -> Result<(Arc<Cell>, Resource)> {
    loop {
        let cell = find(state, id)?;
        if cell.uid() != uid {
            return Err(super::apply::not_found(Kind::Tissue, id));
        }
        let Some(mut ranks) = movable(&cell)? else {
            return Err(conflict(&cell, "its ranks have not begun yet: wait until they run"));
        };
        let (next, from) = next_layout(state, &cell, &mut ranks, wish)?;
        let decision = explain(state, &cell, &ranks, (wish, &from), &next);
        ranks.next = Some(next);
        ranks.decision = Some(decision.metadata.name.clone());
        let mut status = cell.status.clone();
        status.ranks = Some(ranks);
        let mut batch = Batch::new();
        batch.put(cell.with_status(&status));
        decisions::add(state, &mut batch, decision.clone());
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            Err(error) => return Err(error),
            Ok(revision) => {
                let mut decision = decision;
                decision.metadata.resource_version = Some(revision);
                return Ok((find(state, id)?, decision));
            }
        }
    }
}

fn conflict(cell: &Cell, why: &str) -> Error {
    let name = &cell.resource.metadata.name;
    Error::refuse(ErrorKind::Conflict, format!("`tissue/{name}`: {why}"))
}

/// Where its ranks are, if they can be moved now.
fn movable(cell: &Cell) -> Result<Option<RanksStatus>> {
    if form(cell).is_none() {
        return Err(conflict(cell, "it has no ranks: threads stay together at one site"));
    }
    if cell.deleting() || cell.status.ended.is_some() {
        return Err(conflict(cell, "it has ended"));
    }
    let ranks = cell.status.ranks.clone();
    Ok(ranks.filter(|ranks| ranks.next.is_none() && !ranks.layout.places.is_empty()))
}

/// The layout that is asked for, and the sites that ranks leave.
fn next_layout(
    state: &State,
    cell: &Cell,
    ranks: &mut RanksStatus,
    wish: &Wish,
) -> Result<(Layout, Vec<String>)> {
    let mut next = Layout { number: ranks.issued + 1, ..ranks.layout.clone() };
    let mut from = Vec::new();
    for (named, to) in &wish.moves {
        check_target(state, cell, to)?;
        let count = ranks.layout.places.len();
        if let Some(wrong) = named.iter().find(|rank| **rank as usize >= count) {
            let message = format!("it has no rank {wrong}: its ranks are 0 to {}", count - 1);
            return Err(Error::refuse(ErrorKind::Invalid, message));
        }
        let to = ranks.number_of(to);
        for (rank, place) in (0_u32..).zip(&mut next.places) {
            let named = named.is_empty() || named.contains(&rank);
            if named && *place != to {
                from.extend(ranks.site(*place).map(str::to_owned));
                *place = to;
            }
        }
    }
    ranks.issued = next.number;
    if from.is_empty() {
        let message = format!("these ranks are at `{}` already", targets(wish));
        return Err(conflict(cell, &message));
    }
    from.sort_unstable();
    from.dedup();
    Ok((next, from))
}

/// Whether ranks may go to a site.
fn check_target(state: &State, cell: &Cell, to: &str) -> Result<()> {
    let now = state.clock.monotonic();
    let sites = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let Some(target) = sites.sites.get(to) else {
        let message = format!("there is no site `{to}`: `cloudskin get sites` lists them");
        return Err(Error::refuse(ErrorKind::NotFound, message));
    };
    if target.cordoned {
        return Err(conflict(cell, &format!("site `{to}` is cordoned: choose another")));
    }
    if !sites.ready(to, now) {
        let message = format!("site `{to}` is not connected: start its agent");
        return Err(conflict(cell, &message));
    }
    Ok(())
}

/// Where a wish leads to.
fn targets(wish: &Wish) -> String {
    let mut names: Vec<&str> = wish.moves.iter().map(|(_, to)| to.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn explain(
    state: &State,
    cell: &Cell,
    ranks: &RanksStatus,
    (wish, from): (&Wish, &[String]),
    next: &Layout,
) -> Resource {
    let moved: Vec<u32> = (0..)
        .zip(ranks.layout.places.iter().zip(&next.places))
        .filter(|(_, (before, after))| before != after)
        .map(|(rank, _): (u32, _)| rank)
        .collect();
    let reason = format!("{}; {} ranks leave `{}`", wish.reason, moved.len(), from.join("`, `"));
    let spec = DecisionSpec {
        action: "migrate".into(),
        subject: format!("tissue/{}", cell.resource.metadata.name),
        by: wish.by.into(),
        reason,
        inputs: json!({"from": from.join(", "), "to": targets(wish), "ranks": moved, "layout": next.number}),
        alternatives: Vec::new(),
        prediction: serde_json::Value::Null,
        at: state.wall_ms(),
    };
    decisions::new(state, &cell.resource.metadata.tenant, &spec)
}

/// What a site is owed about a layout.
fn owe(batch: &mut Batch, cell: &Cell, site: &str, number: u64, step: Step) -> String {
    let key = format!("{site}/tissue-{}-{number:08}", cell.uid());
    let call = Call::Tissue { uid: cell.uid().to_owned(), number, step };
    let owed = Owed { site: site.to_owned(), uid: cell.uid().to_owned(), call };
    batch.owe(&key, owed);
    key
}

/// Ends what an earlier process has left: a move that is still recorded was not committed. What
/// had not begun yet is begun by the loop. Ranks that stood for a checkpoint go on.
pub(super) async fn recover(state: &Arc<State>) -> Result<()> {
    let all: Vec<Arc<Cell>> = state.cache(|cache| cache.tissues.values().cloned().collect());
    for cell in all {
        let Some(ranks) = &cell.status.ranks else { continue };
        let stands = cell.status.ended.is_none() && !ranks.layout.places.is_empty();
        let mut batch = match &ranks.next {
            _ if !stands => Batch::new(),
            Some(next) => undo(&cell, ranks, next).0,
            None => go_on(&cell),
        };
        let decision = left_open(state, &cell, ranks).await?;
        if stands || decision.is_some() {
            decision.into_iter().for_each(|decision| batch.put(decision));
            state.commit(batch).await?;
        }
    }
    Ok(())
}

/// The decision that an earlier process could not close any more, closed: whoever asked for the
/// move may still wait for it.
async fn left_open(
    state: &Arc<State>,
    cell: &Cell,
    ranks: &RanksStatus,
) -> Result<Option<Resource>> {
    let Some(name) = &ranks.decision else { return Ok(None) };
    let id = Id::new(&cell.resource.metadata.tenant, name);
    let decision = super::apply::load(state, Kind::Decision, &id).await?;
    let is_open = |it: &Resource| it.status::<DecisionStatus>().outcome == decisions::PENDING;
    let Some(decision) = decision.filter(is_open) else { return Ok(None) };
    Ok(Some(match ranks.next {
        None => decisions::ended(state, decision, decisions::DONE, json!({})),
        Some(_) => {
            let why = json!({"error": "the control plane was restarted before the commit"});
            decisions::ended(state, decision, decisions::ROLLED_BACK, why)
        }
    }))
}

/// The transaction that lets ranks go on which may stand for a checkpoint. Its number is higher
/// than all before: it takes the place of nothing else that sites are owed, and comes after it.
fn go_on(cell: &Cell) -> Batch {
    let (mut batch, mut status) = (Batch::new(), cell.status.clone());
    let ranks = status.ranks.get_or_insert_default();
    ranks.issued += 1;
    for site in ranks.members().into_iter().filter_map(|number| ranks.site(number)) {
        owe(&mut batch, cell, site, ranks.issued, Step::Undo);
    }
    batch.put(cell.with_status(&status));
    batch
}

/// The transaction that leaves the ranks where they are, and the keys of what is owed.
fn undo(cell: &Cell, ranks: &RanksStatus, next: &Layout) -> (Batch, Vec<String>) {
    let mut status = cell.status.clone();
    let members = ranks.members();
    status.ranks.get_or_insert_default().next = None;
    let mut batch = Batch::new();
    batch.put(cell.with_status(&status));
    let sites = members.into_iter().filter_map(|number| ranks.site(number));
    let keys = sites.map(|site| owe(&mut batch, cell, site, next.number, Step::Undo)).collect();
    (batch, keys)
}

/// The decision as it ended.
async fn close(state: &Arc<State>, running: &Running, outcome: &str, observed: serde_json::Value) {
    let Some(decision) = running.decision() else { return };
    let decision = decisions::ended(state, decision, outcome, observed);
    let mut batch = Batch::new();
    batch.put(decision.clone());
    match state.commit(batch).await {
        Ok(revision) => {
            let mut decision = decision;
            decision.metadata.resource_version = Some(revision);
            running.decided(decision);
        }
        Err(error) => {
            let outcome = decision.status::<DecisionStatus>().outcome;
            tracing::warn!(outcome, error = types::chain(&error), "an outcome was not noted");
        }
    }
}

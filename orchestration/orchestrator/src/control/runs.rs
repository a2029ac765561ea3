//! Cells and tissues: programs that a site runs once.

use super::{
    Error, Result,
    batch::Batch,
    cache::{Cache, Cell, Id},
    owed, ranks,
    state::State,
    status::set_condition,
};
use api::{
    Kind,
    cell::{CellStatus, Form},
    link::HeldCell,
};
use std::{sync::Arc, time::Duration};

/// Writes down what a site says of its cells.
pub(super) async fn record(state: &Arc<State>, site: &str, reported: &[HeldCell]) -> Result<()> {
    for held in reported {
        loop {
            let cell =
                state.cache(|cache| cache.runs().find(|cell| cell.uid() == held.uid).cloned());
            let Some(cell) = cell.filter(|cell| is_at(cell, site)) else { break };
            let status = match &cell.spec.form {
                Some(Form::Ranks(_)) => ranks::update(state, &cell, site, held),
                _ => update(state, &cell, held),
            };
            let Some(status) = status else { break };
            let mut batch = Batch::new();
            batch.put(cell.with_status(&status));
            match state.commit(batch).await {
                Err(Error::Raced) => {}
                done => {
                    done?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The status after a report, if that is news. What has ended stays as it ended.
fn update(state: &State, cell: &Cell, held: &HeldCell) -> Option<CellStatus> {
    if cell.status.ended.is_some() {
        return None;
    }
    let now = state.wall_ms();
    let ended = held.exit_code.is_some() || held.error.is_some();
    let mut status = cell.status.clone();
    status.running = !ended;
    status.started = status.started.or(Some(now));
    status.ended = ended.then_some(now);
    status.cpus = held.cpus;
    status.exit_code = held.exit_code;
    status.error.clone_from(&held.error);
    let (reason, message) = match (&held.error, held.exit_code) {
        (Some(error), _) => ("Failed", error.clone()),
        (None, Some(code)) => ("Ended", format!("it ended with exit code {code}")),
        (None, None) => ("Running", format!("`{}` runs it", first_site(cell))),
    };
    set_condition(&mut status.conditions, "Running", !ended, reason, message, now);
    (status != cell.status).then_some(status)
}

/// Whether a site is to run it, or a part of it.
pub(super) fn is_at(cell: &Cell, site: &str) -> bool {
    match (&cell.spec.form, &cell.status.ranks) {
        (Some(Form::Ranks(_)), Some(ranks)) => ranks.involves(site),
        (Some(Form::Ranks(_)), None) => false,
        _ => cell.status.site(&cell.spec) == Some(site),
    }
}

/// How many cells and tissues of a tenant a site runs, or is to.
pub(super) fn count(cache: &Cache, tenant: &str, site: &str) -> usize {
    let here = |cell: &&Arc<Cell>| {
        let begins = cell.status.ranks.is_none() && cell.spec.site == site;
        cell.resource.metadata.tenant == tenant
            && cell.status.ended.is_none()
            && (begins || is_at(cell, site))
    };
    cache.runs().filter(here).count()
}

/// The site that has its first rank, or all of it.
pub(super) fn first_site(cell: &Cell) -> String {
    cell.status.site(&cell.spec).unwrap_or_default().to_owned()
}

/// How many ranks it has at a site.
pub(super) fn ranks_at(cell: &Cell, site: &str) -> u32 {
    let ranks = cell.status.ranks.as_ref();
    ranks.map_or(0, |ranks| {
        let layout = ranks.next.as_ref().unwrap_or(&ranks.layout);
        let here = |number: &&u32| ranks.site(**number) == Some(site);
        layout.places.iter().filter(here).count() as u32
    })
}

/// Begins tissues, removes cells that were deleted, and the oldest that ended; returns when
/// something is due next.
pub(super) async fn converge(state: &Arc<State>) -> Result<Option<Duration>> {
    let due = ranks::converge(state).await?;
    for cell in removable(state) {
        let mut batch = Batch::new();
        batch.remove(&cell.resource);
        owed::settle_all(state, &mut batch, cell.uid());
        state.commit(batch).await?;
    }
    Ok(due)
}

fn removable(state: &State) -> Vec<Arc<Cell>> {
    let mut cells: Vec<Arc<Cell>> = state.both(|cache, live| {
        let going = cache.runs().filter(|cell| {
            let gone_from = |site: &String| {
                let heard = live.get(site);
                let held = heard.and_then(|heard| heard.cells.get(cell.uid()));
                let runs =
                    held.is_some_and(|held| held.exit_code.is_none() && held.error.is_none());
                let connected = heard.is_some_and(|heard| heard.conn.is_some());
                // A site that is cut off may still run it, and says so when it is back.
                !cache.sites.contains_key(site) || (connected && !runs)
            };
            let dropped = cell.status.ended.is_some() || sites_of(cell).iter().all(gone_from);
            cell.deleting() && dropped
        });
        going.cloned().collect()
    });
    cells.extend(surplus(state));
    cells
}

/// The sites that may run it.
fn sites_of(cell: &Cell) -> Vec<String> {
    match (&cell.spec.form, &cell.status.ranks) {
        (Some(Form::Ranks(_)), Some(ranks)) => {
            let names = ranks.members().into_iter().filter_map(|number| ranks.site(number));
            names.map(str::to_owned).collect()
        }
        (Some(Form::Ranks(_)), None) => Vec::new(),
        _ => vec![first_site(cell)],
    }
}

fn surplus(state: &State) -> Vec<Arc<Cell>> {
    let keep = state.config.ended_cells_max;
    state.cache(|cache| {
        let ended = cache.runs().filter(|cell| cell.status.ended.is_some());
        let mut ended: Vec<&Arc<Cell>> = ended.filter(|cell| !cell.deleting()).collect();
        ended.sort_by_key(|cell| (cell.id().tenant, std::cmp::Reverse(cell.status.ended)));
        let tenants = ended.chunk_by(|a, b| a.id().tenant == b.id().tenant);
        tenants.flat_map(|own| own.iter().skip(keep)).map(|cell| (*cell).clone()).collect()
    })
}

/// The cell or tissue with this name.
pub(super) fn find(state: &State, kind: Kind, id: &Id) -> Result<Arc<Cell>> {
    let found = state.cache(|cache| match kind {
        Kind::Tissue => cache.tissues.get(id).cloned(),
        _ => cache.cells.get(id).cloned(),
    });
    found.ok_or_else(|| super::apply::not_found(kind, id))
}

//! Cells and tissues: programs that a site runs once.

use super::{
    Error, Result,
    batch::Batch,
    cache::{Cell, Id},
    state::State,
    status::set_condition,
};
use api::{Kind, cell::CellStatus, link::HeldCell};
use std::sync::Arc;

/// Writes down what a site says of its cells.
pub(super) async fn record(state: &Arc<State>, site: &str, reported: &[HeldCell]) -> Result<()> {
    for held in reported {
        loop {
            let cell =
                state.cache(|cache| cache.runs().find(|cell| cell.uid() == held.uid).cloned());
            let Some(cell) = cell.filter(|cell| cell.spec.site == site) else { break };
            let Some(status) = update(state, &cell, held) else { break };
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
        (None, None) => ("Running", format!("`{}` runs it", cell.spec.site)),
    };
    set_condition(&mut status.conditions, "Running", !ended, reason, message, now);
    (status != cell.status).then_some(status)
}

/// Removes cells that were deleted, and the oldest that ended.
pub(super) async fn converge(state: &Arc<State>) -> Result<()> {
    for cell in removable(state) {
        let mut batch = Batch::new();
        batch.remove(&cell.resource);
        state.commit(batch).await?;
    }
    Ok(())
}

fn removable(state: &State) -> Vec<Arc<Cell>> {
    let mut cells: Vec<Arc<Cell>> = state.both(|cache, live| {
        let going = cache.runs().filter(|cell| {
            let site = live.get(&cell.spec.site);
            let held = site.and_then(|site| site.cells.get(cell.uid()));
            let runs = held.is_some_and(|held| held.exit_code.is_none() && held.error.is_none());
            let connected = site.is_some_and(|site| site.conn.is_some());
            let known = cache.sites.contains_key(&cell.spec.site);
            // A site that is cut off may still run it, and says so when it is back.
            let dropped = cell.status.ended.is_some() || !known || (connected && !runs);
            cell.deleting() && dropped
        });
        going.cloned().collect()
    });
    cells.extend(surplus(state));
    cells
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

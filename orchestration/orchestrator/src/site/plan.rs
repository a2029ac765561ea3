//! What to do next: pure decisions over what the site remembers and holds.
//!
//! [`absorb`] takes in the control plane's word, [`reconcile`] says what to do about it, and
//! [`gate`] how a service's requests are treated meanwhile. Nothing here touches the world.

use super::state::{CellRecord, Moved, Progress, Record, Role, State};
use api::{
    link::{Assignment, CellAssignment, Desired, HeldState},
    service::OnSiteLost,
};
use cells::worker::protocol::{Checkpointed, ServiceState};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use types::Epoch;

/// What the site's processes hold at this moment of one service or cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    /// Somebody works on it; nobody else may.
    pub(crate) busy: bool,
    /// What the worker does with it.
    pub(crate) phase: Phase,
    /// Counts who worked on it, so that older news of it are known as such.
    pub(crate) claims: u64,
    /// Whose worker holds it.
    pub(crate) tenant: String,
    /// Failures in a row.
    pub(crate) attempts: u32,
    /// When a worker began to hold it.
    pub(crate) up_since: Duration,
    /// The lease ran out while it was held, so that it may have been started elsewhere.
    pub(crate) lapsed: bool,
    /// Requests answered within this incarnation.
    pub(crate) requests_answered: u64,
    /// Microseconds of processor time that they took.
    pub(crate) cpu_us: u64,
    /// Bytes of linear memory.
    pub(crate) memory_bytes: u64,
    /// The newest that the worker has written.
    pub(crate) last_checkpoint: Option<Checkpointed>,
}

/// What a worker does with a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// No worker holds it.
    Down,
    /// A worker holds it.
    Up(Up),
    /// It could not be started or cannot go on.
    Failed {
        /// Why.
        message: String,
        /// When to try again.
        retry_at: Duration,
        /// The worker still has something of it, which must be stopped first.
        in_worker: bool,
    },
}

impl Phase {
    /// Whether a worker has something of it.
    pub(crate) fn in_worker(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Failed { in_worker: true, .. })
    }
}

/// A service in a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Up {
    /// For requests.
    pub(crate) handle: u32,
    /// Under which epoch the worker holds it.
    pub(crate) epoch: Epoch,
    /// Within which incarnation.
    pub(crate) incarnation: u32,
    /// What the worker does with it.
    pub(crate) state: ServiceState,
    /// The migration that the worker knows of.
    pub(crate) migration: Option<String>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            busy: false,
            phase: Phase::Down,
            claims: 0,
            tenant: String::new(),
            attempts: 0,
            up_since: Duration::ZERO,
            lapsed: false,
            requests_answered: 0,
            cpu_us: 0,
            memory_bytes: 0,
            last_checkpoint: None,
        }
    }
}

impl Live {
    /// The cell, if a worker holds it.
    pub(crate) fn up(&self) -> Option<&Up> {
        match &self.phase {
            Phase::Up(up) => Some(up),
            _ => None,
        }
    }
}

/// One step, on one service or cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Remember it and start it.
    Begin(Box<Assignment>),
    /// Start it, one incarnation up.
    Start(String),
    /// Stop what is held; go on under this assignment.
    Supersede(Box<Assignment>),
    /// Tell the worker to refuse, or to take, requests.
    Fence(String, bool),
    /// The verdict is known: serve what was prepared.
    Activate(String),
    /// The verdict is known: serve on what was handed over in vain.
    Resume(String),
    /// Stop it and forget it, its state included.
    Drop(String),
    /// Stop what a worker holds and nobody remembers.
    Evict(String),
    /// Tell a program on threads how many processors it has now.
    Grant(String),
    /// Run a cell.
    Run(String),
    /// End a cell, if it runs, and forget it.
    End(String),
}

impl Action {
    /// Which service or cell.
    pub(crate) fn uid(&self) -> &str {
        match self {
            Self::Begin(assignment) | Self::Supersede(assignment) => &assignment.uid,
            Self::Start(uid)
            | Self::Fence(uid, _)
            | Self::Activate(uid)
            | Self::Resume(uid)
            | Self::Drop(uid)
            | Self::Evict(uid)
            | Self::Grant(uid)
            | Self::Run(uid)
            | Self::End(uid) => uid,
        }
    }
}

/// What a decision is made of.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) live: &'a BTreeMap<String, Live>,
    pub(crate) lease_holds: bool,
    /// Of the monotonic clock.
    pub(crate) now: Duration,
}

/// Takes in the control plane's word: what changes nothing in the cells is adopted at once, the
/// rest is left for [`reconcile`]. Assignments that no control plane of ours would make are
/// returned as complaints and ignored.
pub(crate) fn absorb(state: &mut State, mut desired: Desired) -> Vec<String> {
    let mut complaints = Vec::new();
    desired.services.retain(|wanted| {
        let checked = check_names(&wanted.uid, &wanted.tenant, &wanted.name);
        complaints.extend(checked.clone().err());
        checked.is_ok()
    });
    desired.cells.retain(|wanted| {
        let checked = check_names(&wanted.uid, &wanted.tenant, &wanted.name);
        complaints.extend(checked.clone().err());
        checked.is_ok()
    });
    for wanted in &desired.services {
        let Some(record) = state.records.get_mut(&wanted.uid) else { continue };
        if record.epoch() == wanted.epoch && record.role == Role::Serve {
            record.confirmed = true;
            if same_cell(&record.assignment, wanted) {
                // One that begins anew, for its module changed under this epoch, still does.
                let restore = wanted.restore && (!record.fresh || record.assignment.restore);
                record.assignment = Assignment { restore, ..wanted.clone() };
            }
        }
    }
    for wanted in &desired.cells {
        let record = state.cells.entry(wanted.uid.clone());
        let record = record.or_insert_with(|| CellRecord::new(wanted.clone()));
        // What else would differ runs once, as it is.
        record.assignment.spec.form.clone_from(&wanted.spec.form);
        record.assignment.ranks = wanted.ranks;
    }
    state.desired = desired;
    complaints
}

/// Names become parts of paths.
pub(crate) fn check_names(uid: &str, tenant: &str, name: &str) -> Result<(), String> {
    for part in [uid, tenant, name] {
        types::check_name(part)
            .map_err(|error| format!("the assignment of `{tenant}/{name}` is ignored: {error}"))?;
    }
    Ok(())
}

/// Whether the running cell is already what is wanted.
fn same_cell(held: &Assignment, wanted: &Assignment) -> bool {
    let comparable = |assignment: &Assignment| {
        let mut spec = assignment.spec.clone();
        spec.placement = Default::default();
        spec.on_site_lost = Default::default();
        // Its worker's share of processors follows at once.
        spec.resources.cpu = Default::default();
        spec.module.clear();
        // A page is fetched from whatever cell there is.
        spec.metrics = None;
        spec
    };
    held.module == wanted.module && comparable(held) == comparable(wanted)
}

/// What to do next, at most one step for each service and cell.
pub(crate) fn reconcile(view: &View<'_>) -> Vec<Action> {
    let wanted: BTreeMap<&str, &Assignment> =
        view.state.desired.services.iter().map(|wanted| (wanted.uid.as_str(), wanted)).collect();
    let uids: BTreeSet<&str> = wanted
        .keys()
        .copied()
        .chain(view.state.records.keys().map(String::as_str))
        .chain(view.live.keys().map(String::as_str))
        .filter(|uid| !view.state.cells.contains_key(*uid))
        .collect();
    let busy = |uid: &str| view.live.get(uid).is_some_and(|live| live.busy);
    let services =
        uids.into_iter().filter_map(|uid| service_step(view, uid, wanted.get(uid).copied()));
    let cells = view.state.cells.keys().filter_map(|uid| cell_step(view, uid));
    services.chain(cells).filter(|action| !busy(action.uid())).collect()
}

/// The same for one service or cell, for who has the claim on it.
pub(crate) fn step(view: &View<'_>, uid: &str) -> Option<Action> {
    if view.state.cells.contains_key(uid) {
        return cell_step(view, uid);
    }
    let wanted = view.state.desired.services.iter().find(|wanted| wanted.uid == uid);
    service_step(view, uid, wanted)
}

fn service_step(view: &View<'_>, uid: &str, wanted: Option<&Assignment>) -> Option<Action> {
    let idle = Live::default();
    let live = view.live.get(uid).unwrap_or(&idle);
    // What was handed over once is never taken back under the old epoch, and what is to be dropped
    // is not wanted.
    let over = view.state.moved.get(uid).map(|moved| moved.assignment.epoch);
    let listed = view.state.desired.drop.iter().filter(|(drop, _)| drop == uid);
    let listed = listed.map(|(_, epoch)| *epoch).max();
    let named = wanted.is_some();
    let wanted = wanted.filter(|wanted| Some(wanted.epoch) > over.max(listed));
    let Some(record) = view.state.records.get(uid) else {
        return match wanted {
            _ if live.phase.in_worker() => Some(Action::Evict(uid.to_owned())),
            Some(wanted) => Some(Action::Begin(Box::new(wanted.clone()))),
            None => None,
        };
    };
    let newer = wanted.filter(|wanted| wanted.epoch > record.epoch());
    if let Some(newer) = newer {
        return Some(Action::Supersede(Box::new(newer.clone())));
    }
    if listed >= Some(record.epoch()) {
        return Some(Action::Drop(uid.to_owned()));
    }
    let same = wanted.filter(|wanted| wanted.epoch == record.epoch());
    match &record.role {
        // Only a committed migration makes the control plane name the target's epoch.
        Role::Prepared { .. } => same.map(|_| Action::Activate(uid.to_owned())),
        // The source's epoch is named before and after an abort alike: it decides nothing.
        Role::HandedOver { .. } => None,
        // One that names an older epoch is older itself, and says nothing about this one.
        Role::Serve if !named && record.confirmed => Some(Action::Drop(uid.to_owned())),
        Role::Serve => serve_step(view, uid, record, live, same),
    }
}

fn serve_step(
    view: &View<'_>,
    uid: &str,
    record: &Record,
    live: &Live,
    same: Option<&Assignment>,
) -> Option<Action> {
    if let Some(changed) = same.filter(|same| !same_cell(&record.assignment, same)) {
        return Some(Action::Supersede(Box::new(changed.clone())));
    }
    let allowed = may_serve(record, view.lease_holds);
    let uid = uid.to_owned();
    match &live.phase {
        Phase::Down => allowed.then_some(Action::Start(uid)),
        Phase::Failed { retry_at, .. } => {
            (allowed && *retry_at <= view.now).then_some(Action::Start(uid))
        }
        Phase::Up(up) if (up.epoch, up.incarnation) != (record.epoch(), record.incarnation) => {
            Some(Action::Supersede(Box::new(record.assignment.clone())))
        }
        Phase::Up(up) => match up.state {
            ServiceState::Serving => (!allowed).then_some(Action::Fence(uid, true)),
            ServiceState::Fenced => allowed.then_some(Action::Fence(uid, false)),
            ServiceState::Prepared => Some(Action::Activate(uid)),
            ServiceState::HandedOver => Some(Action::Resume(uid)),
            ServiceState::Failed => allowed.then_some(Action::Start(uid)),
        },
    }
}

fn cell_step(view: &View<'_>, uid: &str) -> Option<Action> {
    let cell = view.state.cells.get(uid)?;
    let wanted = view.state.desired.cells.iter().find(|wanted| wanted.uid == uid);
    let same = |wanted: &CellAssignment| wanted.incarnation == cell.assignment.incarnation;
    match cell.progress {
        _ if !wanted.is_some_and(same) => Some(Action::End(uid.to_owned())),
        Progress::New => Some(Action::Run(uid.to_owned())),
        Progress::Started if cell.granted != cell.wants() => Some(Action::Grant(uid.to_owned())),
        Progress::Started | Progress::Ended { .. } => None,
    }
}

/// Whether the site has the right to answer for it now.
pub(crate) fn may_serve(record: &Record, lease_holds: bool) -> bool {
    record.assignment.spec.on_site_lost == OnSiteLost::Keep || lease_holds
}

/// How a service's requests are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Sent to this handle of the worker.
    Serve {
        /// For requests.
        handle: u32,
        /// Only while the lease holds.
        lease_bound: bool,
    },
    /// They wait.
    Wait(&'static str),
    /// They are refused; this may pass.
    Refuse(String),
    /// They are sent on.
    Forward(std::net::SocketAddr),
    /// They are refused and told where to go.
    Moved(std::net::SocketAddr),
}

/// How the requests of a service are treated at `wall_ms` since the Unix epoch.
pub(crate) fn gate(
    record: Option<&Record>,
    live: &Live,
    moved: Option<&Moved>,
    lease_holds: bool,
    wall_ms: u64,
) -> Option<Verdict> {
    let away = moved.map(|moved| {
        let open = moved.forward_until_ms > wall_ms;
        if open { Verdict::Forward(moved.to) } else { Verdict::Moved(moved.to) }
    });
    let Some(record) = record else { return away };
    let lease_bound = record.assignment.spec.on_site_lost == OnSiteLost::Restart;
    let serving = live.up().filter(|up| up.state == ServiceState::Serving);
    match &record.role {
        Role::Prepared { .. } => {
            let forward = away.filter(|away| matches!(away, Verdict::Forward(_)));
            return forward.or(Some(Verdict::Wait("it is about to be served here")));
        }
        _ if lease_bound && !lease_holds => {
            return Some(Verdict::Refuse(
                "the site's lease has run out, so that it may be started elsewhere: try again later"
                    .into(),
            ));
        }
        Role::HandedOver { .. } if serving.is_none() => {
            return Some(Verdict::Wait("it is being moved"));
        }
        Role::HandedOver { .. } | Role::Serve => {}
    }
    Some(match (&live.phase, serving) {
        (_, Some(up)) if up.epoch == record.epoch() => {
            Verdict::Serve { handle: up.handle, lease_bound }
        }
        // The first failure in a row is mended at once.
        (Phase::Failed { message, .. }, _) if live.attempts > 1 => {
            Verdict::Refuse(format!("it failed: {message}"))
        }
        _ => Verdict::Wait("it is starting"),
    })
}

/// What the control plane is told that the site does with a service.
pub(crate) fn held_state(record: &Record, live: &Live, lease_holds: bool) -> (HeldState, String) {
    let state = |state| (state, String::new());
    let serving = live.up().is_some_and(|up| up.state == ServiceState::Serving);
    match &record.role {
        Role::Prepared { .. } if live.busy => return state(HeldState::Starting),
        Role::Prepared { .. } => {
            return match &live.phase {
                Phase::Up(up) if up.state == ServiceState::Prepared => state(HeldState::Prepared),
                Phase::Failed { message, .. } => (HeldState::Failed, message.clone()),
                _ => (HeldState::Failed, "the prepared state was lost with its worker".into()),
            };
        }
        Role::HandedOver { .. } if !serving => return state(HeldState::HandedOver),
        Role::HandedOver { .. } | Role::Serve => {}
    }
    match &live.phase {
        Phase::Failed { message, .. } => (HeldState::Failed, message.clone()),
        _ if !may_serve(record, lease_holds) => state(HeldState::Fenced),
        Phase::Up(up) => state(match up.state {
            ServiceState::Serving => HeldState::Serving,
            ServiceState::Fenced => HeldState::Fenced,
            ServiceState::Failed => HeldState::Failed,
            ServiceState::Prepared | ServiceState::HandedOver => HeldState::Starting,
        }),
        Phase::Down => state(HeldState::Starting),
    }
}

/// When to look again though nothing happens.
pub(crate) fn next_look(view: &View<'_>, lease_until: Duration, wall_ms: u64) -> Option<Duration> {
    let retries = view.live.values().filter_map(|live| match live.phase {
        Phase::Failed { retry_at, .. } => Some(retry_at),
        _ => None,
    });
    let forwards = view.state.moved.values().filter_map(|moved| {
        let left_ms = moved.forward_until_ms.checked_sub(wall_ms)?;
        Some(view.now + Duration::from_millis(left_ms))
    });
    let lease = Some(lease_until).filter(|_| view.lease_holds);
    retries.chain(forwards).chain(lease).filter(|at| *at > view.now).min()
}

#[cfg(test)]
mod tests;

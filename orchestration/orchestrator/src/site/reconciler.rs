//! The loop that does what the plan says.

use super::{
    core::Core,
    groups,
    plan::{self, Action},
    services,
    workers::{self, WorkerId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use types::Clock;

/// How long a tenant's worker stays after its last service.
const IDLE_WORKER: Duration = Duration::from_secs(10);

/// Looks at least so often.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Runs until the agent stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut lease_held = false;
    let mut idle = BTreeMap::new();
    let mut forwards_until = None;
    loop {
        let lease_holds = core.lease_holds();
        let now = core.clock.monotonic();
        let forward_ended = forwards_until.is_some_and(|until| until <= now);
        if lease_held && !lease_holds {
            services::lease_ran_out(&core);
        } else if lease_held != lease_holds || forward_ended {
            core.update_all(|_| ());
        }
        lease_held = lease_holds;
        for action in core.view(plan::reconcile) {
            begin(&core, &action);
        }
        stop_idle_workers(&core, &mut idle, now);
        groups::adjust(&core).await;
        forwards_until =
            core.view(|view| plan::next_look(view, core.lease.until(), core.wall_ms()));
        let pause = forwards_until.map_or(LOOK_PERIOD, |until| until.saturating_sub(now));
        let pause = if idle.is_empty() { pause } else { pause.min(Duration::from_secs(1)) };
        tokio::select! {
            () = core.kick.notified() => {}
            () = sleep(pause.min(LOOK_PERIOD)) => {}
        }
    }
}

fn begin(core: &Arc<Core>, action: &Action) {
    let Some(claim) = core.try_claim(action.uid()) else { return };
    // Between the plan and the claim somebody else may have been here.
    let Some(action) = core.view(|view| plan::step(view, action.uid())) else { return };
    let acting = core.clone();
    core.spawn(async move {
        services::act(&acting, action).await;
        drop(claim);
    });
}

/// Ends workers of tenants that have had no service for a while.
fn stop_idle_workers(core: &Arc<Core>, idle: &mut BTreeMap<String, Duration>, now: Duration) {
    let unused: BTreeSet<String> = core.read(|inner| {
        let used: BTreeSet<&str> =
            inner.state.records.values().map(|r| r.assignment.tenant.as_str()).collect();
        inner.clients.keys().filter(|tenant| !used.contains(tenant.as_str())).cloned().collect()
    });
    idle.retain(|tenant, _| unused.contains(tenant));
    for tenant in unused {
        let since = *idle.entry(tenant.clone()).or_insert(now);
        if now < since + IDLE_WORKER {
            continue;
        }
        idle.remove(&tenant);
        let stopping = core.clone();
        core.spawn(async move {
            let in_use = || {
                stopping.read(|inner| {
                    inner.state.records.values().any(|record| record.assignment.tenant == tenant)
                })
            };
            let id = WorkerId::Tenant(tenant.clone());
            workers::stop(&stopping, &id, false, in_use).await;
        });
    }
}

//! Conditions and what is told about a service.

use super::{cache::Service, losses, state::State};
use api::{
    Condition, DEFAULT_TENANT,
    service::{Lost, ServiceStatus},
};
use decide::Observation;
use std::net::SocketAddr;

/// Most reports of lost requests that are kept.
const LOST_MAX: usize = 100;

/// Says whether a fact holds; its time changes only with whether it does.
pub(super) fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    now: u64,
) {
    let old = conditions.iter().find(|condition| condition.kind == kind);
    let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time);
    let condition = Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.into(),
        last_transition_time: since.unwrap_or(now),
    };
    match conditions.iter_mut().find(|condition| condition.kind == kind) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// The status with what is observed now, if that is news; counters alone are none.
pub(super) fn observe(
    state: &State,
    service: &Service,
    seen: &Observation,
) -> Option<ServiceStatus> {
    let mut status = service.status.clone();
    status.observed_generation = service.generation();
    status.phase = seen.phase;
    set_condition(
        &mut status.conditions,
        "Ready",
        seen.ready,
        seen.reason,
        seen.message.clone(),
        state.wall_ms(),
    );
    if status.site.is_none() {
        let now = state.wall_ms();
        set_condition(&mut status.conditions, "Placed", false, seen.reason, &*seen.message, now);
    }
    locate(state, service, &mut status);
    report(state, service, &mut status);
    (status != service.status).then(|| {
        count(state, service, &mut status);
        status
    })
}

/// Where a service is reached, as its site stands now.
pub(super) fn locate(state: &State, service: &Service, status: &mut ServiceStatus) {
    let (tenant, name) = (&service.resource.metadata.tenant, &service.resource.metadata.name);
    let Some(site) = &status.site else { return };
    status.address = state.door_of(site);
    status.dns_name = Some(state.names.name_of(tenant, name));
    status.url = state.config.ingress.map(|ingress| url(tenant, name, ingress));
}

fn url(tenant: &str, name: &str, ingress: SocketAddr) -> String {
    let port = ingress.port();
    if tenant == DEFAULT_TENANT {
        return format!("http://{name}.localhost:{port}/");
    }
    format!("http://{name}.{tenant}.localhost:{port}/")
}

/// What its site says about this epoch, and any site about what crashes have lost: it may have
/// moved before that was reported.
fn report(state: &State, service: &Service, status: &mut ServiceStatus) {
    merge_lost(&mut status.lost, state.lost(service.uid()));
    let Some(held) = state.held(service) else { return };
    status.incarnation = held.incarnation;
    let now = state.wall_ms();
    match held.page.as_deref().filter(|_| service.spec.metrics.is_some()) {
        None => status.conditions.retain(|fact| fact.kind != "Metrics"),
        Some("") => {
            let message = "all values of its status page are read";
            set_condition(&mut status.conditions, "Metrics", true, "Read", message, now);
        }
        Some(why) => {
            set_condition(&mut status.conditions, "Metrics", false, "Unreadable", why, now);
        }
    }
    losses::remember(status, held.epoch, held.started_from);
}

/// The counters of a service as of its site's last beat.
pub(super) fn count(state: &State, service: &Service, status: &mut ServiceStatus) {
    let Some(held) = state.held(service) else { return };
    status.requests_answered = held.requests_answered;
    status.counted_at = status.site.as_deref().and_then(|site| state.last_seen(site));
    status.cpu_us = held.cpu_us;
    status.memory = held.memory;
    status.last_checkpoint = held.last_checkpoint.or(status.last_checkpoint);
}

/// Most ids that a service's status names in all: older reports then only say how many.
const LOST_IDS_MAX: usize = 10_000;

/// Keeps one report per epoch and incarnation, latest first.
pub(super) fn merge_lost(known: &mut Vec<Lost>, reported: Vec<Lost>) {
    for mut lost in reported {
        lost.request_ids.truncate(1000);
        let same = |old: &Lost| (old.epoch, old.incarnation) == (lost.epoch, lost.incarnation);
        match known.iter_mut().find(|old| same(old)) {
            Some(old) => *old = lost,
            None => known.push(lost),
        }
    }
    known.sort_by_key(|lost| std::cmp::Reverse((lost.epoch, lost.incarnation)));
    known.truncate(LOST_MAX);
    let mut left = LOST_IDS_MAX;
    for lost in known {
        lost.request_ids.truncate(left);
        left -= lost.request_ids.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, "Ready", false, "Starting", "a", 1);
        set_condition(&mut conditions, "Ready", false, "Failed", "b", 2);
        assert_eq!(conditions[0].last_transition_time, 1);
        assert_eq!(conditions[0].reason, "Failed");

        set_condition(&mut conditions, "Ready", true, "Serving", "c", 3);

        assert_eq!(conditions[0].last_transition_time, 3);
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn losses_are_kept_once_and_latest_first() {
        let lost = |epoch, incarnation, count| Lost {
            epoch: Epoch(epoch),
            incarnation,
            at: 0,
            count,
            request_ids: Vec::new(),
        };
        let mut known = vec![lost(1, 1, 5)];

        merge_lost(&mut known, vec![lost(1, 1, 7), lost(2, 0, 1)]);

        let counts: Vec<u64> = known.iter().map(|lost| lost.count).collect();
        assert_eq!(counts, [1, 7]);
    }

    #[test]
    fn a_status_names_the_latest_losses_and_counts_the_rest() {
        let ids: Vec<String> = (0..1000).map(|id| format!("{id}")).collect();
        let lost = |incarnation| Lost {
            epoch: Epoch(1),
            incarnation,
            at: 0,
            count: 1000,
            request_ids: ids.clone(),
        };
        let mut known = Vec::new();

        merge_lost(&mut known, (1..=12).map(lost).collect());
        let once = known.clone();
        merge_lost(&mut known, (1..=12).map(lost).collect());

        let named: Vec<usize> = known.iter().map(|lost| lost.request_ids.len()).collect();
        assert_eq!(named[..10], [1000; 10]);
        assert_eq!(named[10..], [0, 0]);
        assert!(known.iter().all(|lost| lost.count == 1000));
        assert_eq!(known, once, "the same news change nothing");
    }
}

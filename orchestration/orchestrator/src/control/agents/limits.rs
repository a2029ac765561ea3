//! What a tenant may use of a site's store, as a policy's conditions say.
//!
//! The store alone knows its limits, and they last until it is started again; so each step begins with asking for them, and
//! is made only if nobody has set another one meanwhile.

use super::scale::{Change, Field, step};
use crate::control::{
    Error, Result,
    cache::{Policy, Service},
    state::State,
};
use api::{
    Kind, Problem,
    link::{Call, Reply, StoreChange, StoreLimits},
    policy::{Store, StoreLimit},
};
use learning::agent::Turn;
use std::{sync::Arc, time::Duration};
use types::{Bytes, ErrorKind};

/// How long a site may take: its store may have to begin first.
const PATIENCE: Duration = Duration::from_secs(20);

/// A limit of a site's store that becomes another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limited {
    site: String,
    change: StoreChange,
}

/// The next step of a limit, if there is one.
///
/// # Errors
/// A site that has no store, or does not answer.
pub(super) async fn wanted(
    state: &Arc<State>,
    policy: &Policy,
    service: &Service,
    store: &Store,
    turn: Turn,
) -> std::result::Result<Option<Change>, String> {
    let site = store.site.clone().or_else(|| service.status.site.clone());
    let site = site.ok_or_else(|| "the service is at no site".to_owned())?;
    let tenant = &policy.resource.metadata.tenant;
    let limits = ask(state, &site, tenant, None).await.map_err(|problem| {
        format!("the store of site `{site}` does not say its limits: {}", problem.message)
    })?;
    Ok(next(store, site, &limits, turn))
}

fn next(store: &Store, site: String, limits: &StoreLimits, turn: Turn) -> Option<Change> {
    let from = limits.of(store.limit);
    let to = step(from, store.step.0, (store.min.0, store.max.0), turn)?;
    let shown = |value: u64| match store.limit {
        StoreLimit::HighWater => format!("{value} %"),
        _ => Bytes(value).to_string(),
    };
    Some(Change {
        action: "limit",
        subject: (Kind::Site, site.clone()),
        text: format!("the store's {} from `{}` to `{}`", store.limit, shown(from), shown(to)),
        field: Field::Limit(Limited { site, change: StoreChange { limit: store.limit, from, to } }),
    })
}

/// Has the site set it.
pub(super) async fn set(state: &Arc<State>, policy: &Policy, limited: &Limited) -> Result<()> {
    let tenant = &policy.resource.metadata.tenant;
    let set = ask(state, &limited.site, tenant, Some(limited.change)).await;
    set.map(drop).map_err(|problem| Error::refuse(problem.kind, problem.message))
}

async fn ask(
    state: &Arc<State>,
    site: &str,
    tenant: &str,
    change: Option<StoreChange>,
) -> std::result::Result<StoreLimits, Problem> {
    let conn = state.sites(|sites| sites.connection(site))?;
    let call = Call::StoreLimits { tenant: tenant.to_owned(), change };
    match conn.call(call, PATIENCE).await? {
        Reply::StoreLimits(limits) => Ok(limits),
        _ => Err(Problem::new(ErrorKind::Internal, "the site answers something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_follow_in_steps_between_the_least_and_the_most() {
        let now = StoreLimits { memory: 96 << 20, high_water: 80, ..StoreLimits::default() };
        let text = |store: serde_json::Value, turn| {
            let store: Store = serde_json::from_value(store).unwrap();
            next(&store, "edge".into(), &now, turn).map(|change| change.text)
        };
        let memory = json!({"limit": "memory", "min": "64Mi", "max": "128Mi", "step": "64Mi"});
        let mark = json!({"limit": "highWater", "min": 60, "max": 80, "step": 15});

        let up = text(memory.clone(), Turn::Up).unwrap();
        assert_eq!(up, "the store's memory from `96Mi` to `128Mi`");
        let down = text(memory, Turn::Down).unwrap();
        assert_eq!(down, "the store's memory from `96Mi` to `64Mi`");
        assert_eq!(text(mark.clone(), Turn::Up), None);
        let down = text(mark, Turn::Down).unwrap();
        assert_eq!(down, "the store's high-water mark from `80 %` to `65 %`");
    }
}

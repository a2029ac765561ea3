//! Puts a service back to a snapshot that a user brings.
//!
//! One transaction gives the service's site the next epoch and names the snapshot as what that
//! epoch, and every later one without a newer checkpoint, begins with. Before it the old state
//! goes on, after it the restored one does, whoever is killed when. The site replaces its own
//! instance, so that there is no second writer.

use super::{
    Error, Result,
    apply::not_found,
    batch::Batch,
    cache::{Id, Service},
    decisions,
    state::State,
    status, views,
};
use api::{
    Kind, Resource,
    decision::DecisionSpec,
    service::{Phase, Restored},
};
use cells::snapshot::{self, Expected, Identity, SnapshotError};
use serde_json::json;
use std::sync::Arc;
use tracing::info;
use types::{Digest, Epoch, ErrorKind};

/// How often a write is tried anew when the control plane itself wrote in between.
const RACES_MAX: usize = 32;

/// Puts the service back; returns the decision once it is stored.
pub(super) async fn restore(state: &Arc<State>, id: &Id, digest: Digest) -> Result<Resource> {
    let mut checked: Option<(Expected, Identity)> = None;
    for _ in 0..RACES_MAX {
        let service = stored(state, id).await?;
        let site = check(state, &service)?;
        let expected = Expected {
            module: service.spec.module_digest(),
            memory_bytes: service.spec.resources.memory.0,
        };
        // It may be large: read again only if something else is expected of it.
        let identity = match checked.take() {
            Some((known, identity)) if known == expected => identity,
            _ => inspect(state, &service, digest, expected).await?,
        };
        let (_, identity) = checked.insert((expected, identity));
        match record(state, &service, &site, digest, identity).await {
            Err(Error::Raced) => {}
            done => return done,
        }
    }
    Err(Error::Raced)
}

/// The service as readers see it; a restore makes none.
async fn stored(state: &State, id: &Id) -> Result<Service> {
    let Some(resource) = super::apply::load(state, Kind::Service, id).await? else {
        let missing = not_found(Kind::Service, id);
        let message = format!("{missing}: `cloudskin apply` it first, then restore it");
        return Err(Error::refuse(ErrorKind::NotFound, message));
    };
    Service::read(&resource)
}

/// Why it cannot be put back now, if so; else the site that holds it.
fn check(state: &State, service: &Service) -> Result<String> {
    let name = format!("`service/{}`", service.resource.metadata.name);
    let conflict = |message: String| Err(Error::refuse(ErrorKind::Conflict, message));
    if service.deleting() {
        return conflict(format!("{name} is being deleted: apply it again once it is gone"));
    }
    if let Some(migration) = &service.status.migration {
        return conflict(format!(
            "{name} is being migrated to `{}`: wait for its end",
            migration.to
        ));
    }
    if state.cache(|cache| cache.owed.values().any(|owed| owed.uid == service.uid())) {
        return conflict(format!("the last migration of {name} is still being ended: try again"));
    }
    let Some(site) = &service.status.site else {
        return conflict(format!("{name} has no site yet: wait until it is ready"));
    };
    let now = state.clock.monotonic();
    let sites = state.both(|cache, live| views::sites(cache, live, state.lease()));
    if !sites.ready(site, now) {
        return conflict(format!(
            "site `{site}`, which holds {name}, is cut off and may still serve it: wait until it is back or another site has taken over"
        ));
    }
    Ok(site.clone())
}

/// Checks the whole snapshot before anything is given up for it.
async fn inspect(
    state: &State,
    service: &Service,
    digest: Digest,
    expected: Expected,
) -> Result<Identity> {
    if !state.blobs.has(&digest) {
        let path = api::paths::blob(&digest);
        let message = format!("the snapshot `{digest}` was not uploaded: PUT it to {path} first");
        return Err(Error::refuse(ErrorKind::Invalid, message));
    }
    let path = state.blobs.path(&digest);
    let checking = tokio::task::spawn_blocking(move || snapshot::check(&path, expected));
    let checked =
        checking.await.map_err(|error| Error::refuse(ErrorKind::Internal, error.to_string()))?;
    checked.map_err(|error| {
        let kind = match error.kind() {
            // What was sent is wrong, not what is kept.
            ErrorKind::Corrupt => ErrorKind::Invalid,
            kind => kind,
        };
        let name = &service.resource.metadata.name;
        let why = match &error {
            cells::Error::Snapshot(SnapshotError::Module { name, found, .. }) => format!(
                "the snapshot is of the module `{}` ({found}), and it runs `{}`",
                module_name(state, *found).unwrap_or(name.clone()),
                service.spec.module_name()
            ),
            other => types::chain(other),
        };
        Error::refuse(kind, format!("`service/{name}` goes on as it is: {why}"))
    })
}

/// What users call a module: sites know it by its digest alone.
fn module_name(state: &State, digest: Digest) -> Option<String> {
    state.cache(|cache| {
        let mut services = cache.services.values();
        let runs = services.find(|service| service.spec.module_digest() == Some(digest))?;
        Some(runs.spec.module_name().to_owned())
    })
}

async fn record(
    state: &Arc<State>,
    service: &Service,
    site: &str,
    digest: Digest,
    identity: &Identity,
) -> Result<Resource> {
    let epoch = state.cache(|cache| cache.issued(service)).next();
    let mut decision = explain(state, service, site, epoch, digest, identity);
    let mut new = service.status.clone();
    let mut batch = Batch::new();
    decisions::record(state, &mut batch, &mut new, decision.clone());
    let now = state.wall_ms();
    new.phase = Phase::Starting;
    new.epoch = epoch;
    new.incarnation = 0;
    new.requests_answered = 0;
    new.last_checkpoint = None;
    new.restored = Some(Restored { epoch, digest, module: identity.module, at: now });
    let message = format!("`{site}` was told to put it back to a snapshot");
    status::set_condition(&mut new.conditions, "Ready", false, "Starting", message, now);
    batch.put(service.with_status(&new));
    batch.issue(service.uid(), epoch);
    decision.metadata.resource_version = Some(state.commit(batch).await?);
    info!(service = %service.id(), site, %epoch, %digest, "put back to a snapshot");
    Ok(decision)
}

fn explain(
    state: &State,
    service: &Service,
    site: &str,
    epoch: Epoch,
    digest: Digest,
    identity: &Identity,
) -> Resource {
    let metadata = &service.resource.metadata;
    let spec = DecisionSpec {
        action: "restore".into(),
        subject: format!("service/{}", metadata.name),
        by: "user".into(),
        reason: "a user put it back to a snapshot of its module".into(),
        inputs: json!({
            "site": site,
            "snapshot": digest,
            "snapshotEpoch": identity.epoch,
            "snapshotAt": identity.at,
            "epochBefore": service.status.epoch,
            "epoch": epoch,
        }),
        alternatives: Vec::new(),
        prediction: serde_json::Value::Null,
        at: state.wall_ms(),
    };
    decisions::new(state, &metadata.tenant, &spec)
}

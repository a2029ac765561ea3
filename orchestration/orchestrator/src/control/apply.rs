//! What users write: resources are applied and deleted here.

use super::{
    Error, Result, agents,
    batch::{self, Batch},
    blocks::service_name,
    cache::{Id, read_resource},
    decisions, runs,
    state::State,
};
use api::{
    ApiError, DEFAULT_TENANT, Kind, Resource,
    block::BlockSpec,
    cell::{CellSpec, Form},
    model::ModelSpec,
    onnx::OnnxModel,
    policy::PolicySpec,
    service::ServiceSpec,
    site::SiteSpec,
};
use learning::agent::Agent;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use types::{Digest, ErrorKind, check_name};

/// Who must let go before a service or cell is gone.
const SITE_FINALIZER: &str = "cloudskin.eu/site";
/// Who must let go before a block is gone.
const BLOCK_FINALIZER: &str = "cloudskin.eu/services";
/// How often a write is tried anew when the control plane itself wrote in between.
const RACES_MAX: usize = 32;

/// How to apply.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// The uid of the block that the resource goes with.
    pub(super) owner: Option<String>,
    /// Check and answer, but store nothing.
    pub(super) dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) resource: Resource,
    pub(super) created: bool,
}

/// The resource as it is stored now.
pub(super) async fn load(state: &State, kind: Kind, id: &Id) -> Result<Option<Resource>> {
    let key = batch::key(kind, id);
    let reading = state.store.get(key.as_bytes()).await?;
    reading.item.as_ref().map(read_resource).transpose()
}

pub(super) fn not_found(kind: Kind, id: &Id) -> Error {
    let name = format!("{}/{}", kind.path(), id.name);
    let message = format!("there is no `{name}` in tenant `{}`", id.tenant);
    Error::refuse(ErrorKind::NotFound, message)
}

/// Makes the resource so, whatever it was before; the same document again changes nothing.
pub(super) async fn apply(
    state: &Arc<State>,
    document: Resource,
    options: Options,
) -> Result<Applied> {
    if !is_run(document.kind) {
        return apply_here(state, document, options).await;
    }
    // To its end even if the one who asked goes away: until it is stored its room is not taken.
    let state = state.clone();
    let applying = tokio::spawn(async move {
        let _turn = state.planner.turn.lock().await;
        apply_here(&state, document, options).await
    });
    super::state::converting(applying.await)
}

async fn apply_here(
    state: &Arc<State>,
    mut document: Resource,
    options: Options,
) -> Result<Applied> {
    document.check()?;
    if is_shared(document.kind) {
        DEFAULT_TENANT.clone_into(&mut document.metadata.tenant);
    }
    document.spec = normalize(&document)?;
    check_references(state, &document)?;
    let id = Id::of(&document);
    for _ in 0..RACES_MAX {
        let existing = load(state, document.kind, &id).await?;
        check_version(&document, existing.as_ref())?;
        let created = existing.is_none();
        if is_run(document.kind) {
            admit(state, &document, existing.as_ref())?;
        }
        let (mut resource, changed) = merge(state, &document, existing, &options)?;
        let decision = if created { place(state, &mut resource)? } else { None };
        if !changed || options.dry_run {
            return Ok(Applied { resource, created });
        }
        let mut batch = Batch::new();
        batch.put(resource.clone());
        if let Some(decision) = decision {
            decisions::add(state, &mut batch, decision);
        }
        match state.commit(batch).await {
            Err(Error::Raced) if document.metadata.resource_version.is_none() => {}
            Err(error) => return Err(error),
            Ok(revision) => {
                let mut resource = resource;
                resource.metadata.resource_version = Some(revision);
                state.sites(|sites| {
                    if created && resource.kind == Kind::Site {
                        sites.assume(&resource.metadata.name, state.clock.monotonic());
                    }
                });
                return Ok(Applied { resource, created });
            }
        }
    }
    Err(Error::Raced)
}

/// The spec with every default written out, so that equal wishes are equal values.
fn normalize(document: &Resource) -> Result<serde_json::Value> {
    fn through<T: DeserializeOwned + Serialize>(document: &Resource) -> Result<serde_json::Value> {
        let spec: T = document.spec()?;
        serde_json::to_value(spec).map_err(|source| {
            let (kind, name) = (document.kind, document.metadata.name.clone());
            Error::Document(ApiError::Spec { kind, name, source })
        })
    }
    match document.kind {
        Kind::Site => through::<SiteSpec>(document),
        Kind::Block => through::<BlockSpec>(document),
        Kind::Policy => through::<PolicySpec>(document),
        Kind::Model => through::<ModelSpec>(document),
        Kind::Service => through::<ServiceSpec>(document),
        Kind::Cell | Kind::Tissue => through::<CellSpec>(document),
        Kind::Decision => Err(Error::refuse(
            ErrorKind::Forbidden,
            "decisions are records of the control plane: they cannot be applied",
        )),
    }
}

/// Checks that what the spec names is there.
fn check_references(state: &State, document: &Resource) -> Result<()> {
    match document.kind {
        Kind::Service => {
            let spec: ServiceSpec = document.spec()?;
            check_module(state, &spec.module)?;
            check_models(state, &spec.models)
        }
        Kind::Cell | Kind::Tissue => check_cell(state, &document.spec()?),
        Kind::Block => {
            let spec: BlockSpec = document.spec()?;
            for component in &spec.components {
                let name = service_name(&document.metadata.name, component);
                check_name(&name)
                    .map_err(|source| Error::Document(ApiError::Name { field: "name", source }))?;
                check_module(state, &component.service.module)?;
                check_models(state, &component.service.models)?;
            }
            Ok(())
        }
        // The service may come later; what it is judged by is checked now.
        Kind::Policy => check_policy(&document.spec()?),
        Kind::Model => check_model(state, &document.metadata.name),
        Kind::Site | Kind::Decision => Ok(()),
    }
}

/// Models are made by training; a resource says how one is kept up to date.
fn check_model(state: &State, name: &str) -> Result<()> {
    if state.cache(|cache| cache.models.contains_key(name)) {
        return Ok(());
    }
    let message = format!(
        "there is no model `{name}` in the catalog: train it first, with `cloudskin model train`"
    );
    Err(Error::refuse(ErrorKind::NotFound, message))
}

fn check_policy(spec: &PolicySpec) -> Result<()> {
    if spec.python.as_ref().is_some_and(|python| python.source.is_none()) {
        let message = "`spec.python.source` is missing: `cloudskin apply` reads it from the file";
        return Err(Error::refuse(ErrorKind::Invalid, message));
    }
    if let Some(trajectory) = &spec.pipeline.trajectory {
        agents::check_trajectory(trajectory)?;
    }
    Agent::check(spec).map_err(|error| Error::refuse(error.kind(), types::chain(&error)))
}

fn check_cell(state: &State, spec: &CellSpec) -> Result<()> {
    check_module(state, &spec.module)?;
    check_models(state, &spec.models)?;
    if spec.place.is_none() && !state.cache(|cache| cache.sites.contains_key(&spec.site)) {
        let message = format!("`spec.site` is wrong: there is no site `{}`", spec.site);
        return Err(Error::refuse(ErrorKind::Invalid, message));
    }
    match &spec.restore {
        Some(digest) => check_blob(state, digest, "`spec.restore`"),
        None => Ok(()),
    }
}

/// Whether a program may begin, or have as many processors as it is to have from now on.
fn admit(state: &State, document: &Resource, existing: Option<&Resource>) -> Result<()> {
    let (spec, id): (CellSpec, Id) = (document.spec()?, Id::of(document));
    let cpus = |spec: &CellSpec| match &spec.form {
        Some(Form::Threads(threads)) => threads.cpus,
        _ => 0,
    };
    match existing {
        // What runs is not ended by a quota that is smaller now.
        Some(before) if cpus(&spec) <= cpus(&before.spec()?) => return Ok(()),
        Some(_) => {}
        None if spec.place.is_none() => check_room(state, &id, &spec.site)?,
        None => {}
    }
    state.cache(|cache| state.planner.admit(cache, document.kind, &id, &spec))
}

/// Gives a new program its sites, if the control plane is to choose them; the decision.
fn place(state: &State, new: &mut Resource) -> Result<Option<Resource>> {
    if !is_run(new.kind) {
        return Ok(None);
    }
    let Some(rule) = new.spec::<CellSpec>()?.place else { return Ok(None) };
    let chosen = state.planner.choose(state, new, rule)?;
    new.set_status(&chosen.status);
    Ok(Some(chosen.decision))
}

/// Each cell is a process of its own: one tenant's must leave room for the others'.
fn check_room(state: &State, id: &Id, site: &str) -> Result<()> {
    let most = state.config.running_cells_max;
    let running = state.cache(|cache| runs::count(cache, &id.tenant, site));
    if running < most {
        return Ok(());
    }
    let message = format!(
        "site `{site}` runs {running} cells of tenant `{}`, as many as it may: wait until one has ended, or delete one",
        id.tenant
    );
    Err(Error::refuse(ErrorKind::Exhausted, message))
}

fn check_module(state: &State, module: &str) -> Result<()> {
    let digest = module.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
    if module.starts_with("oci://") {
        let message = format!(
            "`spec.module` is wrong: `{module}` lies in a registry, which is not supported yet: pull it, and apply the file"
        );
        return Err(Error::refuse(ErrorKind::Unsupported, message));
    }
    let Some(digest) = digest else {
        let message = format!(
            "`spec.module` is wrong: `{module}` names no content: upload the file as a blob and write `NAME.wasm@sha256:…`, as `cloudskin apply` does"
        );
        return Err(Error::refuse(ErrorKind::Invalid, message));
    };
    check_blob(state, &digest, "`spec.module`")
}

fn check_models(state: &State, models: &[OnnxModel]) -> Result<()> {
    models.iter().try_for_each(|model| match model.digest() {
        Some(digest) => check_blob(state, &digest, "`spec.models.file`"),
        None => {
            let file = &model.file;
            let message = format!(
                "`spec.models.file` is wrong: `{file}` names no content: upload the file as a blob and write `NAME.onnx@sha256:…`, as `cloudskin apply` does"
            );
            Err(Error::refuse(ErrorKind::Invalid, message))
        }
    })
}

fn check_blob(state: &State, digest: &Digest, field: &str) -> Result<()> {
    if state.blobs.has(digest) {
        return Ok(());
    }
    let path = api::paths::blob(digest);
    let message = format!("{field} is wrong: `{digest}` was not uploaded: PUT it to {path} first");
    Err(Error::refuse(ErrorKind::Invalid, message))
}

/// A given version must be the stored one, a given uid that of the stored resource.
fn check_version(document: &Resource, existing: Option<&Resource>) -> Result<()> {
    let stored = existing.and_then(|existing| existing.metadata.resource_version).unwrap_or(0);
    if let Some(given) = document.metadata.resource_version
        && given != stored
    {
        let message = format!(
            "`metadata.resourceVersion` is {given}, but the stored one is {stored}: read the resource again, or leave the field out to overwrite"
        );
        return Err(Error::refuse(ErrorKind::Conflict, message));
    }
    let uid = &document.metadata.uid;
    if !uid.is_empty() && existing.is_none_or(|existing| existing.metadata.uid != *uid) {
        let message = "`metadata.uid` is another resource's: leave it out to apply by name";
        return Err(Error::refuse(ErrorKind::Conflict, message));
    }
    Ok(())
}

/// The document laid over what is stored, and whether that changes anything.
fn merge(
    state: &State,
    document: &Resource,
    existing: Option<Resource>,
    options: &Options,
) -> Result<(Resource, bool)> {
    let Some(mut resource) = existing else { return Ok((create(state, document, options), true)) };
    if resource.metadata.deletion_timestamp.is_some() {
        let message =
            format!("{} is being deleted: apply again once it is gone", name_of(&resource));
        return Err(Error::refuse(ErrorKind::Conflict, message));
    }
    if is_run(resource.kind) {
        check_change(&resource, document)?;
    }
    let before = resource.clone();
    if resource.kind == Kind::Site {
        // The rest of its labels is said by its agent.
        resource.metadata.labels.extend(document.metadata.labels.clone());
    } else {
        resource.metadata.labels.clone_from(&document.metadata.labels);
    }
    resource.metadata.annotations.clone_from(&document.metadata.annotations);
    if resource.spec != document.spec {
        resource.spec.clone_from(&document.spec);
        resource.metadata.generation = Some(resource.metadata.generation.unwrap_or_default() + 1);
    }
    let changed = resource != before;
    Ok((resource, changed))
}

/// Whether it belongs to no tenant.
pub(super) fn is_shared(kind: Kind) -> bool {
    matches!(kind, Kind::Site | Kind::Model)
}

/// Whether it is a program that runs once.
fn is_run(kind: Kind) -> bool {
    matches!(kind, Kind::Cell | Kind::Tissue)
}

/// What runs once stays what it is, but for the processors of one on threads.
fn check_change(resource: &Resource, document: &Resource) -> Result<()> {
    let (before, after): (CellSpec, CellSpec) = (resource.spec()?, document.spec()?);
    if before.may_become(&after) {
        return Ok(());
    }
    let most = match (&before.form, &after.form) {
        (Some(Form::Threads(threads)), Some(Form::Threads(more)))
            if more.cpus > threads.ceiling() =>
        {
            Some(threads.ceiling())
        }
        _ => None,
    };
    let name = name_of(resource);
    let message = match most {
        Some(most) => format!(
            "{name} was started with at most {most} processors, which its program relies on"
        ),
        None => {
            format!("{name} runs once and cannot be changed: choose another name, or delete it")
        }
    };
    Err(Error::refuse(ErrorKind::Conflict, message))
}

fn create(state: &State, document: &Resource, options: &Options) -> Resource {
    let mut resource = document.clone();
    let metadata = &mut resource.metadata;
    metadata.uid = types::random_id();
    metadata.resource_version = None;
    metadata.generation = Some(1);
    metadata.creation_timestamp = Some(state.wall_ms());
    metadata.deletion_timestamp = None;
    metadata.owner_references = options.owner.iter().cloned().collect();
    metadata.finalizers = match document.kind {
        Kind::Service | Kind::Cell | Kind::Tissue => vec![SITE_FINALIZER.into()],
        Kind::Block => vec![BLOCK_FINALIZER.into()],
        Kind::Site | Kind::Policy | Kind::Model | Kind::Decision => Vec::new(),
    };
    resource.status = serde_json::json!({});
    resource
}

/// Begins to take a resource down; it is gone when its finalizers are.
pub(super) async fn delete(state: &Arc<State>, kind: Kind, id: &Id) -> Result<Resource> {
    if kind == Kind::Decision {
        let message = "decisions are records of the control plane: the oldest go by themselves";
        return Err(Error::refuse(ErrorKind::Forbidden, message));
    }
    for _ in 0..RACES_MAX {
        let existing = load(state, kind, id).await?.ok_or_else(|| not_found(kind, id))?;
        let done = match kind {
            Kind::Site => remove_site(state, &existing).await.map(|()| existing),
            Kind::Policy => remove(state, &existing).await.map(|()| existing),
            Kind::Model => {
                let message =
                    "a model is removed with its versions: `cloudskin model rm NAME/VERSION`";
                return Err(Error::refuse(ErrorKind::Forbidden, message));
            }
            _ => mark_deleted(state, &existing).await,
        };
        match done {
            Err(Error::Raced) => {}
            done => return done,
        }
    }
    Err(Error::Raced)
}

/// Marks a resource as going, and cuts a migration of it short.
pub(super) async fn mark_deleted(state: &Arc<State>, existing: &Resource) -> Result<Resource> {
    let mut resource = existing.clone();
    if resource.metadata.deletion_timestamp.is_none() {
        resource.metadata.deletion_timestamp = Some(state.wall_ms());
        let mut batch = Batch::new();
        batch.put(resource.clone());
        resource.metadata.resource_version = Some(state.commit(batch).await?);
    }
    if let Some(migration) = state.migrations().get(&resource.metadata.uid) {
        migration.cancel();
    }
    Ok(resource)
}

/// Nothing has to let go of a policy.
async fn remove(state: &Arc<State>, existing: &Resource) -> Result<()> {
    let mut batch = Batch::new();
    batch.remove(existing);
    state.commit(batch).await.map(drop)
}

/// A site goes when it cannot serve any more: its services are then placed anew.
async fn remove_site(state: &Arc<State>, site: &Resource) -> Result<()> {
    let _turn = state.admission.lock().await;
    let name = &site.metadata.name;
    let now = state.clock.monotonic();
    let takeover = state.both(|cache, live| {
        let view = super::views::sites(cache, live, state.lease());
        let connected = live.get(name).is_some_and(|live| live.conn.is_some());
        connected.then_some(now + state.config.lease).or(Some(view.takeover(name)))
    });
    if takeover.is_some_and(|takeover| now < takeover) {
        let message = format!(
            "site `{name}` may still serve: stop its agent, and delete it when its lease has run out"
        );
        return Err(Error::refuse(ErrorKind::Conflict, message));
    }
    // Whoever still holds its key is nobody from here on.
    state.registry.forget(name)?;
    let mut batch = Batch::new();
    batch.remove(site);
    state.commit(batch).await?;
    state.sites(|sites| sites.forget(name));
    Ok(())
}

fn name_of(resource: &Resource) -> String {
    format!("`{}/{}`", resource.kind.path(), resource.metadata.name)
}

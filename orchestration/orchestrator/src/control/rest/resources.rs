//! Resources: list, get, apply, delete.

use super::{
    super::{
        apply::{self, Options},
        batch::prefix,
        cache::{Id, Service, Site, read_resource},
        state::State,
        status,
    },
    Answer, Refusal, watching,
};
use api::{Kind, List, Resource, cell::CellStatus};
use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State as Shared},
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
};
use futures_util::StreamExt;
use serde::{Deserialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use types::{ErrorKind, check_name};

/// What is read and forgotten of a document that is too large, so that a client which sends before
/// it listens hears why.
const DRAIN_MAX_BYTES: usize = 8 << 20;

/// What a list is asked with.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Listing {
    label_selector: Option<String>,
    watch: Option<String>,
    from: Option<u64>,
    resource_version: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Applying {
    dry_run: Option<String>,
}

/// The query as a struct; unknown fields are left alone, wrong ones are named.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Answer<T> {
    match Query::<T>::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(error) => {
            Err(Refusal::new(ErrorKind::Invalid, format!("the query cannot be read: {error}")))
        }
    }
}

/// Whether a flag of a query is set: `?watch`, `?watch=1` and `?watch=true` are.
pub(super) fn flag(value: Option<&str>) -> bool {
    matches!(value, Some("" | "1" | "true"))
}

/// The kind and tenant of a path. Sites and models belong to no tenant: all see the same.
pub(super) fn place(tenant: &str, kind: &str) -> Answer<(Kind, String)> {
    let kind: Kind = kind.parse()?;
    check_name(tenant).map_err(|error| {
        Refusal::new(ErrorKind::Invalid, format!("the tenant is wrong: {error}"))
    })?;
    let tenant = if apply::is_shared(kind) { api::DEFAULT_TENANT } else { tenant };
    Ok((kind, tenant.to_owned()))
}

pub(super) fn locate(tenant: &str, kind: &str, name: &str) -> Answer<(Kind, Id)> {
    let (kind, tenant) = place(tenant, kind)?;
    check_name(name)
        .map_err(|error| Refusal::new(ErrorKind::Invalid, format!("the name is wrong: {error}")))?;
    Ok((kind, Id::new(&tenant, name)))
}

/// The resource with its counters as of the last beat, which are not stored with each.
pub(super) fn present(state: &State, mut resource: Resource) -> Resource {
    match resource.kind {
        Kind::Service => {
            if let Ok(service) = Service::read(&resource) {
                let mut new = service.status.clone();
                status::count(state, &service, &mut new);
                resource.set_status(&new);
            }
        }
        Kind::Site => {
            if let Ok(site) = Site::read(&resource) {
                resource.set_status(&site_status(state, &site));
            }
        }
        Kind::Cell | Kind::Tissue => {
            let mut new: CellStatus = resource.status();
            new.usage = state.sites(|sites| sites.usage(&resource.metadata.uid));
            resource.set_status(&new);
        }
        Kind::Block | Kind::Policy | Kind::Model | Kind::Decision => {}
    }
    resource
}

fn site_status(state: &State, site: &Site) -> api::site::SiteStatus {
    let name = &site.resource.metadata.name;
    let mut status = site.status.clone();
    status.services = state.cache(|cache| {
        let own = cache.services.values();
        let own = own.filter(|service| service.status.site.as_deref() == Some(name));
        u32::try_from(own.count()).unwrap_or(u32::MAX)
    });
    let seen = state.sites(|sites| sites.get(name).map(|live| live.last_seen));
    status.last_seen = seen.unwrap_or_default().max(status.last_seen);
    status
}

pub(super) async fn list(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let (kind, tenant) = place(&tenant, &kind)?;
    let asked: Listing = query(&uri)?;
    let selector = Labels::parse(asked.label_selector.as_deref().unwrap_or(""))?;
    if flag(asked.watch.as_deref()) {
        let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let from = resumed.or(asked.from).or(asked.resource_version);
        return watching::answer(state, kind, &tenant, selector, from).await;
    }
    let list = all(&state, kind, &tenant, &selector).await?;
    Ok(Json(list).into_response())
}

/// Every resource of a kind that the selector takes.
pub(super) async fn all(
    state: &State,
    kind: Kind,
    tenant: &str,
    selector: &Labels,
) -> Answer<List> {
    let prefix = prefix(kind, tenant);
    let mut list = List { resource_version: 0, items: Vec::new() };
    let mut after: Option<meta::Item> = None;
    loop {
        let key = after.as_ref().map(|item| &item.key[..]);
        let page = state.store.range(prefix.as_bytes(), 0, key).await?;
        if after.is_none() {
            list.resource_version = page.revision;
        }
        for item in &page.items {
            let resource = read_resource(item)?;
            if selector.take(&resource) {
                list.items.push(present(state, resource));
            }
        }
        after = page.items.last().cloned();
        if !page.more || after.is_none() {
            return Ok(list);
        }
    }
}

pub(super) async fn get(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Path<(String, String, String)>,
) -> Answer<Json<Resource>> {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let resource = apply::load(&state, kind, &id).await?;
    let resource = resource.ok_or_else(|| apply::not_found(kind, &id))?;
    Ok(Json(present(&state, resource)))
}

pub(super) async fn apply(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Path<(String, String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let asked: Applying = query(&uri)?;
    let mut document: Resource = document(&state, body).await?;
    if document.metadata.tenant.is_empty() || apply::is_shared(kind) {
        document.metadata.tenant.clone_from(&id.tenant);
    }
    if document.kind != kind || Id::of(&document) != id {
        let message = format!(
            "the document is `{}/{}` of tenant `{}`, the path says `{}/{}` of `{}`",
            document.kind.path(),
            document.metadata.name,
            document.metadata.tenant,
            kind.path(),
            id.name,
            id.tenant
        );
        return Err(Refusal::new(ErrorKind::Invalid, message));
    }
    let options = Options { owner: None, dry_run: flag(asked.dry_run.as_deref()) };
    let applied = apply::apply(&state, document, options).await?;
    let status = if applied.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(present(&state, applied.resource))).into_response())
}

pub(super) async fn delete(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Path<(String, String, String)>,
) -> Answer {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let resource = apply::delete(&state, kind, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(resource)).into_response())
}

/// How long a document may take to come: a connection that is let in without a token must not stay.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The body as JSON, within its limits.
pub(super) async fn document<T: DeserializeOwned>(state: &State, body: Body) -> Answer<T> {
    tokio::time::timeout(DOCUMENT_TIMEOUT, whole(state, body)).await.unwrap_or_else(|_| {
        let message = format!("the document did not come within {} s", DOCUMENT_TIMEOUT.as_secs());
        Err(Refusal::new(ErrorKind::Timeout, message).with(StatusCode::REQUEST_TIMEOUT))
    })
}

async fn whole<T: DeserializeOwned>(state: &State, body: Body) -> Answer<T> {
    let limit = state.config.document_max_bytes;
    let (mut pieces, mut bytes, mut size) = (body.into_data_stream(), Vec::new(), 0_usize);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            let message = format!("the document broke off after {size} bytes: {error}");
            Refusal::new(ErrorKind::Invalid, message)
        })?;
        size += piece.len();
        if size <= limit {
            bytes.extend_from_slice(&piece);
        } else if size > limit + DRAIN_MAX_BYTES {
            break;
        }
    }
    if size > limit {
        let message = format!("the document is larger than the {limit} bytes that are read");
        return Err(Refusal::new(ErrorKind::Invalid, message).with(StatusCode::PAYLOAD_TOO_LARGE));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::new(ErrorKind::Invalid, format!("the document cannot be read as JSON: {error}"))
    })
}

/// A label selector: `app=video,tier!=cloud,gpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
}

impl Labels {
    pub(super) fn parse(text: &str) -> Answer<Self> {
        let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        let terms = pieces.map(|piece| {
            let pair = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
            let term = if let Some((key, value)) = piece.split_once("!=") {
                let (key, value) = pair(key, value);
                Term::IsNot(key, value)
            } else if let Some((key, value)) = piece.split_once('=') {
                let (key, value) = pair(key, value.strip_prefix('=').unwrap_or(value));
                Term::Is(key, value)
            } else {
                Term::Has(piece.to_owned())
            };
            let (Term::Is(key, _) | Term::IsNot(key, _) | Term::Has(key)) = &term;
            match key.is_empty() || key.contains(['!', '(', ' ']) {
                true => Err(Refusal::new(
                    ErrorKind::Invalid,
                    format!("`{piece}` is not a label selector: write `app=video`, `tier!=cloud` or `gpu`"),
                )),
                false => Ok(term),
            }
        });
        Ok(Self { terms: terms.collect::<Answer<_>>()? })
    }

    pub(super) fn take(&self, resource: &Resource) -> bool {
        let labels = &resource.metadata.labels;
        self.terms.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_take_what_they_name() {
        let mut resource = Resource::new(Kind::Site, "default", "a", &serde_json::json!({}));
        resource.metadata.labels = [("tier".into(), "edge".into())].into();
        let takes = |text| Labels::parse(text).unwrap().take(&resource);

        for good in ["", "tier", "tier=edge", "tier==edge", " tier = edge , zone!=a"] {
            assert!(takes(good), "{good}");
        }
        for bad in ["zone", "tier=cloud", "tier!=edge", "tier,zone"] {
            assert!(!takes(bad), "{bad}");
        }
        for wrong in ["=edge", "!tier", "tier in (edge)"] {
            assert!(Labels::parse(wrong).is_err(), "{wrong}");
        }
    }
}

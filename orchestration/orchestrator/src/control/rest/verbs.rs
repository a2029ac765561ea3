//! Verbs on one resource: migrate, logs, snapshot, restore.

use super::{
    super::{
        Error, agents, apply,
        cache::Id,
        migrate::{self, Motive},
        ranks, restore, runs,
        state::State,
    },
    Answer, Refusal,
    resources::{document, flag, locate, query},
};
use api::{
    Kind, Problem, Resource,
    link::{Call, Reply},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State as Shared},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use types::{Digest, ErrorKind};

/// Most bytes of a log in one answer.
const LOG_MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    to: String,
    /// Of a tissue; all if none are named.
    #[serde(default)]
    ranks: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    snapshot: Digest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    wait: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece {
    offset: u64,
    limit: Option<u64>,
    /// Which of the sites that had ranks of a tissue.
    site: Option<String>,
}

type Named = Path<(String, String, String)>;

pub(super) async fn migrate(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Named,
    uri: Uri,
    body: Body,
) -> Answer {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let waiting: Waiting = query(&uri)?;
    let Destination { to, ranks } = document(&state, body).await?;
    let running = match kind {
        Kind::Service if ranks.is_empty() => migrate::begin(&state, &id, &to, Motive::User).await?,
        Kind::Service => {
            return Err(Refusal::new(ErrorKind::Invalid, "a service has no ranks: it moves whole"));
        }
        Kind::Tissue => ranks::migrate(&state, &id, ranks::Wish::of_user(ranks, to)).await?,
        _ => return Err(Refusal::new(ErrorKind::Invalid, "only services and tissues migrate")),
    };
    let wait = flag(waiting.wait.as_deref());
    if wait {
        running.end().await?;
    }
    let decision = running.decision().ok_or_else(|| {
        Refusal::new(ErrorKind::Internal, "the migration has begun, but its decision is not known")
    })?;
    Ok(recorded(&id, decision, if wait { StatusCode::OK } else { StatusCode::ACCEPTED }))
}

/// Names the decision that records what was asked for.
fn recorded(id: &Id, decision: Resource, status: StatusCode) -> Response {
    let place = api::paths::item(&id.tenant, Kind::Decision, &decision.metadata.name);
    let mut response = (status, Json(decision)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Lets the policies of a service decide now, and answers with what they found.
pub(super) async fn analyze_qos(
    Shared(state): Shared<Arc<State>>,
    body: Body,
) -> Answer<Json<Value>> {
    let asked: agents::Asked = document(&state, body).await?;
    Ok(Json(agents::analyze(&state, asked).await?))
}

pub(super) async fn restore(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Named,
    body: Body,
) -> Answer {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    if kind != Kind::Service {
        let message = "only services are put back to a snapshot: a program goes on as a new cell \
                       whose `spec.restore` names it";
        return Err(Refusal::new(ErrorKind::Invalid, message));
    }
    let source: Source = document(&state, body).await?;
    let decision = restore::restore(&state, &id, source.snapshot).await?;
    Ok(recorded(&id, decision, StatusCode::ACCEPTED))
}

/// The site that holds a service or cell, and its uid.
fn holder(state: &State, kind: Kind, id: &Id) -> Result<(String, String), Error> {
    match kind {
        Kind::Service => {
            let service = state.cache(|cache| cache.services.get(id).cloned());
            let service = service.ok_or_else(|| apply::not_found(kind, id))?;
            let site = service.status.site.clone().ok_or_else(|| {
                let message = format!("`service/{}` has no site yet", id.name);
                Error::refuse(ErrorKind::Unavailable, message)
            })?;
            Ok((site, service.uid().to_owned()))
        }
        Kind::Cell | Kind::Tissue => {
            let cell = runs::find(state, kind, id)?;
            Ok((runs::first_site(&cell), cell.uid().to_owned()))
        }
        Kind::Site | Kind::Block | Kind::Policy | Kind::Model | Kind::Decision => {
            let message =
                format!("a {} runs nothing: ask a service, a cell or a tissue", kind.path());
            Err(Error::refuse(ErrorKind::Invalid, message))
        }
    }
}

async fn ask(state: &State, site: &str, call: Call) -> Result<Reply, Problem> {
    let conn = state.sites(|sites| sites.connection(site))?;
    Ok(conn.call(call, state.config.call_timeout).await?)
}

pub(super) async fn logs(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Named,
    uri: Uri,
) -> Answer<Json<Value>> {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let piece: Piece = query(&uri)?;
    let (mut site, uid) = holder(&state, kind, &id)?;
    if let Some(named) = piece.site {
        // One that never had any of it has no log of it either.
        site = named;
    }
    let limit = piece.limit.unwrap_or(LOG_MAX_BYTES).min(LOG_MAX_BYTES);
    match ask(&state, &site, Call::Logs { uid, offset: piece.offset, limit }).await? {
        Reply::Logs { offset, text, ended } => {
            Ok(Json(json!({"site": site, "offset": offset, "text": text, "ended": ended})))
        }
        _ => Err(odd(&site)),
    }
}

pub(super) async fn snapshot(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Named,
) -> Answer<Response> {
    let (kind, id) = locate(&tenant, &kind, &name)?;
    let (site, uid) = holder(&state, kind, &id)?;
    let conn = state.sites(|sites| sites.connection(&site))?;
    // The site uploads the snapshot before it answers.
    let call = conn.call(Call::Snapshot { uid }, state.config.transfer_timeout);
    match call.await.map_err(Problem::from)? {
        Reply::Snapshot { digest, size_bytes } => {
            let body = json!({"site": site, "digest": digest, "sizeBytes": size_bytes});
            Ok(Json(body).into_response())
        }
        _ => Err(odd(&site)),
    }
}

fn odd(site: &str) -> Refusal {
    let message = format!("site `{site}` answered something else than it was asked");
    Refusal::new(ErrorKind::Internal, message)
}

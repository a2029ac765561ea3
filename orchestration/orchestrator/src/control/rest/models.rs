//! Versions of models: all that is known of one, and which one is used.

use super::{
    super::{cache::Id, models, state::State},
    Answer, Refusal,
    resources::{document, locate},
};
use api::{Kind, Resource};
use axum::{
    Json,
    body::Body,
    extract::{Path, State as Shared},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use std::sync::Arc;
use types::ErrorKind;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    version: u32,
    /// Whatever its figures are.
    #[serde(default)]
    force: bool,
}

fn model(tenant: &str, kind: &str, name: &str) -> Answer<Id> {
    match locate(tenant, kind, name)? {
        (Kind::Model, id) => Ok(id),
        (kind, _) => {
            let message = format!("a {} has no versions: ask a model", kind.path());
            Err(Refusal::new(ErrorKind::Invalid, message))
        }
    }
}

pub(super) async fn version(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name, number)): Path<(String, String, String, String)>,
) -> Answer<Response> {
    let id = model(&tenant, &kind, &name)?;
    let digits = number.strip_prefix('v').unwrap_or(&number);
    let number = digits.parse().map_err(|_| {
        Refusal::new(ErrorKind::Invalid, "a version is a number: `versions/3`".to_owned())
    })?;
    Ok(Json(models::version(&state, &id.name, number).await?).into_response())
}

pub(super) async fn promote(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Path<(String, String, String)>,
    body: Body,
) -> Answer<Json<Resource>> {
    let id = model(&tenant, &kind, &name)?;
    let Promotion { version, force } = document(&state, body).await?;
    Ok(Json(models::promote(&state, &id.name, version, force).await?))
}

pub(super) async fn rollback(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, kind, name)): Path<(String, String, String)>,
) -> Answer<Json<Resource>> {
    let id = model(&tenant, &kind, &name)?;
    Ok(Json(models::rollback(&state, &id.name).await?))
}

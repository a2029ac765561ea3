//! Which site is the home of which bucket of the ephemeral store.
//!
//! This is all that the control plane knows of objects: it is asked when a bucket is made, and once for each that a
//! site's store meets.

use super::{
    super::{session::Speaker, state::State},
    Answer, Refusal,
    resources::document,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State as Shared},
    http::StatusCode,
};
use meta::{Compare, Op, Txn};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use types::{ErrorKind, check_name};

/// Where homes stand in the store.
const PREFIX: &str = "geds/homes/";

/// Longest name of a bucket, as S3 has it.
const BUCKET_MAX_BYTES: usize = 63;

/// The home of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Home {
    site: String,
}

pub(super) async fn read(
    Shared(state): Shared<Arc<State>>,
    Path((tenant, bucket)): Path<(String, String)>,
) -> Answer<Json<Home>> {
    let key = key(&tenant, &bucket)?;
    match stored(&state, &key).await? {
        Some(site) => Ok(Json(Home { site })),
        None => Err(Refusal::new(ErrorKind::NotFound, format!("there is no bucket `{bucket}`"))),
    }
}

/// Makes a site the home of a bucket that has none; says who it is.
pub(super) async fn claim(
    Shared(state): Shared<Arc<State>>,
    speaker: Option<Extension<Speaker>>,
    Path((tenant, bucket)): Path<(String, String)>,
    body: Body,
) -> Answer<Json<Home>> {
    let key = key(&tenant, &bucket)?;
    let wanted = wanted(&state, speaker, body).await?;
    let claim = Txn {
        compares: vec![Compare::absent(key.clone())],
        then: vec![Op::put(key.clone(), wanted.site)],
        otherwise: Vec::new(),
    };
    state.store.txn(claim).await?;
    let gone = || Refusal::new(ErrorKind::Unavailable, "the bucket is just being removed");
    let site = stored(&state, &key).await?.ok_or_else(gone)?;
    Ok(Json(Home { site }))
}

/// A site is the home of a bucket no more.
pub(super) async fn disclaim(
    Shared(state): Shared<Arc<State>>,
    speaker: Option<Extension<Speaker>>,
    Path((tenant, bucket)): Path<(String, String)>,
    body: Body,
) -> Answer<StatusCode> {
    let key = key(&tenant, &bucket)?;
    let wanted = wanted(&state, speaker, body).await?;
    let disclaim = Txn {
        compares: vec![Compare::value(key.clone(), wanted.site)],
        then: vec![Op::delete(key)],
        otherwise: Vec::new(),
    };
    state.store.txn(disclaim).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The site that asks, which speaks for itself alone.
async fn wanted(
    state: &Arc<State>,
    speaker: Option<Extension<Speaker>>,
    body: Body,
) -> Answer<Home> {
    let home: Home = document(state, body).await?;
    let is_own = match speaker.map(|Extension(speaker)| speaker) {
        Some(Speaker::Certified(site)) => site == home.site,
        Some(Speaker::Local) => !state.registry.is_joined(&home.site),
        None => false,
    };
    match is_own && check_name(&home.site).is_ok() {
        true => Ok(home),
        false => {
            let text = format!("only site `{}` says that it is the home of a bucket", home.site);
            Err(Refusal::new(ErrorKind::Forbidden, text))
        }
    }
}

async fn stored(state: &State, key: &[u8]) -> Answer<Option<String>> {
    let item = state.store.get(key).await?.item;
    Ok(item.and_then(|item| String::from_utf8(item.value.to_vec()).ok()))
}

fn key(tenant: &str, bucket: &str) -> Answer<Vec<u8>> {
    let wrong = |why: String| Refusal::new(ErrorKind::Invalid, why);
    check_name(tenant).map_err(|error| wrong(format!("the tenant's name is wrong: {error}")))?;
    let is_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if bucket.is_empty() || bucket.len() > BUCKET_MAX_BYTES || !bucket.bytes().all(is_name) {
        return Err(wrong("this is no bucket's name".into()));
    }
    Ok(format!("{PREFIX}{tenant}/{bucket}").into_bytes())
}

//! Machines that become sites: tokens, first certificates and further ones.

use super::{
    super::{Error, session::Speaker, state::State},
    Answer, Refusal,
    resources::document,
};
use crate::trust::{Grant, JoinTicket, Joining, SigningRequest};
use axum::{Extension, Json, body::Body, extract::State as Shared, http::StatusCode};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use types::ErrorKind;

/// The longest that a token may wait to be used.
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    site: String,
    ttl_ms: u64,
}

/// Makes a join token for one site.
pub(super) async fn create_token(
    Shared(state): Shared<Arc<State>>,
    body: Body,
) -> Answer<(StatusCode, Json<JoinTicket>)> {
    let wanted: Wanted = document(&state, body).await?;
    let refuse = |kind, text: String| Err(Refusal::new(kind, text));
    if let Err(error) = types::check_name(&wanted.site) {
        return refuse(ErrorKind::Invalid, format!("the site's name is wrong: {error}"));
    }
    let ttl = Duration::from_millis(wanted.ttl_ms);
    if ttl.is_zero() || ttl > TTL_MAX {
        return refuse(ErrorKind::Invalid, "a token holds for at most 7 days".into());
    }
    let Some(address) = state.config.bind else {
        let text = "this control plane listens on loopback only: start it with `--bind ADDRESS`";
        return refuse(ErrorKind::Unsupported, text.into());
    };
    let created = state.join_tokens.create(&wanted.site, &state.authority, state.wall_ms(), ttl);
    let (token, expires) = created.map_err(Error::from)?;
    let ticket = JoinTicket {
        site: wanted.site,
        token: token.reveal(),
        expires,
        url: format!("https://{address}"),
    };
    Ok((StatusCode::CREATED, Json(ticket)))
}

/// Uses a token up and gives its site a certificate.
pub(super) async fn join(
    Shared(state): Shared<Arc<State>>,
    body: Body,
) -> Answer<(StatusCode, Json<Grant>)> {
    let joining: Joining = document(&state, body).await?;
    let site = joining.request.site.clone();
    let redeemed =
        state.join_tokens.redeem(&joining, state.wall_ms(), &state.authority, &state.registry);
    let grant = redeemed.map_err(|error| {
        tracing::warn!(site, error = types::chain(&error), "a machine may not join");
        Error::from(error)
    })?;
    state.replace_machine(&site).await;
    tracing::info!(site, "a machine joined as a site");
    Ok((StatusCode::CREATED, Json(grant)))
}

/// Gives a site its next certificate.
pub(super) async fn renew(
    Shared(state): Shared<Arc<State>>,
    speaker: Option<Extension<Speaker>>,
    body: Body,
) -> Answer<Json<Grant>> {
    let request: SigningRequest = document(&state, body).await?;
    let is_own = matches!(
        &speaker,
        Some(Extension(Speaker::Certified(site))) if *site == request.site
    );
    if !is_own {
        let text = "a site renews its own certificate, and shows it";
        return Err(Refusal::new(ErrorKind::Forbidden, text));
    }
    let issued = state.registry.renew(&state.authority, &request).map_err(Error::from)?;
    Ok(Json(Grant::new(&state.authority, &issued)))
}

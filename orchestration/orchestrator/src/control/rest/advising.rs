//! The prediction service over REST.

use super::{
    super::{
        advice::{self, Predicted, Ranked},
        state::State,
    },
    Answer,
    resources::document,
};
use api::advice::{Predict, Rank};
use axum::{
    Json,
    body::Body,
    extract::{Path, State as Shared},
};
use std::sync::Arc;

/// How will this service behave at that place?
pub(super) async fn predict(
    Shared(state): Shared<Arc<State>>,
    Path(tenant): Path<String>,
    body: Body,
) -> Answer<Json<Predicted>> {
    let asked: Predict = document(&state, body).await?;
    Ok(Json(advice::predict(&state, &tenant, &asked)?))
}

/// Which of these places is best for it, and why?
pub(super) async fn rank(
    Shared(state): Shared<Arc<State>>,
    Path(tenant): Path<String>,
    body: Body,
) -> Answer<Json<Ranked>> {
    let asked: Rank = document(&state, body).await?;
    Ok(Json(advice::rank(&state, &tenant, &asked)?))
}

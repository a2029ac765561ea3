//! What users ask of models: all that is known of a version, and which one is used.

use super::{id, lock, mirror, refused};
use crate::control::{Error, Result, agents::apart, apply, state::State};
use api::{Kind, Resource};
use learning::catalog::{BackTest, Gate, MARGIN, Record};
use serde::Serialize;
use std::sync::Arc;
use types::ErrorKind;

/// All that is known of a version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Version {
    record: Record,
    /// Nothing where it was not kept.
    #[serde(rename = "backTest")]
    backtest: Option<BackTest>,
    /// What the model sees.
    figures: Vec<String>,
}

/// Reads a version.
pub(in super::super) async fn version(
    state: &Arc<State>,
    name: &str,
    number: u32,
) -> Result<Version> {
    let (asked, name) = (state.clone(), name.to_owned());
    let read = apart(move || {
        let catalog = &asked.models.catalog;
        let record = catalog.record(&name, number)?;
        let figures = catalog.model(&name, number)?.names();
        Ok(Version { record, backtest: catalog.backtest(&name, number)?, figures })
    });
    read.await?.map_err(|error: learning::Error| refused(&error))
}

/// Puts a version into production if the gate lets it, by the back-tests that both have.
pub(in super::super) async fn promote(
    state: &Arc<State>,
    name: &str,
    version: u32,
    force: bool,
) -> Result<Resource> {
    let gate = if force { Gate::Forced } else { Gate::Recorded { margin: MARGIN } };
    change(state, name, move |state, name| {
        state.models.catalog.promote(name, version, &gate).map(drop)
    })
    .await
}

/// Goes back to the version that was in production before.
pub(in super::super) async fn rollback(state: &Arc<State>, name: &str) -> Result<Resource> {
    change(state, name, |state, name| state.models.catalog.rollback(name).map(drop)).await
}

/// Changes what the catalog says, and tells it at once.
async fn change(
    state: &Arc<State>,
    name: &str,
    act: impl FnOnce(&State, &str) -> learning::Result<()> + Send + 'static,
) -> Result<Resource> {
    let (asked, of) = (state.clone(), name.to_owned());
    let done = apart(move || {
        act(&asked, &of)?;
        lock(&asked.models.loaded).remove(&of);
        Ok(())
    });
    done.await?.map_err(|error: learning::Error| refused(&error))?;
    mirror::round(state).await?;
    let told = apply::load(state, Kind::Model, &id(name)).await?;
    told.ok_or_else(|| {
        Error::refuse(ErrorKind::NotFound, format!("there is no model `{name}` any more"))
    })
}

//! What agents read: models of the catalog, and series of the control plane's store.

use learning::{
    Error, Predictor, Result,
    agent::{Models, Series, Telemetry, Wanted},
    catalog::{Catalog, fits},
};
use series::{
    NAME, Store,
    query::{Answer, Query, QueryLimits, instant, range},
};
use std::{sync::Arc, time::Duration};
use tracing::warn;

/// What one query of a policy may take: others wait for it.
const SAMPLES_MAX: usize = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(2);

/// The models of a catalog that are in production, for policies.
#[derive(Debug)]
pub struct CatalogModels(pub Catalog);

impl Models for CatalogModels {
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>> {
        let production = self.0.production(wanted.model)?;
        for why in &production.passed_by {
            warn!(model = wanted.model, why, "a version of a model is passed by");
        }
        let model = production.model;
        fits(model.target, wanted)?;
        Ok(Arc::new(model))
    }
}

/// The control plane's store of series.
#[derive(Debug)]
pub(super) struct Stored(pub(super) Arc<Store>);

impl Telemetry for Stored {
    fn range(
        &self,
        (tenant, query): (&str, &str),
        from_ms: i64,
        to_ms: i64,
        step_ms: u64,
    ) -> Result<Vec<Series>> {
        let parsed = Query::parse(query).map_err(|error| unfit(query, &error))?;
        let step_ms = i64::try_from(step_ms).unwrap_or(i64::MAX);
        let found = range(&self.0, &parsed, (from_ms, to_ms), step_ms, &limits(tenant));
        Ok(found.map_err(|error| unfit(query, &error))?.into_iter().map(told).collect())
    }

    fn points(
        &self,
        (tenant, selector): (&str, &str),
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Series>> {
        let length_ms = to_ms.saturating_sub(from_ms).max(1);
        let parsed = stretch(selector, length_ms).map_err(|error| unfit(selector, &error))?;
        match instant(&self.0, &parsed, to_ms, &limits(tenant)) {
            Ok(Answer::Matrix(found)) => Ok(found.into_iter().map(told).collect()),
            Ok(_) => Err(Error::Unfit(format!("query `{selector}` is no selector of series"))),
            Err(error) => Err(unfit(selector, &error)),
        }
    }
}

/// The query for all that was measured of series in so long.
pub(super) fn stretch(selector: &str, length_ms: i64) -> series::Result<Query> {
    Query::parse(&format!("{selector}[{length_ms}ms]"))
}

fn unfit(query: &str, error: &series::Error) -> Error {
    Error::Unfit(format!("query `{query}`: {}", types::chain(error)))
}

fn limits(tenant: &str) -> QueryLimits {
    QueryLimits {
        samples_max: SAMPLES_MAX,
        timeout: TIMEOUT,
        tenant: Some(tenant.to_owned()),
        ..QueryLimits::default()
    }
}

fn told(series: series::Series) -> Series {
    let labels = series.labels.iter().filter(|(name, _)| *name != NAME);
    Series {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        points: series.samples.iter().map(|one| (one.time_ms, one.value)).collect(),
    }
}

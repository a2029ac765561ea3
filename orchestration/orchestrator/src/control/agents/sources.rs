//! What agents read: models of the catalog, and series of the control plane's store.

use learning::{
    Error, Predictor, Result,
    agent::{Models, Series, Telemetry, Wanted},
    catalog::{Catalog, fits},
};
use series::{
    NAME, Store,
    query::{Query, QueryLimits, range},
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
        let unfit = |error: series::Error| {
            Error::Unfit(format!("query `{query}`: {}", types::chain(&error)))
        };
        let parsed = Query::parse(query).map_err(unfit)?;
        let step_ms = i64::try_from(step_ms).unwrap_or(i64::MAX);
        let limits = QueryLimits {
            samples_max: SAMPLES_MAX,
            timeout: TIMEOUT,
            tenant: Some(tenant.to_owned()),
            ..QueryLimits::default()
        };
        let found = range(&self.0, &parsed, (from_ms, to_ms), step_ms, &limits).map_err(unfit)?;
        let one = |series: series::Series| Series {
            labels: series
                .labels
                .iter()
                .filter(|(name, _)| *name != NAME)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            points: series.samples.iter().map(|one| (one.time_ms, one.value)).collect(),
        };
        Ok(found.into_iter().map(one).collect())
    }
}

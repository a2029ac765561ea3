//! What sites report of watched services, as series: finer than what is scraped, and there after a restart.

use crate::{
    control::{cache::Id, state::State},
    measured::{Ended, STEP_S},
};
use ::series::{Labels, Matcher, NAME, Sample, Store, scrape::wall_ms};
use learning::{Error, Recorded, Result, recorded::Measurements};
use std::{collections::BTreeMap, sync::Arc};
use tracing::warn;

/// The mean of a step, of all answers in it.
const LATENCY: &str = "cloudskin_service_latency_seconds";
/// Whether in a step nobody was answered, though somebody asked.
const STALLED: &str = "cloudskin_service_stalled";
/// Processors that all services of the site used in a step.
const CPUS: &str = "cloudskin_service_site_cpus";
/// Requests each second in a step, answered or not.
const REQUESTS: &str = "cloudskin_service_requests_per_second";
/// What one look may read.
const SAMPLES_MAX: usize = 8_000_000;

/// Stores what was measured in steps that are over.
pub(in super::super) fn keep(state: &Arc<State>) {
    let ended = state.agents.measured().ended(state.wall_ms());
    let batch: Vec<_> = ended.iter().filter_map(|ended| labelled(state, ended)).flatten().collect();
    if batch.is_empty() {
        return;
    }
    let now_ms = wall_ms(&*state.clock);
    if let Err(error) = state.telemetry.store().append(&batch, now_ms) {
        warn!(error = types::chain(&error), "what was measured of services was not stored");
    }
}

/// Its series; nothing for a service that is gone.
fn labelled(state: &State, ended: &Ended) -> Option<Vec<(Labels, Sample)>> {
    let id = state.cache(|cache| cache.service_by_uid(&ended.uid).map(|service| service.id()))?;
    let time_ms = i64::try_from(ended.time_s).ok()?.checked_mul(1000)?;
    let stalled = f64::from(u8::from(ended.sample.stalled()));
    let values = [
        (STALLED, Some(stalled)),
        (LATENCY, ended.sample.latency_ms.map(|ms| ms / 1000.0)),
        (CPUS, ended.sample.cpu),
        (REQUESTS, ended.sample.requests),
    ];
    let known = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let one = |(name, value)| {
        let pairs =
            [(NAME, name), ("tenant", &*id.tenant), ("service", &*id.name), ("site", &*ended.site)];
        Some((Labels::new(pairs).ok()?, Sample::new(time_ms, value)))
    };
    Some(known.filter_map(one).collect())
}

/// What was measured of a service between two times, in seconds since the Unix epoch; nothing if nothing was.
pub(super) fn recorded(
    store: &Store,
    service: &Id,
    (from_s, to_s): (i64, i64),
) -> Result<Option<Recorded>> {
    let mut sites: BTreeMap<String, Measurements> = BTreeMap::new();
    for name in [STALLED, LATENCY, CPUS, REQUESTS] {
        let matchers = [
            Matcher::is(NAME, name),
            Matcher::is("tenant", &service.tenant),
            Matcher::is("service", &service.name),
        ];
        let span = (from_s.saturating_mul(1000), to_s.saturating_mul(1000));
        let found = store.select(&matchers, span.0, span.1, SAMPLES_MAX);
        let found = found.map_err(|error| Error::Unfit(types::chain(&error)))?;
        for series in found {
            let site = sites.entry(series.labels.get("site").to_owned()).or_default();
            let known =
                series.samples.iter().filter(|one| !one.is_stale() && one.value.is_finite());
            for one in known {
                let sample = site.entry(one.time_ms.div_euclid(1000)).or_default();
                match name {
                    LATENCY => sample.latency_ms = Some(1000.0 * one.value),
                    CPUS => sample.cpu = Some(one.value),
                    REQUESTS => sample.requests = Some(one.value),
                    _ => {}
                }
            }
        }
    }
    if sites.values().all(BTreeMap::is_empty) {
        return Ok(None);
    }
    Recorded::new(STEP_S, sites).map(Some)
}

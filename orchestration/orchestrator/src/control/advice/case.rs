//! A service and the places that it is asked about, with all that is known of them now.

use super::{
    super::{
        Error, Result,
        cache::{Id, Policy, Service},
        state::State,
        views,
    },
    MODELS_MAX, Ready, processors,
    seen::{STEP_S, Seen},
};
use api::{advice::Assumed, decision::Alternative, policy::millis};
use learning::{
    Past, Predictor, Prices, Sample,
    advise::{Adviser, Candidate, Forecast, Learned, Outlook, Place, Question},
};
use std::{collections::BTreeMap, sync::Arc};
use types::ErrorKind;

/// Where neither the question nor a policy names a level.
const SLA_MS: f64 = 100.0;
/// The model that is asked if neither the question nor a policy names one that is in production.
const MODEL: &str = "latency";
/// No service is asked for more often, a second.
const RATE_MAX: f64 = 1e6;
/// A model is asked about a place where the service was measured within so many samples: a minute.
const FRESH: usize = 12;

/// A service with what is asked of all places alike.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) service: Arc<Service>,
    /// Where it is.
    pub(super) here: Option<String>,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) sla_ms: f64,
    /// Every site with the room that it has, or what rules it out.
    pub(super) sites: Vec<Alternative>,
    prices: Prices,
    /// Requests a second where it is now.
    rate_now: f64,
    model: Option<(String, Ready)>,
    learned: Arc<Learned>,
    now_ms: u64,
}

impl Case {
    /// Gathers it; `lost` is a site that it cannot go to any more.
    pub(super) fn of(
        state: &State,
        service: Arc<Service>,
        assumed: &Assumed,
        lost: Option<&str>,
    ) -> Result<Self> {
        let policy = policy_of(state, &service);
        let now_ms = state.wall_ms();
        let here = service.status.site.clone().filter(|site| lost != Some(site.as_str()));
        let rate_now = rate_now(&state.advice.seen(), &service, now_ms);
        let prices = policy.as_ref().map(|policy| Prices::of(&policy.spec.prices));
        Ok(Self {
            rate: checked_rate(assumed.rate)?.unwrap_or(rate_now),
            sla_ms: sla_ms(assumed, policy.as_deref())?,
            sites: sites(state, &service, here.as_deref(), lost),
            prices: prices.and_then(|prices| prices.ok()).unwrap_or_default(),
            model: model(state, assumed, policy.as_deref())?,
            learned: state.advice.learned(),
            here,
            service,
            rate_now,
            now_ms,
        })
    }

    /// How the service will behave at some sites.
    pub(super) fn outlooks(&self, state: &State, sites: &[&str]) -> Vec<Outlook> {
        let places = self.places(state, sites);
        let adviser = Adviser { learned: &self.learned };
        let question = Question {
            service: self.service.uid(),
            rate: self.rate,
            sla_ms: self.sla_ms,
            prices: &self.prices,
            here: self.here.as_deref(),
        };
        places.iter().map(|place| adviser.outlook(&question, place)).collect()
    }

    /// The sites that can take it, each with its outlook and room.
    pub(super) fn candidates(
        &self,
        state: &State,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<Candidate> {
        let open = self.sites.iter().filter(|site| wanted(&site.name));
        let open: Vec<(&str, f64)> =
            open.filter_map(|site| Some((site.name.as_str(), site.score?))).collect();
        let names: Vec<&str> = open.iter().map(|(name, _)| *name).collect();
        let outlooks = self.outlooks(state, &names).into_iter();
        outlooks.zip(open).map(|(outlook, (_, room))| Candidate { outlook, room }).collect()
    }

    fn places(&self, state: &State, sites: &[&str]) -> Vec<Place> {
        let facts: BTreeMap<&str, (bool, f64)> = state.cache(|cache| {
            let fact = |name: &&'_ str| {
                cache.sites.get(*name).map(|site| {
                    let edge = site
                        .resource
                        .metadata
                        .labels
                        .get("tier")
                        .is_some_and(|tier| tier == "edge");
                    (edge, processors(site.status.cpu).unwrap_or(1.0))
                })
            };
            sites.iter().filter_map(|name| Some((*name, fact(name)?))).collect()
        });
        let uid = self.service.uid();
        // What models look at is taken out of the lock: they take their time.
        let seen: Vec<(f64, Vec<Sample>)> = {
            let seen = state.advice.seen();
            let one = |site: &&str| {
                let own = seen.lately(uid, site, self.now_ms).map_or(0.0, |lately| lately.own);
                let used = seen.used(site, self.now_ms).unwrap_or(0.0);
                let asked = self.model.is_some();
                let past = asked.then(|| seen.samples(uid, site, self.now_ms));
                ((used - own).max(0.0), past.unwrap_or_default())
            };
            sites.iter().map(one).collect()
        };
        let place = |(site, (others, past)): (&&str, (f64, Vec<Sample>))| {
            let (edge, processors) = facts.get(site).copied().unwrap_or((false, 1.0));
            let forecast = self.forecast(&past);
            Place { site: (*site).to_owned(), edge, processors, others, forecast }
        };
        sites.iter().zip(seen).map(place).collect()
    }

    /// What the model says of a place; nothing if the service was not measured there lately, or the
    /// model cannot be asked of it.
    fn forecast(&self, past: &[Sample]) -> Option<Forecast> {
        let (name, ready) = self.model.as_ref()?;
        let lately = &past[past.len().saturating_sub(FRESH)..];
        if !lately.iter().any(|sample| sample.latency_ms.is_some()) {
            return None;
        }
        let now_s = i64::try_from(self.now_ms / 1000).unwrap_or(i64::MAX);
        let past = Past { now_s, step_s: STEP_S, here: past, there: &[] };
        let said = ready.model.predict(&past).ok()?.first().copied()?;
        let sound = said.value.is_finite() && said.value > 0.0;
        sound.then(|| Forecast {
            model: format!("{name}/v{}", ready.version),
            said,
            rate: self.rate_now,
            reasons: ready.model.explain(&past).unwrap_or_default(),
        })
    }
}

/// The first policy that looks after it, by name.
fn policy_of(state: &State, service: &Service) -> Option<Arc<Policy>> {
    let id = service.id();
    state.cache(|cache| {
        let own = |policy: &&Arc<Policy>| Id::new(&policy.id().tenant, &policy.spec.service) == id;
        cache.policies.values().find(own).cloned()
    })
}

fn checked_rate(rate: Option<f64>) -> Result<Option<f64>> {
    match rate {
        Some(rate) if !(0.0..=RATE_MAX).contains(&rate) => {
            let text = format!("`rate` is {rate}: write requests a second, from 0 to {RATE_MAX}");
            Err(Error::refuse(ErrorKind::Invalid, text))
        }
        rate => Ok(rate),
    }
}

fn sla_ms(assumed: &Assumed, policy: Option<&Policy>) -> Result<f64> {
    let declared = assumed.sla.or_else(|| policy.map(|policy| policy.spec.sla));
    match declared.map(|sla| millis(sla) as f64) {
        Some(0.0) => {
            let text = "`sla` is `0s`: nothing is answered in no time, write such as `120ms`";
            Err(Error::refuse(ErrorKind::Invalid, text))
        }
        declared => Ok(declared.unwrap_or(SLA_MS)),
    }
}

/// The model that is asked: one that the question names has to be there.
fn model(
    state: &State,
    assumed: &Assumed,
    policy: Option<&Policy>,
) -> Result<Option<(String, Ready)>> {
    let models = state.advice.models();
    let known = |name: &str| models.ready.get(name).map(|ready| (name.to_owned(), ready.clone()));
    match &assumed.model {
        Some(name) => known(name).map(Some).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            Error::refuse(ErrorKind::NotFound, not_ready(&name, models.more))
        }),
        None => {
            let policys = policy.and_then(|policy| known(&policy.spec.model));
            Ok(policys.or_else(|| known(MODEL)))
        }
    }
}

fn not_ready(name: &str, more: bool) -> String {
    match more {
        true => format!(
            "the model `{name}` is not held ready: more than {MODELS_MAX} of target `latency` are in production, \
             and the first {MODELS_MAX} by name are asked. Name one of those"
        ),
        false => format!(
            "no model `{name}` of target `latency` is in production: `cloudskin model promote` one, \
             and wait half a minute"
        ),
    }
}

/// Requests a second where it is.
fn rate_now(seen: &Seen, service: &Service, now_ms: u64) -> f64 {
    let here = service.status.site.as_deref();
    let there = here.and_then(|site| seen.lately(service.uid(), site, now_ms));
    there.map_or(0.0, |lately| lately.rate)
}

/// Every site, as a placement sees it that may move the service anywhere: what the service itself
/// has where it is does not count.
fn sites(
    state: &State,
    service: &Service,
    here: Option<&str>,
    lost: Option<&str>,
) -> Vec<Alternative> {
    let placement = api::service::Placement { site: None, ..service.spec.placement.clone() };
    let resources = &service.spec.resources;
    let mut view = state.both(|cache, live| views::sites(cache, live, state.lease()));
    if let Some(own) = here.and_then(|here| view.sites.get_mut(here)) {
        own.cpu_used.0 = own.cpu_used.0.saturating_sub(resources.cpu.0);
        own.memory_used.0 = own.memory_used.0.saturating_sub(resources.memory.0);
    }
    let request = decide::Request { placement: &placement, resources, lost };
    decide::place(request, &view, state.clock.monotonic()).alternatives
}

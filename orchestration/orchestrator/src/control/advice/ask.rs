//! The two questions.

use super::{
    super::{Error, Result, apply, cache::Id, state::State},
    case::Case,
};
use api::{
    Kind,
    advice::{Predict, Rank, SITES_MAX},
    service::Prefer,
};
use learning::advise::{self, Outlook, Ranking};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc};
use types::{ErrorKind, check_name};

/// How a service will behave at a place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Predicted {
    #[serde(flatten)]
    pub(in super::super) about: About,
    /// The answer.
    pub(in super::super) place: Outlook,
    /// Why the service cannot go there now, if so.
    pub(in super::super) obstacle: Option<String>,
}

/// Which place is best.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Ranked {
    #[serde(flatten)]
    pub(in super::super) about: About,
    pub(in super::super) prefer: Prefer,
    #[serde(flatten)]
    pub(in super::super) ranking: Ranking,
    /// Sites that cannot take the service now.
    pub(in super::super) closed: Vec<Closed>,
}

/// What an answer is for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct About {
    pub(in super::super) service: String,
    pub(in super::super) tenant: String,
    /// Where it is.
    pub(in super::super) here: Option<String>,
    /// Requests a second.
    pub(in super::super) rate: f64,
    pub(in super::super) sla_ms: f64,
}

/// A site that cannot take the service.
#[derive(Debug, Serialize)]
pub(in super::super) struct Closed {
    pub(in super::super) site: String,
    /// The rest of a sentence that begins with its name.
    pub(in super::super) why: String,
}

/// How will this service behave at that place?
pub(in super::super) fn predict(state: &State, tenant: &str, asked: &Predict) -> Result<Predicted> {
    let service = service(state, tenant, &asked.service)?;
    let at = site_name(&asked.at);
    check_sites(state, std::iter::once(at))?;
    let case = Case::of(state, service, &asked.assume, None)?;
    let mut outlooks = case.outlooks(state, &[at]);
    let place = outlooks.pop().ok_or_else(|| unknown(at))?;
    let site = case.sites.iter().find(|site| site.name == at);
    let obstacle = site.filter(|site| site.score.is_none()).map(|site| site.reason.clone());
    Ok(Predicted { about: About::of(tenant, &case), place, obstacle })
}

/// Which of these places is best for it, and why?
pub(in super::super) fn rank(state: &State, tenant: &str, asked: &Rank) -> Result<Ranked> {
    let service = service(state, tenant, &asked.service)?;
    let named = asked.sites.as_deref().map(|sites| named(state, sites)).transpose()?;
    let prefer = asked.prefer.unwrap_or(service.spec.placement.prefer);
    let case = Case::of(state, service, &asked.assume, None)?;
    let wanted = |site: &str| named.as_ref().is_none_or(|named| named.contains(site));
    let open = case.sites.iter().filter(|site| site.score.is_some() && wanted(&site.name)).count();
    if open > SITES_MAX {
        return Err(too_many(open));
    }
    let ranking = advise::rank(case.candidates(state, wanted), prefer);
    let closed = case.sites.iter().filter(|site| site.score.is_none() && wanted(&site.name));
    let closed = closed.take(SITES_MAX);
    let closed = closed.map(|site| Closed { site: site.name.clone(), why: site.reason.clone() });
    Ok(Ranked { about: About::of(tenant, &case), prefer, ranking, closed: closed.collect() })
}

impl About {
    fn of(tenant: &str, case: &Case) -> Self {
        Self {
            service: case.service.resource.metadata.name.clone(),
            tenant: tenant.to_owned(),
            here: case.here.clone(),
            rate: case.rate,
            sla_ms: case.sla_ms,
        }
    }
}

fn service(state: &State, tenant: &str, name: &str) -> Result<Arc<super::super::cache::Service>> {
    let name = name.strip_prefix("service/").unwrap_or(name);
    for name in [tenant, name] {
        check_name(name).map_err(|error| Error::refuse(ErrorKind::Invalid, error.to_string()))?;
    }
    let id = Id::new(tenant, name);
    let service = state.cache(|cache| cache.services.get(&id).cloned());
    service.ok_or_else(|| apply::not_found(Kind::Service, &id))
}

fn site_name(site: &str) -> &str {
    site.strip_prefix("site/").unwrap_or(site)
}

/// The sites that a question names, each once.
fn named<'a>(state: &State, sites: &'a [String]) -> Result<BTreeSet<&'a str>> {
    if sites.is_empty() {
        let text = "`sites` is empty: name some, or leave it out for all that there are";
        return Err(Error::refuse(ErrorKind::Invalid, text));
    }
    if sites.len() > SITES_MAX {
        return Err(too_many(sites.len()));
    }
    let mut named = BTreeSet::new();
    for site in sites.iter().map(|site| site_name(site)) {
        if !named.insert(site) {
            let text = format!("`sites` names `{}` twice", shown(site));
            return Err(Error::refuse(ErrorKind::Invalid, text));
        }
    }
    check_sites(state, named.iter().copied())?;
    Ok(named)
}

fn check_sites<'a>(state: &State, mut sites: impl Iterator<Item = &'a str>) -> Result<()> {
    let missing = state.cache(|cache| sites.find(|site| !cache.sites.contains_key(*site)));
    missing.map_or(Ok(()), |site| Err(unknown(site)))
}

fn unknown(site: &str) -> Error {
    Error::refuse(ErrorKind::NotFound, format!("there is no site `{}`", shown(site)))
}

fn too_many(count: usize) -> Error {
    let text = format!("{count} sites are to be ranked, at most {SITES_MAX} are: name fewer");
    Error::refuse(ErrorKind::Exhausted, text)
}

/// A name as far as it is told.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

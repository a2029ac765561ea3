//! What a policy is asked with: the places, what was measured there, and the way of the service.

use super::{
    super::views,
    course::{self, Followed},
    functions,
};
use crate::{
    control::{
        cache::{Id, Policy, Service},
        state::State,
    },
    measured::STEP_S,
};
use api::policy::{Aggregate, Figure, millis};
use learning::{
    Sample,
    agent::{Advice, Agent, Figures, Situation, Went},
    policy::{Moment, Place},
};
use std::time::{Duration, Instant};

/// Seconds that a move of a cell takes, start at the target included.
pub(super) const MOVE_S: u32 = 5;
/// Places that are compared, at most.
const PLACES_MAX: usize = 64;
/// How long all figures of a policy may take.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(2);

/// All that is known of a policy's service now.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) now_ms: u64,
    /// Where it is, then where else it may go.
    pub(super) places: Vec<At>,
    moved_s_ago: Vec<u64>,
    trail: Option<Vec<Went>>,
    figures: Figures,
    /// What is known of who is followed, or why nothing is.
    pub(super) followed: Option<Result<Followed, String>>,
}

/// A place with its samples.
#[derive(Debug)]
pub(super) struct At {
    pub(super) site: String,
    pub(super) edge: bool,
    pub(super) samples: Vec<Sample>,
}

impl Gathered {
    /// What an agent says; where it cannot, for it is not known where who it follows is, why.
    pub(super) fn advise(&self, agent: &Agent) -> Advice {
        let mut advice = self.ask(|situation| agent.advise(situation));
        if let (Some(fallback), Some(Err(why))) = (&mut advice.fallback, &self.followed) {
            *fallback += &format!(": {why}");
        }
        advice
    }

    /// Asks with what is known.
    pub(super) fn ask<T>(&self, ask: impl FnOnce(&Situation) -> T) -> T {
        let places: Vec<Place> = self
            .places
            .iter()
            .map(|at| Place { name: &at.site, past: &at.samples, edge: at.edge, move_s: MOVE_S })
            .collect();
        let moment = Moment {
            now_s: i64::try_from(self.now_ms / 1000).unwrap_or(i64::MAX),
            step_s: STEP_S,
            here: places[0],
            others: &places[1..],
            moved_s_ago: &self.moved_s_ago,
        };
        ask(&Situation { moment: &moment, trail: self.trail.as_deref(), figures: &self.figures })
    }
}

/// Gathers it; nothing if the service is nowhere.
pub(super) fn gather(state: &State, policy: &Policy, service: &Service) -> Option<Gathered> {
    let here = service.status.site.clone()?;
    let now_ms = state.wall_ms();
    let mut sites = vec![here.clone()];
    sites.extend(others(state, service, &here));
    let uids = uids(state, policy, service);
    let measured = state.agents.measured();
    let samples = |site: &str| {
        let each = uids.iter().map(|uid| measured.samples(uid, site, now_ms));
        each.reduce(stand_in).unwrap_or_default()
    };
    let edge = |site: &str| {
        state.cache(|cache| {
            let labels = cache.sites.get(site).map(|site| &site.resource.metadata.labels);
            labels.is_some_and(|labels| labels.get("tier").is_some_and(|tier| tier == "edge"))
        })
    };
    let places: Vec<At> = sites
        .into_iter()
        .map(|site| At { edge: edge(&site), samples: samples(&site), site })
        .collect();
    drop(measured);
    let ago = |at: u64| now_ms.saturating_sub(at) / 1000;
    let moves = &policy.status.moves;
    // A site that it cannot go to now has a number behind all others.
    let went = |moved: &api::policy::Moved| {
        let from = places.iter().position(|place| place.site == moved.from);
        Went { ago_s: ago(moved.at), from: from.unwrap_or(places.len()) }
    };
    let mut figures = figures(state, policy, &places, now_ms);
    figures.extend(functions::figures(state, policy, &places, now_ms));
    let followed = course::followed(state, policy, service, &places, now_ms);
    if let Some(Ok(followed)) = &followed {
        figures.extend(followed.course.figures());
    }
    Some(Gathered {
        now_ms,
        moved_s_ago: moves.iter().map(|moved| ago(moved.at)).collect(),
        trail: Some(moves.iter().map(went).collect()),
        places,
        figures,
        followed,
    })
}

/// Where else it may go: as it was placed, but for the one site that it was to begin at.
fn others(state: &State, service: &Service, here: &str) -> Vec<String> {
    let placement = api::service::Placement { site: None, ..service.spec.placement.clone() };
    let request =
        decide::Request { placement: &placement, resources: &service.spec.resources, lost: None };
    let now = state.clock.monotonic();
    let sites = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let fits = decide::place(request, &sites, now).alternatives.into_iter();
    let fits = fits.filter(|site| site.score.is_some() && site.name != here);
    fits.map(|site| site.name).take(PLACES_MAX - 1).collect()
}

/// The service, then those that stand in for it.
fn uids(state: &State, policy: &Policy, service: &Service) -> Vec<String> {
    let tenant = &policy.resource.metadata.tenant;
    let others = policy.spec.stand_ins.iter().filter_map(|name| {
        state.cache(|cache| Some(cache.services.get(&Id::new(tenant, name))?.uid().to_owned()))
    });
    std::iter::once(service.uid().to_owned()).chain(others).collect()
}

/// Where nothing was measured of one, what was measured of the other counts.
fn stand_in(mut own: Vec<Sample>, other: Vec<Sample>) -> Vec<Sample> {
    if other.len() > own.len() {
        let missing = other.len() - own.len();
        own.splice(0..0, std::iter::repeat_n(Sample::default(), missing));
    }
    let offset = own.len() - other.len();
    for (own, other) in own[offset..].iter_mut().zip(other) {
        // What a stand-in is asked is not what the service is.
        own.latency_ms = own.latency_ms.or(other.latency_ms);
        own.cpu = own.cpu.or(other.cpu);
    }
    own
}

/// The figures that the policy names, for each place; nothing where telemetry does not answer.
fn figures(state: &State, policy: &Policy, places: &[At], now_ms: u64) -> Figures {
    let until = Instant::now() + FIGURES_TIMEOUT;
    let one = |figure: &Figure, site: &str| {
        // Of what takes too long nothing is known.
        until.checked_duration_since(Instant::now())?;
        let query = figure.query.replace("$site", site).replace("$service", &policy.spec.service);
        let to = i64::try_from(now_ms).ok()?;
        let from = to.saturating_sub(i64::try_from(millis(figure.last)).ok()?);
        let step_ms = u64::from(STEP_S) * 1000;
        let asked = (policy.resource.metadata.tenant.as_str(), query.as_str());
        let series = state.agents.telemetry.range(asked, from, to, step_ms).ok()?;
        let points = series.iter().flat_map(|series| &series.points);
        aggregate(
            points.map(|(_, value)| *value).filter(|value| value.is_finite()),
            figure.aggregate,
        )
    };
    let each = policy.spec.figures.iter();
    each.map(|(name, figure)| {
        (name.clone(), places.iter().map(|place| one(figure, &place.site)).collect())
    })
    .collect()
}

fn aggregate(values: impl Iterator<Item = f64>, how: Aggregate) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(match how {
        Aggregate::Max => values[last],
        Aggregate::Avg => values.iter().sum::<f64>() / values.len() as f64,
        Aggregate::Quantile(share) => {
            values[(share.clamp(0.0, 1.0) * last as f64).round() as usize]
        }
    })
}

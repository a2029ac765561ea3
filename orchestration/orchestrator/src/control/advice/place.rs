//! Which site a service is given to: among those that can take it, by what is expected there.

use super::{
    super::{cache::Service, state::State},
    case::Case,
};
use api::{
    advice::{Assumed, SITES_MAX},
    decision::Alternative,
    service::Prefer,
};
use decide::Verdict;
use learning::advise::{self, Ranking};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tracing::warn;

/// Sites whose prediction is kept with the decision, the best first: it is stored for long.
const TOLD_MAX: usize = 16;

/// The verdict with the sites in the order of what is expected, and what that is. With
/// `prefer: room`, or if nothing can be said, it stays as it is.
pub(in super::super) fn choose(
    state: &State,
    service: &Arc<Service>,
    verdict: Verdict,
    lost: Option<&str>,
) -> (Verdict, Value) {
    let prefer = service.spec.placement.prefer;
    if prefer == Prefer::Room {
        return (verdict, Value::Null);
    }
    let case = match Case::of(state, service.clone(), &Assumed::default(), lost) {
        Ok(case) => case,
        Err(error) => {
            let error = types::chain(&error);
            warn!(service = %service.id(), error, "a service is placed by room alone");
            return (verdict, Value::Null);
        }
    };
    // Those with the most room: that among thousands one with less is better is not looked for.
    let open = verdict.alternatives.iter().filter(|site| site.score.is_some());
    let open: BTreeSet<&str> = open.take(SITES_MAX).map(|site| site.name.as_str()).collect();
    let ranking = advise::rank(case.candidates(state, |site| open.contains(site)), prefer);
    if ranking.places.is_empty() {
        return (verdict, Value::Null);
    }
    let told = json!({
        "slaMs": case.sla_ms,
        "rate": case.rate,
        "prefer": prefer,
        "places": &ranking.places[..ranking.places.len().min(TOLD_MAX)],
        "placesRanked": ranking.places.len(),
    });
    (ordered(verdict, &ranking), told)
}

/// The sites of a ranking first, with what is expected there behind what there is.
fn ordered(verdict: Verdict, ranking: &Ranking) -> Verdict {
    let places = ranking.places.iter().enumerate();
    let order: HashMap<&str, usize> = places.map(|(at, place)| (place.site.as_str(), at)).collect();
    let mut alternatives = verdict.alternatives;
    // Those that were not ranked stay behind, as they stood.
    alternatives.sort_by_key(|site| order.get(site.name.as_str()).copied().unwrap_or(usize::MAX));
    for Alternative { name, reason, .. } in &mut alternatives {
        if let Some(at) = order.get(name.as_str()) {
            *reason = format!("{reason}; {}", ranking.places[*at].why);
        }
    }
    let best = alternatives.first().filter(|site| site.score.is_some());
    let reason = match best {
        Some(best) => format!("`{}` {}; {}", best.name, best.reason, ranking.why),
        None => verdict.reason,
    };
    Verdict { site: best.map(|best| best.name.clone()), reason, alternatives }
}

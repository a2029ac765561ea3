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
use std::{collections::BTreeSet, sync::Arc};
use tracing::warn;

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
        "places": ranking.places,
    });
    (ordered(verdict, &ranking), told)
}

/// The sites of a ranking first, with what is expected there behind what there is.
fn ordered(verdict: Verdict, ranking: &Ranking) -> Verdict {
    let mut left = verdict.alternatives;
    let mut alternatives = Vec::with_capacity(left.len());
    for place in &ranking.places {
        let Some(at) = left.iter().position(|site| site.name == place.site) else { continue };
        let Alternative { name, score, reason } = left.remove(at);
        alternatives.push(Alternative { name, score, reason: format!("{reason}; {}", place.why) });
    }
    alternatives.extend(left);
    let best = alternatives.first().filter(|site| site.score.is_some());
    let reason = match best {
        Some(best) => format!("`{}` {}; {}", best.name, best.reason, ranking.why),
        None => verdict.reason,
    };
    Verdict { site: best.map(|best| best.name.clone()), reason, alternatives }
}

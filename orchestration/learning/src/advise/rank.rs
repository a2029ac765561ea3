//! Which of several places is best.

use super::{Outlook, outlook::ms};
use api::service::Prefer;
use serde::{Deserialize, Serialize};

/// A place is as good as the best one if so little more of the time breaks the service level,
pub const AS_GOOD_SHARE: f64 = 0.02;
/// and its latency is at most so many milliseconds and a tenth above.
pub const AS_GOOD_MS: f64 = 1.0;

/// A place with what a service would find there.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// How the service will behave.
    pub outlook: Outlook,
    /// The share of the place's scarcest resource that would be left.
    pub room: f64,
}

/// Places in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranking {
    /// The best one; nothing if there is none.
    pub best: Option<String>,
    /// Why, as a sentence.
    pub why: String,
    /// What each is judged by, the less the better, in the order of `places`: milliseconds, with
    /// `prefer: cost` euro for an hour, with `prefer: room` the share that would be in use.
    pub scores: Vec<f64>,
    /// All of them, the best first.
    pub places: Vec<Outlook>,
}

/// Ranks places: the same candidates in any order give the same ranking.
///
/// With [`Prefer::Behaviour`] those that are as good as the best are ranked by room, and stand
/// before the others, which are ranked by the share of broken time and then by latency. Equal ones
/// stand in the order of their names.
pub fn rank(mut candidates: Vec<Candidate>, prefer: Prefer) -> Ranking {
    candidates.sort_by(|one, other| one.outlook.site.cmp(&other.outlook.site));
    // Sorts are stable: equal ones stay in the order of their names.
    match prefer {
        Prefer::Behaviour => by_behaviour(&mut candidates),
        Prefer::Latency => by(&mut candidates, latency),
        Prefer::Cost => by(&mut candidates, |one| one.outlook.cost_hour.total()),
        Prefer::Room => by(&mut candidates, |one| -one.room),
    }
    let score = |one: &Candidate| match prefer {
        Prefer::Behaviour | Prefer::Latency => latency(one),
        Prefer::Cost => one.outlook.cost_hour.total(),
        Prefer::Room => 1.0 - one.room,
    };
    Ranking {
        best: candidates.first().map(|best| best.outlook.site.clone()),
        why: why(&candidates, prefer),
        scores: candidates.iter().map(score).collect(),
        places: candidates.into_iter().map(|one| one.outlook).collect(),
    }
}

fn latency(candidate: &Candidate) -> f64 {
    candidate.outlook.latency_ms.value
}

fn by(candidates: &mut [Candidate], figure: impl Fn(&Candidate) -> f64) {
    candidates.sort_by(|one, other| figure(one).total_cmp(&figure(other)));
}

fn by_behaviour(candidates: &mut [Candidate]) {
    // In thousandths: less is no difference.
    let broken = |one: &Candidate| (1000.0 * one.outlook.broken).round();
    candidates.sort_by(|one, other| {
        let latencies = latency(one).total_cmp(&latency(other));
        broken(one).total_cmp(&broken(other)).then(latencies)
    });
    let Some(best) = candidates.first().cloned() else { return };
    let as_good = |one: &Candidate| is_as_good(one, &best);
    let rank = |one: &Candidate| if as_good(one) { -one.room } else { f64::INFINITY };
    by(candidates, rank);
}

/// Whether a place is as good as the best one.
fn is_as_good(one: &Candidate, best: &Candidate) -> bool {
    one.outlook.broken <= best.outlook.broken + AS_GOOD_SHARE
        && latency(one) <= 1.1 * latency(best) + AS_GOOD_MS
}

fn why(candidates: &[Candidate], prefer: Prefer) -> String {
    let Some(best) = candidates.first() else { return "there is no place to choose from".into() };
    let name = &best.outlook.site;
    let Some(next) = candidates.get(1) else {
        return format!("`{name}` is the only one: {}", best.outlook.why);
    };
    let (other, than) = (&next.outlook.site, ms(latency(next)));
    match prefer {
        Prefer::Behaviour if is_as_good(next, best) => format!(
            "`{name}` is as good as any and has the most room: {}; {than} at `{other}`",
            best.outlook.why
        ),
        Prefer::Behaviour | Prefer::Latency => {
            format!("`{name}` behaves best: {}; {than} at `{other}`", best.outlook.why)
        }
        Prefer::Cost => format!(
            "`{name}` costs least: {:.3} euro an hour, {:.3} at `{other}`; {}",
            best.outlook.cost_hour.total(),
            next.outlook.cost_hour.total(),
            best.outlook.why
        ),
        Prefer::Room => format!("`{name}` has the most room: {}", best.outlook.why),
    }
}

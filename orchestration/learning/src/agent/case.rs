//! Tests that a policy brings along: given samples, and what it is to say.

use super::{Agent, Figures, Situation, compile::seconds, two_places};
use crate::{
    Sample,
    policy::{Moment, Place},
};
use api::policy::{Case, Given, time};
use serde::Serialize;

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tested {
    /// The test.
    pub name: String,
    /// Whether the policy said what it was to say.
    pub passed: bool,
    /// What it said.
    pub said: String,
    /// What it was to say.
    pub expected: String,
}

/// 2023-11-13, a Monday.
const MIDNIGHT_S: i64 = 1_699_833_600;
/// Moves between the places of a test take so long.
const MOVE_S: u32 = 5;

/// Asks a policy what it says of a test's samples, with the figures that its sensors see in them.
pub fn run(agent: &Agent, case: &Case, figures: impl FnOnce(&Moment) -> Figures) -> Tested {
    let samples: Vec<_> =
        case.places.iter().map(|(name, given)| (name, given.edge, samples(given))).collect();
    let places =
        samples.iter().map(|(name, edge, past)| Place { name, past, edge: *edge, move_s: MOVE_S });
    let (here, others): (Vec<_>, Vec<_>) = places.partition(|place| place.name == case.at);
    let expected =
        say(case.expect.go.as_deref(), case.expect.alarm, case.expect.because.as_deref());
    let Some(&here) = here.first() else {
        let said = format!("there is no place `{}`", case.at);
        return Tested { name: case.name.clone(), passed: false, said, expected };
    };
    let ago: Vec<u64> = case.moved_ago.iter().map(|ago| ago.0.as_secs()).collect();
    let now_s = MIDNIGHT_S + i64::from(time(&case.time).unwrap_or_default()) * 60;
    let step_s = seconds(case.step).max(1);
    let moment = Moment { now_s, step_s, here, others: &others, moved_s_ago: &ago };
    let trail = two_places(&moment);
    let mut figures = figures(&moment);
    let names = std::iter::once(here.name).chain(others.iter().map(|place| place.name));
    figures.extend(given(case, names));
    let situation = Situation { moment: &moment, trail: trail.as_deref(), figures: &figures };
    let advice = agent.advise(&situation);
    let go = advice.verdict.go.and_then(|at| others.get(at)).map(|place| place.name);
    let reason = [Some(&advice.reason), advice.fallback.as_ref(), advice.held.as_ref()];
    let reason: Vec<_> = reason.into_iter().flatten().cloned().collect();
    let reason = reason.join("; ");
    let because = case.expect.because.as_ref().is_none_or(|word| reason.contains(word));
    let alarm = case.expect.alarm.is_none_or(|alarm| alarm == advice.verdict.alarm);
    Tested {
        name: case.name.clone(),
        passed: go == case.expect.go.as_deref() && alarm && because,
        said: say(go, Some(advice.verdict.alarm), Some(&reason)),
        expected,
    }
}

/// What the test says of who is followed.
fn given<'a>(case: &Case, places: impl Iterator<Item = &'a str>) -> Figures {
    let (distances, next) =
        places.map(|name| (case.places[name].distance, case.places[name].next)).unzip();
    [("distance".to_owned(), distances), ("next".to_owned(), next)].into()
}

fn samples(given: &Given) -> Vec<Sample> {
    let count = given.latency.len().max(given.cpu.len()).max(given.requests.len());
    // The latest are last in both.
    let at = |values: &[Option<f64>], at: usize| {
        let before = count - values.len();
        at.checked_sub(before).and_then(|at| values[at]).filter(|value| value.is_finite())
    };
    let one = |place| Sample {
        latency_ms: at(&given.latency, place),
        cpu: at(&given.cpu, place),
        requests: at(&given.requests, place),
    };
    (0..count).map(one).collect()
}

fn say(go: Option<&str>, alarm: Option<bool>, reason: Option<&str>) -> String {
    let mut text = match go {
        Some(place) => format!("go to {place}"),
        None => "stay".to_owned(),
    };
    if let Some(alarm) = alarm {
        text += if alarm { ", alarm" } else { ", no alarm" };
    }
    if let Some(reason) = reason {
        text += &format!(" ({reason})");
    }
    text
}

//! `mobility.html`: one page that needs nothing else.

use super::{
    Played, Record, Summary,
    setup::{STEP_S, TIME_SCALE},
    steps,
};
use crate::page::{filled, round};
use serde_json::{Value, json};

/// Style, script and the place for the data.
const TEMPLATE: &str = include_str!("page.html");

/// The page of a run.
pub fn render(record: &Record, summary: &Summary) -> String {
    let played = record.played.iter().map(|played| one(record, played));
    let data = json!({
        "summary": summary,
        "stepS": STEP_S,
        "capacity": round(record.edge_fps),
        "load": judged(record).iter().map(|fps| round(*fps)).collect::<Vec<_>>(),
        "played": played.collect::<Vec<_>>(),
    });
    filled(TEMPLATE, &data)
}

fn judged(record: &Record) -> &[f64] {
    record.load.played.get(record.load.warm..).unwrap_or_default()
}

/// One policy; times are seconds of recorded time since the warm-up ended.
fn one(record: &Record, played: &Played) -> Value {
    let warm = record.load.warm;
    let at_s = |wall_ms: f64| {
        let passed_s = (wall_ms - played.started_ms) / 1000.0 * f64::from(TIME_SCALE);
        round(passed_s - warm as f64 * f64::from(STEP_S))
    };
    let each = steps(played, warm, record.load.played.len());
    let ticks = played.ticks.iter().map(|tick| {
        json!({"at": at_s(tick.at_ms), "site": tick.site, "go": tick.go, "reason": tick.reason,
            "fallback": tick.fallback, "prediction": tick.prediction})
    });
    let moves = played.moves.iter().map(|moved| {
        json!({"at": at_s(moved.at_ms), "from": moved.from, "to": moved.to, "reason": moved.reason,
            "stopMs": round(moved.stop_us as f64 / 1000.0), "bytes": moved.bytes,
            "tookMs": round(moved.ended_ms - moved.at_ms)})
    });
    json!({
        "policy": played.policy,
        "latency": each.iter().map(|step| step.latency_ms.map(round)).collect::<Vec<_>>(),
        "cloud": each.iter().map(|step| round(step.cloud)).collect::<Vec<_>>(),
        "ticks": ticks.collect::<Vec<_>>(),
        "moves": moves.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::check;

    #[test]
    fn the_template_has_one_place_for_data_and_loads_nothing() {
        check(TEMPLATE);
    }
}

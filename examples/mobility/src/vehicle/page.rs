//! `vehicle.html`: one page that needs nothing else.

use super::{Record, Run, SITES, Summary, steps};
use crate::page::{filled, round};
use serde_json::{Value, json};

/// Style, script and the place for the data.
const TEMPLATE: &str = include_str!("page.html");

/// The page of a drive.
pub fn render(record: &Record, summary: &Summary) -> String {
    let sites = SITES.map(|(name, x, y)| json!({"name": name, "x": x, "y": y}));
    let track = record.drive.fixes.iter();
    let track = track.map(|fix| json!([fix.at_s, round(fix.point.x_m), round(fix.point.y_m)]));
    let changes = record.drive.changes().into_iter();
    let data = json!({
        "summary": summary,
        "sites": sites,
        "track": track.collect::<Vec<_>>(),
        "changes": changes.map(|(at_s, site)| json!([at_s, site])).collect::<Vec<_>>(),
        "runs": record.runs.iter().map(|run| one(run, record)).collect::<Vec<_>>(),
    });
    filled(TEMPLATE, &data)
}

/// One run; times are seconds since the bus left.
fn one(run: &Run, record: &Record) -> Value {
    let at_s = |unix_ms: f64| round((unix_ms - record.left_ms) / 1000.0);
    let steps = steps(run, record);
    let ticks = run.ticks.iter().map(|tick| {
        json!({"at": at_s(tick.at_ms), "site": tick.site, "go": tick.go, "reason": tick.reason,
            "fallback": tick.fallback, "next": tick.prediction["next"]})
    });
    let moves = run.moves.iter().map(|moved| {
        json!({"at": at_s(moved.at_ms), "end": at_s(moved.ended_ms), "from": moved.from,
            "to": moved.to, "reason": moved.reason})
    });
    json!({
        "name": run.name,
        "latency": steps.iter().map(|step| step.latency_ms.map(round)).collect::<Vec<_>>(),
        "site": steps.iter().map(|step| &step.site).collect::<Vec<_>>(),
        "ticks": ticks.collect::<Vec<_>>(),
        "moves": moves.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::summary::tests::record, *};
    use crate::page::tests::check;

    #[test]
    fn the_template_has_one_place_for_data_and_loads_nothing() {
        check(TEMPLATE);
        let record = record();
        let page = render(&record, &Summary::of(&record));
        assert!(page.contains("\"name\":\"station\""));
    }
}

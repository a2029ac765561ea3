//! What a policy forecast, and what was measured afterwards.

use learning::{
    Prediction, Reason,
    agent::{Foretold, Load, NextSite},
};
use serde::Deserialize;
use serde_json::Value;

/// Lines of a curve.
const HEIGHT: usize = 8;
/// Reasons that are told.
const REASONS_MAX: usize = 3;
/// Points that are drawn; a decision has fewer.
const POINTS_MAX: usize = 120;

/// What was measured: `observed.after` of its status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct After {
    truth: Vec<Truth>,
    latency_ms: Vec<Option<f64>>,
    step_s: u64,
    decided_at: usize,
    /// When somebody else moved the service within the time that was forecast, in seconds.
    moved_on_s: Option<u64>,
    /// Where who is followed was then.
    #[serde(default)]
    next: Option<Then>,
}

#[derive(Debug, Deserialize)]
struct Then {
    site: String,
    right: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Truth {
    site: String,
    value: Option<f64>,
    broken_share: f64,
    within: Option<bool>,
}

/// What was given, without what is told elsewhere or only for machines.
pub(super) fn plain(inputs: &Value) -> Value {
    let mut inputs = inputs.clone();
    if let Some(object) = inputs.as_object_mut() {
        object.remove("reasons");
        if object.contains_key("trigger") {
            object.remove("service");
        }
        for (_, value) in object.iter_mut() {
            // Objects within a line are told apart by parentheses.
            if let Value::Object(inner) = value {
                let each = inner.iter().map(|(name, value)| format!("{name} {}", short(value)));
                *value = Value::String(format!("({})", each.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    inputs
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "not measured".to_owned(),
        Value::Number(number) => number.as_f64().map_or_else(String::new, figure),
        Value::Object(object) => {
            let each = object.iter().map(|(name, value)| format!("{name} {}", short(value)));
            each.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn figure(value: f64) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn unit(load: Load) -> &'static str {
    match load {
        Load::Broken => "share of broken time",
        Load::Latency => "ms",
        Load::Cpu => "processors",
        Load::Requests => "requests each second",
    }
}

/// What was forecast, in a line; nothing if it is no policy's forecast.
pub(super) fn expected(prediction: &Value) -> Option<String> {
    let forecast = Foretold::deserialize(prediction).ok()?;
    let one = |site: &str, said: Option<Prediction>| match said {
        Some(Prediction { value, low, high }) => {
            format!("{} ({} to {}) at {site}", figure(value), figure(low), figure(high))
        }
        None => format!("not known at {site}"),
    };
    let mut places = vec![one(&forecast.at, forecast.here)];
    places.extend(forecast.to.as_deref().map(|site| one(site, forecast.there)));
    let Foretold { from_s, to_s, .. } = forecast;
    let next = forecast.next.as_ref().map(followed).unwrap_or_default();
    let unit = unit(forecast.figure);
    Some(format!("{next}from {from_s} s to {to_s} s, {unit}: {}", places.join(", ")))
}

/// Where who is followed was said to go.
fn followed(next: &NextSite) -> String {
    let NextSite { site, share, passages, ahead_s, nearest, left_out, unlearned } = next;
    let share = share * 100.0;
    let left_out = match left_out.count() {
        0 => String::new(),
        count => format!(", {count} positions left out"),
    };
    let unlearned = unlearned.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
    format!(
        "nearest in {ahead_s} s `{site}` with {share:.0} % of {passages} passages, now `{nearest}`{left_out}{unlearned}; "
    )
}

/// Where who is followed went.
fn went(forecast: &Foretold, then: Option<&Then>) -> Option<String> {
    let NextSite { ahead_s, .. } = forecast.next.as_ref()?;
    Some(match then {
        Some(Then { site, right: true }) => {
            format!("nearest after {ahead_s} s was `{site}`, as was said")
        }
        Some(Then { site, right: false }) => {
            format!("nearest after {ahead_s} s was `{site}`, not as was said")
        }
        None => {
            format!("what was nearest after {ahead_s} s is not known: no position was told then")
        }
    })
}

/// What said most of the forecast.
pub(super) fn reasons(inputs: &Value) -> Vec<String> {
    let reasons = inputs.get("reasons").cloned().unwrap_or_default();
    let reasons: Vec<Reason> = serde_json::from_value(reasons).unwrap_or_default();
    let tell = |reason: &Reason| {
        let Reason { name, value, baseline, adds } = reason;
        format!("{name} {} (usual {}) adds {}", figure(*value), figure(*baseline), figure(*adds))
    };
    reasons.iter().take(REASONS_MAX).map(tell).collect()
}

/// What actuators did about it, a line each.
pub(super) fn deeds(observed: &Value) -> Vec<String> {
    let one = |deed: &Value| {
        let text = |name: &str| deed.get(name).and_then(Value::as_str).unwrap_or_default();
        let line = format!("{} {}: {}", text("actuator"), text("to"), text("outcome"));
        let said = deed.pointer("/detail/said").filter(|said| !said.is_null());
        match (text("error"), said) {
            ("", None) => line,
            ("", Some(said)) => format!("{line}, and said {said}"),
            (why, _) => format!("{line}: {why}"),
        }
    };
    let deeds = observed.get("deeds").and_then(Value::as_array);
    deeds.into_iter().flatten().map(one).collect()
}

/// What was measured afterwards, and a curve of the latency; nothing while it is not known.
pub(super) fn told(prediction: &Value, observed: &Value) -> Vec<String> {
    let after = observed.get("after").map(After::deserialize);
    let (Ok(forecast), Some(Ok(after))) = (Foretold::deserialize(prediction), after) else {
        return Vec::new();
    };
    let one = |truth: &Truth| {
        let value = truth.value.map_or_else(|| "not known".to_owned(), figure);
        let within = match truth.within {
            Some(true) => ", within the interval",
            Some(false) => ", outside the interval",
            None => "",
        };
        let broken = truth.broken_share * 100.0;
        let (site, unit) = (&truth.site, unit(forecast.figure));
        format!("{unit} {value} at {site}{within}; the level was broken for {broken:.0} %")
    };
    let mut lines: Vec<String> = after.truth.iter().map(one).collect();
    if lines.is_empty() {
        lines.push("nothing was measured in that time".to_owned());
    }
    if let Some(seconds) = after.moved_on_s {
        lines.push(format!(
            "somebody else moved the service after {seconds} s: the forecast is not judged"
        ));
    }
    lines.extend(went(&forecast, after.next.as_ref()));
    lines.extend(curve(&forecast, &after));
    lines
}

/// Latency upwards, time to the right: `•` measured, `┄` the level, `│` the decision, `░` what was
/// forecast for where it was.
fn curve(forecast: &Foretold, after: &After) -> Vec<String> {
    let points = &after.latency_ms[..after.latency_ms.len().min(POINTS_MAX)];
    let highest = points.iter().flatten().copied().filter(|value| value.is_finite());
    let top = highest.fold(forecast.sla_ms, f64::max) * 1.05;
    if points.iter().flatten().count() < 2 || !(top.is_finite() && top > 0.0) {
        return Vec::new();
    }
    let row = |value: f64| ((value / top).clamp(0.0, 1.0) * (HEIGHT - 1) as f64).round() as usize;
    let band = forecast.here.filter(|_| forecast.figure == Load::Latency);
    let begins = after.decided_at + (forecast.from_s / after.step_s.max(1)) as usize;
    let mark = |line: usize, at: usize| {
        let measured = points[at].is_some_and(|value| row(value) == line);
        let forecast_here = at >= begins
            && band.is_some_and(|said| (row(said.low)..=row(said.high)).contains(&line));
        if measured {
            '•'
        } else if at == after.decided_at {
            '│'
        } else if forecast_here {
            '░'
        } else if row(forecast.sla_ms) == line {
            '┄'
        } else {
            ' '
        }
    };
    let lines = (0..HEIGHT).rev().map(|line| {
        let label = match line {
            _ if line == row(forecast.sla_ms) => format!("{} ms", figure(forecast.sla_ms)),
            _ if line == HEIGHT - 1 => format!("{} ms", figure(top)),
            _ => String::new(),
        };
        let marks: String = (0..points.len()).map(|at| mark(line, at)).collect();
        format!("{label:>9} {}", marks.trim_end())
    });
    let seconds = after.step_s * points.len() as u64;
    let last = format!("{:>9} {seconds} s; │ the decision, ┄ the level", "");
    lines.chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prediction(figure: &str) -> Value {
        json!({"figure": figure, "slaMs": 100.0, "fromS": 5, "toS": 20, "at": "edge",
            "here": {"value": 150.0, "low": 120.0, "high": 180.0}, "to": "cloud",
            "there": {"value": 60.0, "low": 50.0, "high": 70.0}})
    }

    #[test]
    fn a_forecast_and_its_truth_are_told_and_drawn() {
        let observed = json!({"after": {
            "truth": [{"site": "edge", "value": 160.5, "brokenShare": 0.75, "within": true, "latencyMs": 140.0}],
            "latencyMs": [60.0, 150.0, 150.0, null, 60.0, 60.0], "stepS": 5, "decidedAt": 3}});
        let mut disturbed = observed.clone();
        disturbed["after"]["movedOnS"] = 7.into();

        let expected = expected(&prediction("latency")).unwrap();
        let lines = told(&prediction("latency"), &observed);

        assert_eq!(
            expected,
            "from 5 s to 20 s, ms: 150 (120 to 180) at edge, 60 (50 to 70) at cloud"
        );
        assert_eq!(lines[0], "ms 160 at edge, within the interval; the level was broken for 75 %");
        assert_eq!(lines.len(), 1 + HEIGHT + 1);
        assert!(told(&prediction("latency"), &disturbed)[1].contains("somebody else"));
        let drawn = lines[1..].join("\n");
        assert_eq!(drawn.matches('•').count(), 5, "{drawn}");
        assert!(drawn.contains("100 ms") && drawn.contains('┄') && drawn.contains('░'), "{drawn}");
    }

    #[test]
    fn where_a_vehicle_was_said_to_go_and_went_is_told() {
        let mut said = prediction("latency");
        said["next"] = json!({"site": "cloud", "share": 0.875, "passages": 40, "aheadS": 6.0,
            "nearest": "edge", "leftOut": {"jumps": 2}});
        let after = |next: Value| {
            json!({"after": {"truth": [], "latencyMs": [], "stepS": 5,
            "decidedAt": 0, "next": next}})
        };

        let expected = expected(&said).unwrap();
        let right = told(&said, &after(json!({"site": "cloud", "right": true})));
        let unknown = told(&said, &after(Value::Null));

        let start = "nearest in 6 s `cloud` with 88 % of 40 passages, now `edge`, 2 positions left out; from 5 s";
        assert!(expected.starts_with(start), "{expected}");
        assert_eq!(right[1], "nearest after 6 s was `cloud`, as was said");
        assert!(unknown[1].contains("is not known"), "{unknown:?}");
    }

    #[test]
    fn what_actuators_did_is_told() {
        let observed = json!({"deeds": [
            {"actuator": "python", "to": "act", "outcome": "done", "detail": {"tries": 1, "said": "heard"}},
            {"actuator": "webhook", "to": "https://a.example", "outcome": "failed", "error": "no answer"},
            7,
        ]});

        let lines = deeds(&observed);

        assert_eq!(lines[0], "python act: done, and said \"heard\"");
        assert_eq!(lines[1], "webhook https://a.example: failed: no answer");
        assert!(deeds(&json!({"phases": []})).is_empty());
    }

    #[test]
    fn what_is_not_known_or_not_ours_is_left_out() {
        assert_eq!(expected(&json!({"stopUs": 4000})), None);
        assert!(told(&prediction("broken"), &json!({"phases": []})).is_empty());
        for odd in [
            json!(3),
            json!({"truth": []}),
            json!({"truth": [], "latencyMs": [], "stepS": 0, "decidedAt": 9}),
        ] {
            assert!(told(&prediction("broken"), &json!({"after": odd})).len() <= 1);
        }
        let inputs = json!({"trigger": "5m passed", "service": "uid", "measured": {"edge": {"latencyMs": 61.25}, "cloud": null}});
        let plain = plain(&inputs);
        assert_eq!(plain["measured"], "(cloud not measured, edge latencyMs 61.25)");
        assert_eq!(plain.get("service"), None);
    }
}

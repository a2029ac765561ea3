//! `cloudskin query`: what was measured.

use crate::{
    output::{FormatArgs, Style},
    session::Session,
    table::Table,
};
use clap::Args;
use serde_json::Value;
use std::{
    fmt::Write,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};
use types::Period;

/// How many places a line of a curve has.
const CURVE_WIDTH: usize = 40;

/// The marks of a curve, from low to high.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Query what the control plane and its sites measure, in PromQL
///
/// Without `--range` the value of each series now; with it the values over that time, as a curve.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin query up
  cloudskin query 'sum by (site) (rate(cloudskin_ingress_requests_total[5m]))'
  cloudskin query --range 1h --step 30s 'histogram_quantile(0.95, sum by (le, service) (rate(cloudskin_ingress_request_seconds_bucket[5m])))'
  cloudskin query -o json 'cloudskin_site_services'")]
pub(crate) struct Query {
    /// The query
    #[arg(value_name = "PROMQL")]
    query: String,
    /// How far back, up to now
    #[arg(long, value_name = "PERIOD")]
    range: Option<Period>,
    /// Between two values [default: a hundredth of the range, at least 1s]
    #[arg(long, value_name = "PERIOD", requires = "range")]
    step: Option<Period>,
    /// When, in seconds since the Unix epoch or as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "range")]
    time: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Query, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let data = match args.range {
        Some(range) => {
            let now =
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let range_s = range.0.as_secs_f64();
            let step_s = args.step.map_or((range_s / 100.0).max(1.0), |step| step.0.as_secs_f64());
            let form = [
                ("query", args.query),
                ("start", (now - range_s).to_string()),
                ("end", now.to_string()),
                ("step", step_s.to_string()),
            ];
            client.query("query_range", encoded(&form)).await?
        }
        None => {
            let time = args.time.map(|time| ("time", time));
            let form: Vec<_> = [("query", args.query)].into_iter().chain(time).collect();
            client.query("query", encoded(&form)).await?
        }
    };
    args.format.print(&data, &text(&data))?;
    Ok(ExitCode::SUCCESS)
}

/// A form's body.
fn encoded(form: &[(&str, String)]) -> String {
    let mut body = String::new();
    for (name, value) in form {
        let separator = if body.is_empty() { "" } else { "&" };
        // Writing to a String cannot fail.
        let _ = write!(body, "{separator}{name}=");
        for byte in value.bytes() {
            let _ = match byte.is_ascii_alphanumeric() {
                true => write!(body, "{}", char::from(byte)),
                false => write!(body, "%{byte:02X}"),
            };
        }
    }
    body
}

fn text(data: &Value) -> String {
    let result = &data["result"];
    let rows = result.as_array().map_or(&[][..], Vec::as_slice);
    match data["resultType"].as_str() {
        Some("vector" | "matrix") if rows.is_empty() => "nothing\n".to_owned(),
        Some("vector") => {
            let mut table = Table::new(&["SERIES", "VALUE"]);
            for one in rows {
                table.row(vec![name(&one["metric"]), plain(&one["value"][1])]);
            }
            table.render(Style::for_stdout())
        }
        Some("matrix") => curves(rows),
        _ => format!("{}\n", plain(&result[1])),
    }
}

fn curves(rows: &[Value]) -> String {
    let mut table = Table::new(&["SERIES", "CURVE", "LEAST", "MOST", "LAST"]);
    for one in rows {
        let points = one["values"].as_array().map_or(&[][..], Vec::as_slice);
        let values: Vec<f64> =
            points.iter().filter_map(|point| plain(&point[1]).parse().ok()).collect();
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let most = finite().fold(f64::NEG_INFINITY, f64::max);
        let last = points.last().map_or_else(String::new, |point| plain(&point[1]));
        let curve = curve(&values, least, most);
        table.row(vec![name(&one["metric"]), curve, short(least), short(most), last]);
    }
    table.render(Style::for_stdout())
}

/// Values as marks; many share one, of which the mean is shown.
fn curve(values: &[f64], least: f64, most: f64) -> String {
    let places = values.len().min(CURVE_WIDTH);
    let mark = |place: usize| {
        let part = &values[place * values.len() / places..(place + 1) * values.len() / places];
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        if !mean.is_finite() {
            return ' ';
        }
        let height = if most > least { (mean - least) / (most - least) } else { 0.0 };
        MARKS[((height * 8.0) as usize).min(MARKS.len() - 1)]
    };
    (0..places).map(mark).collect()
}

fn short(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        String::new()
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A series as PromQL writes it.
fn name(metric: &Value) -> String {
    let empty = serde_json::Map::new();
    let labels = metric.as_object().unwrap_or(&empty);
    let metric = labels.get("__name__").map(plain).unwrap_or_default();
    let rest: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={:?}", plain(value)))
        .collect();
    match rest.is_empty() && !metric.is_empty() {
        true => metric,
        false => format!("{metric}{{{}}}", rest.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_tables_and_curves() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "site": "edge"}, "value": [1, "1"]}]});
        let values: Vec<_> = (0..80).map(|n| json!([n, n.to_string()])).collect();
        let matrix = json!({"resultType": "matrix", "result": [{"metric": {}, "values": values}]});

        assert!(text(&vector).contains("up{site=\"edge\"}   1\n"), "{}", text(&vector));
        let curve = text(&matrix);
        assert!(curve.contains("{}       ▁▁▁▁▁▂"), "{curve}");
        assert!(curve.trim_end().ends_with("0       79     79"), "{curve}");
        assert_eq!(text(&json!({"resultType": "scalar", "result": [1, "2.5"]})), "2.5\n");
        assert_eq!(text(&json!({"resultType": "vector", "result": []})), "nothing\n");
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(encoded(&[("query", "a+b".into()), ("time", "1".into())]), "query=a%2Bb&time=1");
    }
}

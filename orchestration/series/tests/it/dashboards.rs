//! What the dashboards ask for can be asked.

use serde_json::Value;
use series::query::Query;
use std::{fs, path::Path};

/// What Grafana puts in for its variables.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "1m"), ("$site", ".*"), ("$tenant", ".*"), ("$service", ".*")];

/// Where our own metrics are named.
const SOURCES: [&str; 3] = [
    "orchestration/orchestrator/src/control/metrics.rs",
    "orchestration/orchestrator/src/site/metrics.rs",
    "base/telemetry/src/process.rs",
];

#[test]
fn every_expression_of_the_dashboards_is_supported_and_asks_for_what_is_measured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources: String = SOURCES.map(|file| fs::read_to_string(root.join(file)).unwrap()).concat();
    let mut count = 0;
    for entry in fs::read_dir(root.join("deploy/grafana")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let mut text = target["expr"].as_str().unwrap().to_owned();
                for (variable, value) in VARIABLES {
                    text = text.replace(variable, value);
                }
                let query =
                    Query::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {text}: {error}"));
                for metric in names(&query.to_string()) {
                    assert!(sources.contains(&metric), "{path:?}: nobody measures `{metric}`");
                }
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}

/// The metrics of ours that are named, without the endings that their kinds add.
fn names(query: &str) -> Vec<String> {
    let words = query.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
    let ours = words.filter(|word| word.starts_with("cloudskin_") || word.starts_with("process_"));
    ours.map(|word| {
        let endings = ["_total", "_bucket", "_sum", "_count", "_seconds", "_bytes"];
        endings
            .iter()
            .fold(word.to_owned(), |word, end| word.strip_suffix(end).unwrap_or(&word).to_owned())
    })
    .collect()
}

//! What `cloudskin twin` prints.

use crate::{output::Style, table::Table};
use learning::{
    replay::Interval,
    twin::{Fit, FleetReport, Likeness, Outcome, Results, Trial},
};
use serde::Serialize;
use std::time::Duration;

pub(super) fn likeness(found: &[Likeness], seeds: u32, style: Style) -> String {
    let mut table =
        Table::new(&["FIGURE", "TRACE", "TWIN", "LEAST", "MOST", "MAY DIFFER BY", "MET"]);
    for Likeness { trace, twin, range, met } in found {
        let figure =
            |value: f64| if value < 10.0 { format!("{value:.4}") } else { format!("{value:.1}") };
        table.row(vec![
            trace.name.to_owned(),
            figure(trace.value),
            figure(*twin),
            figure(range.0),
            figure(range.1),
            figure(trace.tolerance),
            if *met { "yes" } else { "no" }.to_owned(),
        ]);
    }
    format!("the twin: mean, least and most of {seeds} seeds\n\n{}", table.render(style))
}

fn interval(of: Interval, digits: usize) -> String {
    let Interval { value, low, high } = of;
    format!("{value:.digits$} ({low:.digits$}–{high:.digits$})")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub(super) fn standings(results: &Results, style: Style) -> String {
    let mut broken = Table::new(&[
        "POLICY",
        "BROKEN, S A DAY",
        "BY BETTER REACTIVE",
        "F1",
        "PRECISION",
        "RECALL",
        "MOVES A DAY",
    ]);
    let mut cost = Table::new(&[
        "POLICY",
        "EUR A DAY",
        "BY REACTIVE",
        "BY CLOUD-ONLY",
        "CLOUD, S A DAY",
        "BY CLOUD-ONLY",
        "GB TO CLOUD",
        "BY CLOUD-ONLY",
    ]);
    for row in &results.standings {
        broken.row(vec![
            row.policy.to_owned(),
            interval(row.sla_broken_s, 0),
            interval(row.broken_by_reactive, 2),
            interval(row.f1, 2),
            format!("{:.2}", row.precision),
            format!("{:.2}", row.recall),
            format!("{:.1}", row.migrations),
        ]);
        cost.row(vec![
            row.policy.to_owned(),
            interval(row.cost_per_day_eur, 2),
            interval(row.cost_by_reactive, 2),
            interval(row.cost_by_cloud, 2),
            format!("{:.0}", row.cloud_s),
            interval(row.cloud_by_cloud, 2),
            format!("{:.1}", row.bytes_to_cloud / 1e9),
            interval(row.bytes_by_cloud, 2),
        ]);
    }
    let Results { sla_ms, seeds, .. } = results;
    let mut text = format!("{seeds} days that no policy has seen, service level {sla_ms} ms\n\n");
    text.push_str(&format!("{}\n{}", broken.render(style), cost.render(style)));
    for row in results.standings.iter().filter(|row| !row.tuned.is_empty()) {
        text.push_str(&format!("\n{}: {}", row.policy, row.tuned));
    }
    text.push('\n');
    text
}

pub(super) fn fit(fit: &Fit, style: Style) -> String {
    let mut table = Table::new(&[
        "",
        "HORIZON",
        "BROKEN SECOND, EUR",
        "MARGIN, EUR/H",
        "COOL-DOWN",
        "ALARM",
        "BROKEN, S A DAY",
        "EUR A DAY",
        "CLOUD",
        "F1",
    ]);
    let mut row = |name: &str, trial: &Trial, outcome: &Outcome| {
        table.row(vec![
            name.to_owned(),
            format!("{} s", trial.horizon_s),
            trial.scales.broken_eur.to_string(),
            trial.scales.margin_eur_hour.to_string(),
            format!("{} s", trial.scales.cool_down_s),
            trial.alarm_at.to_string(),
            format!("{:.0}", outcome.sla_broken_s * 86_400.0 / outcome.seconds),
            format!("{:.2}", outcome.cost_per_day_eur()),
            percent(outcome.cloud_s / outcome.seconds),
            format!("{:.2}", outcome.f1()),
        ]);
    };
    fit.tried.iter().for_each(|trial| row("tried", trial, &trial.outcome));
    row("chosen", &fit.chosen, &fit.chosen.outcome);
    row("in other days", &fit.chosen, &fit.played);
    table.render(style)
}

/// A run of many sites, and what it took.
#[derive(Debug, Serialize)]
pub(super) struct FleetRun {
    #[serde(flatten)]
    found: FleetReport,
    seconds: f64,
    site_days_per_second: f64,
    /// The most memory that the process ever had; nothing where the system does not say.
    memory_bytes: Option<u64>,
}

impl FleetRun {
    pub(super) fn new(found: FleetReport, took: Duration, step_s: u32) -> Self {
        let seconds = took.as_secs_f64();
        let days = found.site_steps as f64 * f64::from(step_s) / 86_400.0;
        Self { found, seconds, site_days_per_second: days / seconds, memory_bytes: memory_bytes() }
    }
}

fn memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

pub(super) fn fleet(run: &FleetRun, style: Style) -> String {
    let FleetRun { found, seconds, site_days_per_second, memory_bytes } = run;
    let mut table = Table::new(&["FIGURE", "VALUE"]);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("sites", found.sites.to_string());
    row("services", found.services.to_string());
    row("level broken", percent(found.broken_share));
    row("euro a day for a service", format!("{:.2}", found.cost_per_day_eur));
    row("moves of a service in a day", format!("{:.1}", found.migrations_per_day));
    row("time in the cloud", percent(found.cloud_share));
    row("seconds that it took", format!("{seconds:.1}"));
    row("site-days in a second", format!("{site_days_per_second:.1}"));
    if let Some(bytes) = memory_bytes {
        row("memory, MiB", format!("{}", bytes >> 20));
    }
    row("digest", found.digest.clone());
    table.render(style)
}

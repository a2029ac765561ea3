//! The summary, for people.

use super::{Figures, Summary, setup::RUNS};
use crate::lines;

/// All runs beside each other.
pub fn table(summary: &Summary) -> String {
    let runs = RUNS.map(|name| summary.runs.get(name).cloned().unwrap_or_default());
    let mut text = format!("  {:<44}", "");
    RUNS.iter().for_each(|name| text += &format!("{name:>12}"));
    text += "\n";
    let mut row = |name: &str, of: &dyn Fn(&Figures) -> String| {
        text += &format!("  {name:<44}");
        runs.iter().for_each(|run| text += &format!("{:>12}", of(run)));
        text += "\n";
    };
    row("latency, median ms", &|of| format!("{:.0}", of.latency_p50_ms));
    row("latency, 95 % of frames below, ms", &|of| format!("{:.0}", of.latency_p95_ms));
    row("level broken, s", &|of| format!("{:.1}", of.sla_broken_s));
    row("level kept, %", &|of| format!("{:.1}", of.sla_ok_pct));
    row("moves", &|of| of.migrations.to_string());
    row("longest stop in a move, ms", &|of| format!("{:.1}", of.stop_ms_max));
    row("frames sent", &|of| of.frames_sent.to_string());
    row("frames answered", &|of| of.frames_answered.to_string());
    row("at a site before the bus", &|of| format!("{} of {}", of.before_arrival, summary.changes));
    row("said where it will be, rightly", &|of| share(of.foresight.right, of.foresight.said));
    row("  had staying been said", &|of| share(of.foresight.stayed_right, of.foresight.said));
    row("  just before a change", &|of| {
        share(of.foresight.changes_right, of.foresight.before_changes)
    });
    text + &accuracy(summary) + "\n" + &lines(&summary.emulated, &summary.promises)
}

fn share(right: usize, all: usize) -> String {
    if all == 0 { "-".to_owned() } else { format!("{:.0} %", 100.0 * right as f64 / all as f64) }
}

/// How well it is told on drives that were not seen.
fn accuracy(summary: &Summary) -> String {
    let mut text =
        "\n  nearest site, on drives that were not seen     learned    straight     staying\n"
            .to_owned();
    let percent = |share: f64| format!("{:>10.0} %", 100.0 * share);
    for (ahead_s, found) in &summary.accuracy {
        let all = [found.told, found.straight, found.stayed].map(percent);
        let changes = [found.changes_told, found.changes_straight, 0.0].map(percent);
        text += &format!("  {:<40}{}\n", format!("{ahead_s} s ahead"), all.concat());
        text += &format!("  {:<40}{}\n", "  before a change", changes.concat());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::summary::tests::record, *};

    #[test]
    fn the_table_has_all_runs_and_names_what_is_emulated() {
        let text = table(&Summary::of(&record()));

        println!("{text}");
        for part in ["stay      follow       ahead", "before a change", "emulated: ", "met  "] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("NaN"), "{text}");
    }
}

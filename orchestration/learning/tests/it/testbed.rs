//! The testbed's hours, where they are: the last 30 % played by what was learned before.

use learning::{
    Trace,
    replay::{Comparison, Level, Rule, Setup, replay},
    twin::{Parameters, calibrate, likeness},
};
use std::path::PathBuf;

/// Data beside the project, which is never part of it.
fn traces() -> Option<PathBuf> {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = project.join("../shared/data/mobility/cellnex-dlstreamer");
    if !folder.is_dir() {
        eprintln!("skipped: no shared data");
        return None;
    }
    Some(folder)
}

fn compared(trace: &Trace, rules: &[Rule]) -> Vec<Comparison> {
    let (learn, play) = trace.split(0.7);
    let levels = [100.0, 120.0, 130.0, 140.0, 150.0].map(Level::of);
    let setup = Setup { rounds: 50, ..Setup::default() };
    levels.map(|level| replay(&learn, &play, level, rules, &setup).expect("it fits")).to_vec()
}

#[test]
fn the_proactive_rule_breaks_the_level_for_less_time_than_the_reactive_one() {
    let Some(folder) = traces() else { return };
    let trace = Trace::read(&folder).expect("it is readable");
    // 22 hours of 5 s, whose files overlap by a sample.
    assert_eq!((trace.sites.len(), trace.step_s, trace.len()), (2, 5, 15_841));

    let found = compared(&trace, &[Rule::Proactive, Rule::Oracle]);

    let of = |comparison: &Comparison, name: &str| {
        let row = comparison.rows.iter().find(|row| row.policy == name).expect("it was asked for");
        (row.by_reactive.value, row.figures.migrations_per_hour)
    };
    let mut sum = 0.0;
    for comparison in &found {
        let (ratio, moves) = of(comparison, "proactive");
        assert!(ratio <= 1.05 && moves <= 4.0, "{} ms: {ratio} {moves}", comparison.sla_ms);
        assert!(ratio >= of(comparison, "oracle").0);
        let held = comparison.interval_80_holds.expect("forecasts were made");
        assert!((0.75..=0.85).contains(&held), "{held}");
        sum += ratio;
    }
    assert!(sum / found.len() as f64 <= 0.85, "{}", sum / found.len() as f64);
}

/// What was measured later changes nothing that was said before.
#[test]
fn the_future_changes_no_forecast() {
    let Some(folder) = traces() else { return };
    let trace = Trace::read(&folder).expect("it is readable");
    let mut other = trace.clone();
    let changed = trace.len() * 7 / 10 + 1000;
    for site in &mut other.sites {
        site.samples[changed..].reverse();
    }
    let level = Level::of(100.0);
    let setup = Setup { rounds: 0, ..Setup::default() };
    let until = |trace: &Trace| {
        let (learn, mut play) = trace.split(0.7);
        // "Needed" looks ten minutes ahead; all that is compared lies before the change.
        play.span.end = changed - 130;
        let found = replay(&learn, &play, level, &[Rule::Proactive], &setup).expect("it fits");
        found.rows
    };

    assert_eq!(until(&trace), until(&other));
}

/// The parameters that are part of the program are what these hours give.
#[test]
fn the_twin_of_the_testbed_is_like_it() {
    let Some(folder) = traces() else { return };
    let trace = Trace::read(&folder).expect("it is readable");

    let parameters = calibrate(&trace).expect("processors in use were measured");

    assert_eq!(parameters, Parameters::default());
    for each in likeness(&trace, &parameters, 10) {
        assert!(each.met, "{each:?}");
    }
}

//! The proactive rule over a grid of settings, by its broken time as a share of the reactive
//! rule's on the training part and on the rest: how its defaults were chosen.
//!
//! `cargo run --release -p learning --example grid -- ../shared/data/mobility/cellnex-dlstreamer`

#![allow(clippy::print_stdout)]

use learning::{
    Result, Stretch, Trace,
    forecast::Training,
    replay::{Level, Rule, Setup, replay},
};
use std::path::Path;

const LEVELS_MS: [f64; 5] = [100.0, 120.0, 130.0, 140.0, 150.0];
/// Parts of the training hours, each played with what was learned before it.
const WALK: [f64; 3] = [0.35, 0.5, 0.6];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("say where the traces are")?;
    let trace = Trace::read(Path::new(&folder))?;
    println!("penalty  softness  margin   worst in training  mean   worst in the rest  mean");
    for penalty in [100.0, 300.0, 1000.0] {
        for softness_ms in [5.0, 10.0, 20.0] {
            for margin in [0.0, 0.003, 0.006] {
                let training = Training { penalty, softness_ms, ..Training::default() };
                let setup = Setup { training, margin, rounds: 0, ..Setup::default() };
                let walked = walk(&trace, &setup)?;
                let (learn, rest) = trace.split(0.7);
                let (worst, mean) = by_reactive(&[(learn, rest)], &setup)?;
                println!(
                    "{penalty:7}  {softness_ms:8}  {margin:6}   {:17.3}  {:.3}   {worst:16.3}  {mean:.3}",
                    walked.0, walked.1
                );
            }
        }
    }
    Ok(())
}

fn walk(trace: &Trace, setup: &Setup) -> Result<(f64, f64)> {
    let at = |share: f64| (trace.len() as f64 * share) as usize;
    let parts: Vec<_> = WALK
        .into_iter()
        .zip([0.5, 0.6, 0.7])
        .map(|(from, to)| {
            let part = |span| Stretch { trace, span };
            (part(0..at(from)), part(at(from)..at(to)))
        })
        .collect();
    by_reactive(&parts, setup)
}

/// The highest and the mean ratio of all levels.
fn by_reactive(parts: &[(Stretch, Stretch)], setup: &Setup) -> Result<(f64, f64)> {
    let mut ratios = Vec::new();
    for level_ms in LEVELS_MS {
        let (mut ours, mut reactive) = (0.0, 0.0);
        for (learn, play) in parts {
            let found = replay(learn, play, Level::of(level_ms), &[Rule::Proactive], setup)?;
            for row in found.rows {
                let broken = row.figures.sla_broken_s;
                *(if row.policy == "reactive" { &mut reactive } else { &mut ours }) += broken;
            }
        }
        ratios.push(ours / reactive);
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    Ok((ratios.into_iter().fold(0.0, f64::max), mean))
}

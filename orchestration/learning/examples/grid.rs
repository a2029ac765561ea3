//! The proactive rule over a grid of settings, on the training part and on the rest: how its
//! defaults were chosen. `cargo run --release -p learning --example grid -- TRACES`

use learning::{
    Trace,
    forecast::Training,
    replay::{Level, Rule, Setup, replay},
};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("say where the traces are")?;
    let trace = Trace::read(Path::new(&folder))?;
    let learn = 0..trace.len() * 7 / 10;
    let rest = learn.end..trace.len();
    let rules = [Rule::Reference];
    for penalty in [300.0] {
        for softness_ms in [10.0] {
            let training = Training { penalty, softness_ms, ..Training::default() };
            let setup = Setup { training, rounds: 100, ..Setup::default() };
            for sla in [100.0] {
                let found = replay(&trace, learn.clone(), rest.clone(), Level::of(sla), &rules, &setup)?;
                print!("{penalty} {softness_ms} {sla} cover {:?}", found.interval_80_holds);
                for row in found.rows {
                    print!("  {} {:.0} ({:.2}) {:.1}/h f1 {:.2} {:.2}eur [{}]", row.policy, row.figures.sla_broken_s, row.by_reactive.value, row.figures.migrations_per_hour, row.figures.f1, row.figures.cost_per_day_eur, row.tuned);
                }
                println!();
            }
        }
    }
    Ok(())
}

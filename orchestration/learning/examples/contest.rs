//! The twin's promises with all thirty days, and ten thousand sites for a day on one core.
//!
//! `cargo run --release -p learning --example contest` (`make bench-twin`)

#![allow(clippy::print_stdout)]

use learning::{
    Result,
    replay::Interval,
    twin::{Contender, Contest, EdgeOnly, Fleet, Standing, reactive_rule},
};
use std::time::Instant;

fn main() -> Result<()> {
    let contest = Contest::default();
    compared(&contest)?;
    for (name, policy) in [
        ("edge-only", &EdgeOnly as &dyn learning::policy::Policy),
        ("reactive", &reactive_rule(&contest.rules)),
    ] {
        fleet(&contest, name, policy)?;
    }
    Ok(())
}

fn compared(contest: &Contest) -> Result<()> {
    let started = Instant::now();
    let results = contest.run(&Contender::ALL, &mut |_| ())?;
    println!("{} days, level {} ms, {:.1?}", results.seeds, results.sla_ms, started.elapsed());
    let share = |of: Interval| format!("{:.2} ({:.2}-{:.2})", of.value, of.low, of.high);
    for row in &results.standings {
        let Standing { policy, precision, recall, migrations, tuned, .. } = row;
        println!("{policy}: {tuned}");
        let (broken, eur) = (row.sla_broken_s, row.cost_per_day_eur);
        println!(
            "  broken {:.0} s a day ({:.0}-{:.0}), by the better reactive rule {}",
            broken.value,
            broken.low,
            broken.high,
            share(row.broken_by_reactive)
        );
        println!(
            "  f1 {}, precision {precision:.2}, recall {recall:.2}, {migrations:.1} moves a day",
            share(row.f1)
        );
        println!(
            "  {:.2} EUR a day ({:.2}-{:.2}), by reactive {}, by cloud-only {}",
            eur.value,
            eur.low,
            eur.high,
            share(row.cost_by_reactive),
            share(row.cost_by_cloud)
        );
        println!(
            "  cloud by cloud-only: seconds {}, bytes {}",
            share(row.cloud_by_cloud),
            share(row.bytes_by_cloud)
        );
    }
    Ok(())
}

fn fleet(contest: &Contest, name: &str, policy: &dyn learning::policy::Policy) -> Result<()> {
    let Contest { scenario, parameters, rules, .. } = contest;
    let fleet = Fleet { scenario, parameters, rules, sites: 10_000, services: 10_000, seed: 1 };
    let started = Instant::now();
    let found = fleet.run(policy, &mut |_, _| ())?;
    println!(
        "10000 sites, 10000 services for {} h, {name}: {:.1?}, broken {:.1} %, {:.1} moves a day, digest {}",
        scenario.hours,
        started.elapsed(),
        found.broken_share * 100.0,
        found.migrations_per_day,
        found.digest
    );
    Ok(())
}

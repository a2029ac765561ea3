//! How long the simulator takes for 1,000,000 jobs on 10,000 hosts, for each policy.
//!
//! `cargo run --release -p decide --example million_jobs [-- JOBS HOSTS CPUS LOAD POLICY…]`
//! prints a line for each policy with the seconds that it took, and fails beyond one minute. The
//! machine's load before and after stands beside it: a busy machine says little.

use decide::{
    plan::Policies,
    simulate::{Job, Run, Setup, Synthetic, simulate, static_vms},
};
use std::{
    error::Error,
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

/// What is promised for one policy.
const LIMIT: Duration = Duration::from_secs(60);

const POLICIES: [&str; 6] = [
    "binpack",
    "spread",
    "locality",
    "locality,compaction",
    "locality,elastic",
    "locality,compaction,elastic",
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (jobs, hosts, cpus) = (number("1000000").parse()?, number("10000"), number("32"));
    let load = number("0.9").parse()?;
    let named: Vec<String> = arguments.collect();
    let setup = Setup::parse(&format!("{hosts}x{cpus}"), 4)?;
    say(&format!("load before: {}", load_average()))?;
    let started = Instant::now();
    let cpus_all = setup.cpus_all();
    let jobs = Synthetic { jobs, seed: 7, load, cpus: setup.cpus, cpus_all }.jobs();
    say(&format!("{} jobs made up in {:.1} s", jobs.len(), started.elapsed().as_secs_f64()))?;

    let mut in_time = tell(&jobs, || static_vms(&jobs, &setup, &mut |_| ()))?;
    let all: Vec<&str> = match named.is_empty() {
        true => POLICIES.to_vec(),
        false => named.iter().map(String::as_str).collect(),
    };
    for list in all {
        let policies = Policies::parse(list)?;
        in_time &= tell(&jobs, || simulate(&jobs, &setup, policies, &mut |_| ()))?;
    }
    say(&format!("load after: {}", load_average()))?;
    Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one and says how long it took and what it found; whether that was in time.
fn tell(jobs: &[Job], simulation: impl FnOnce() -> Run) -> Result<bool, Box<dyn Error>> {
    let started = Instant::now();
    let run = simulation();
    let took = started.elapsed();
    let each_us = took.as_secs_f64() * 1e6 / (jobs.len().max(1)) as f64;
    say(&format!(
        "{:<28} {:>6.1} s, {each_us:>5.1} us a job: makespan {:.0} s, mean wait {:.0} s, fragmentation {:.3}, \
         idle {:.3e} CPU s, stranded {:.3e}, utilisation {:.3}, {} migrations, {} grants, {} waited at most, {} refused",
        run.policy,
        took.as_secs_f64(),
        run.makespan_s,
        run.wait.mean_s,
        run.fragmentation,
        run.idle_cpu_s,
        run.stranded_cpu_s,
        run.utilisation,
        run.migrations,
        run.grants,
        run.queue_max,
        run.refused,
    ))?;
    Ok(took <= LIMIT)
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let three: Vec<&str> = text.split_whitespace().take(3).collect();
    if three.is_empty() { "unknown".into() } else { three.join(" ") }
}

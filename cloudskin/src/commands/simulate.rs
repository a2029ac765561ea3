//! `cloudskin simulate`: placement policies, tried on a trace of jobs.

use crate::{
    exit::Failure,
    output::{FormatArgs, Style, complain, tame},
    table::Table,
};
use anyhow::Context;
use clap::Args;
use decide::{
    plan::{Policies, PolicyError, Quota},
    simulate::{Job, Progress, Run, Setup, Synthetic, read_trace, simulate, static_vms},
};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use types::{Bytes, Cpu, ErrorKind};

/// More than ten million lines of any use.
const TRACE_MAX_BYTES: u64 = 2 << 30;

/// Try placement policies on a trace of jobs
///
/// Simulates each policy, and beside them virtual machines of fixed sizes, one for each job.
/// Prints makespan, waits, fragmentation, idle CPU-seconds and migrations. Needs no control plane.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin simulate --trace jobs.csv --policy locality,compaction --cpus 32x16
  cloudskin simulate --trace jobs.csv --policy binpack --policy locality,elastic --sites 4 -o json
  cloudskin simulate --synthetic 1000000 --seed 7 --cpus 10000x32 --policy locality,compaction

A trace is CSV with a header. Columns: job, arrival_s, kind (mpi, openmp or single), cpus,
work_cpu_s; optional: tenant, min_cpus, max_cpus, memory_mib, serial_fraction, communication.")]
pub(crate) struct Simulate {
    /// Jobs from this file; `-` for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "synthetic")]
    trace: Option<PathBuf>,
    /// So many jobs that are made up
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "trace",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    synthetic: Option<u32>,
    /// The same seed makes up the same jobs
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "trace")]
    seed: u64,
    /// Work that the made-up jobs bring in a second, by the number of all CPUs
    #[arg(long, default_value_t = 0.8, value_name = "X", value_parser = load, conflicts_with = "trace")]
    load: f64,
    /// One of binpack, spread and locality, with compaction and elastic; again for the next list
    #[arg(long, value_name = "LIST", default_value = "locality,compaction", value_parser = policies)]
    policy: Vec<String>,
    /// Hosts and the CPUs of each
    #[arg(long, value_name = "HOSTSxCPUS", default_value = "32x16")]
    cpus: String,
    /// Sites that the hosts are divided among
    #[arg(long, value_name = "N", default_value_t = 1)]
    sites: u32,
    /// Memory of each host; 4Gi for each CPU if not given
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Jobs behind one that does not fit that may overtake it
    #[arg(long, value_name = "N", default_value_t = 0)]
    backfill: usize,
    /// The most CPUs that a tenant's jobs may have together
    #[arg(long, value_name = "TENANT=CPUS", value_parser = quota)]
    quota: Vec<(String, Cpu)>,
    /// Seconds that a virtual machine takes to start
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    vm_start: u32,
    #[command(flatten)]
    format: FormatArgs,
}

/// All that is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    jobs: usize,
    hosts: u32,
    cpus: u32,
    sites: u32,
    /// The virtual machines come first.
    runs: Vec<Run>,
}

pub(crate) fn run(args: &Simulate) -> anyhow::Result<ExitCode> {
    let setup = setup(args)?;
    let jobs = jobs(args, &setup)?;
    let mut runs = vec![static_vms(&jobs, &setup, &mut telling("static-vm"))];
    for list in &args.policy {
        let policies = Policies::parse(list)?;
        runs.push(simulate(&jobs, &setup, policies, &mut telling(list)));
    }
    let Setup { hosts, cpus, sites, .. } = setup;
    let report = Report { jobs: jobs.len(), hosts, cpus, sites, runs };
    args.format.print(&report, &text(&report, Style::for_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

fn setup(args: &Simulate) -> anyhow::Result<Setup> {
    let setup = Setup::parse(&args.cpus, args.sites)
        .map_err(|error| Failure::error(ErrorKind::Invalid, error.to_string()))?;
    let mut setup =
        Setup { memory: args.memory.unwrap_or(setup.memory), backfill: args.backfill, ..setup };
    setup.model.vm_start_us = u64::from(args.vm_start) * 1_000_000;
    for (tenant, cpu) in &args.quota {
        let quota = Quota { cpu: Some(*cpu), ..Quota::default() };
        setup.quotas.tenants.insert(tenant.clone(), quota);
    }
    Ok(setup)
}

fn jobs(args: &Simulate, setup: &Setup) -> anyhow::Result<Vec<Job>> {
    if let Some(path) = &args.trace {
        let bytes = bytes(path)?;
        return read_trace(&bytes).map_err(|error| {
            Failure::error(ErrorKind::Invalid, format!("`{}`, {error}", path.display()))
        });
    }
    let (jobs, cpus_all) = (args.synthetic.unwrap_or(0), setup.cpus_all());
    let Simulate { seed, load, .. } = *args;
    Ok(Synthetic { jobs, seed, load, cpus: setup.cpus, cpus_all }.jobs())
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let limit = TRACE_MAX_BYTES + 1;
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        match File::open(path) {
            Ok(file) => file.take(limit).read_to_end(&mut bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no file `{}`", path.display());
                return Err(Failure::error(ErrorKind::NotFound, message));
            }
            Err(error) => Err(error),
        }
    };
    read.with_context(context)?;
    if bytes.len() as u64 > TRACE_MAX_BYTES {
        let message = format!("`{}` is larger than 2 GiB", path.display());
        return Err(Failure::error(ErrorKind::Exhausted, message));
    }
    Ok(bytes)
}

/// A word on standard error every two seconds.
fn telling(policy: &str) -> impl FnMut(Progress) + use<'_> {
    let (started, mut told) = (Instant::now(), Instant::now());
    move |progress| {
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            let Progress { done, jobs } = progress;
            let seconds = started.elapsed().as_secs();
            complain(&format!("{policy}: {done} of {jobs} jobs ({seconds} s)"));
        }
    }
}

fn policies(list: &str) -> Result<String, PolicyError> {
    Policies::parse(list).map(|policies| policies.name())
}

fn load(text: &str) -> Result<f64, String> {
    let load = text.parse().ok().filter(|load| (0.001..=100.0).contains(load));
    load.ok_or_else(|| "write a number from 0.001 to 100".to_owned())
}

fn quota(text: &str) -> Result<(String, Cpu), String> {
    let (tenant, cpus) = text.split_once('=').ok_or("write TENANT=CPUS, such as `a=64`")?;
    let cpus = cpus.parse::<Cpu>().map_err(|error| error.to_string())?;
    Ok((tenant.to_owned(), cpus))
}

/// The figures, a row for each run.
fn text(report: &Report, style: Style) -> String {
    let mut table = Table::new(&[
        "POLICY",
        "MAKESPAN",
        "BY VM'S",
        "WAIT",
        "P95",
        "TURNAROUND",
        "P95",
        "USED",
        "IDLE CPU-S",
        "STRANDED",
        "FRAGMENTED",
        "MIGRATIONS",
    ]);
    let machines = report.runs.first().map_or(0.0, |run| run.makespan_s);
    for run in &report.runs {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        table.row(vec![
            run.policy.clone(),
            figure(run.makespan_s),
            if machines > 0.0 { format!("{:.2}", run.makespan_s / machines) } else { "-".into() },
            figure(run.wait.mean_s),
            figure(run.wait.p95_s),
            figure(run.turnaround.mean_s),
            figure(run.turnaround.p95_s),
            percent(run.utilisation),
            figure(run.idle_cpu_s),
            figure(run.stranded_cpu_s),
            percent(run.fragmentation),
            run.migrations.to_string(),
        ]);
    }
    let Report { jobs, hosts, cpus, sites, .. } = report;
    let mut text =
        format!("{jobs} jobs, {hosts} hosts with {cpus} CPUs, {sites} sites; times in seconds\n\n");
    text.push_str(&table.render(style));
    for run in report.runs.iter().filter(|run| run.refused > 0) {
        let first = run.first_refusal.as_deref().unwrap_or_default();
        let line =
            format!("\n{}: {} jobs were refused; the first, {first}\n", run.policy, run.refused);
        text.push_str(&tame(&line));
    }
    text
}

/// A decimal where it says something.
fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Simulate,
    }

    fn parse(line: &str) -> Result<Simulate, clap::Error> {
        Line::try_parse_from(["simulate"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
    }

    #[test]
    fn each_policy_has_a_row_beside_the_virtual_machines() {
        let args = parse("--synthetic 200 --cpus 4x8 --policy binpack --policy locality,elastic");
        let args = args.unwrap();
        let setup = setup(&args).unwrap();
        let jobs = jobs(&args, &setup).unwrap();
        let runs = args
            .policy
            .iter()
            .map(|list| simulate(&jobs, &setup, Policies::parse(list).unwrap(), &mut |_| ()));
        let runs = [static_vms(&jobs, &setup, &mut |_| ())].into_iter().chain(runs).collect();

        let text = text(&Report { jobs: 200, hosts: 4, cpus: 8, sites: 1, runs }, Style::plain());

        let rows: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(rows, ["200", "POLICY", "static-vm", "binpack", "locality,elastic"], "{text}");
        assert!(text.contains("1.00"), "{text}");
    }

    #[test]
    fn mistakes_are_told_before_anything_runs() {
        for wrong in [
            "",
            "--synthetic 0",
            "--synthetic 9 --trace a.csv",
            "--synthetic 9 --policy best",
            "--synthetic 9 --policy binpack,spread",
            "--synthetic 9 --load 0",
            "--synthetic 9 --load NaN",
            "--synthetic 9 --quota a",
            "--trace a.csv --seed 3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let args = parse("--synthetic 9 --cpus 4by4").unwrap();
        assert!(setup(&args).unwrap_err().to_string().contains("write `32x16`"));
        let args = parse("--trace nowhere.csv --quota a=4 --memory 8Gi").unwrap();
        let setup = setup(&args).unwrap();
        assert_eq!(
            (setup.memory, setup.quotas.tenants["a"].cpu),
            (Bytes(8 << 30), Some(Cpu(4000)))
        );
        assert!(jobs(&args, &setup).unwrap_err().to_string().contains("no file `nowhere.csv`"));
    }
}

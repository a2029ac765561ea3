//! Programs on threads: how many processors they get.

use super::cells::{CellArgs, exit_code};
use anyhow::bail;
use api::cell::Threads;
use cells::{
    parallel::{Grant, Parallel},
    wasi,
};
use clap::Args;
use std::{num::NonZeroU32, process::ExitCode};

/// Processors of a program built with `--openmp`.
#[derive(Debug, Args)]
pub(crate) struct CpuArgs {
    /// Processors for a program built with --openmp; all of this machine's if not given
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroU32>,
    /// Most it may ever get, which is what omp_get_max_threads tells it; as --cpus if not given
    #[arg(long, value_name = "N")]
    max_cpus: Option<NonZeroU32>,
    /// Let each parallel region have what is granted then, although the program asks for more
    #[arg(long)]
    elastic: bool,
}

impl CpuArgs {
    /// Refuses several processors for a program that has no threads.
    pub(crate) fn refuse_more_than_one(&self, module: &str) -> anyhow::Result<()> {
        if [self.cpus, self.max_cpus].iter().flatten().any(|cpus| cpus.get() > 1) {
            bail!("`{module}` runs on one thread: leave --cpus out, or build it with --openmp");
        }
        Ok(())
    }

    /// An option that a service has no use for, if one was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--cpus", self.cpus.is_some()),
            ("--max-cpus", self.max_cpus.is_some()),
            ("--elastic", self.elastic),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }

    /// What is asked for, where there are so many processors unless that is said.
    pub(crate) fn threads(&self, processors: u32) -> anyhow::Result<Threads> {
        let most = self.max_cpus.map(NonZeroU32::get);
        let cpus = self.cpus.map_or(processors.min(most.unwrap_or(processors)), NonZeroU32::get);
        if let Some(most) = most.filter(|most| cpus > *most) {
            bail!("--cpus {cpus} is more than --max-cpus {most}");
        }
        Ok(Threads { cpus, max_cpus: most, elastic: self.elastic })
    }

    /// Runs the program to its end.
    pub(crate) fn drive(
        &self,
        cell: &CellArgs,
        parallel: Parallel,
        mut config: wasi::Config,
    ) -> anyhow::Result<ExitCode> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let threads = self.threads(processors)?;
        let openmp = openmp::Config {
            elastic: threads.elastic,
            ..openmp::Config::new(threads.ceiling(), processors)
        };
        let grant = Grant::new(threads.cpus);
        add_openmp_variables(&mut config.variables);
        let remote = parallel.remote();
        cell.take_snapshots(move |path, last, patience| remote.snapshot(path, last, patience))?;
        cell.end_in_time()?;
        exit_code(parallel.run(config, openmp, grant, cell.memory.0))
    }
}

/// The runtime's own variables count although the program sees no others.
fn add_openmp_variables(variables: &mut Vec<(String, String)>) {
    let ours = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    for (name, value) in ours.filter(|(name, _)| name.starts_with("OMP_")) {
        if !variables.iter().any(|(known, _)| *known == name) {
            variables.push((name, value));
        }
    }
}

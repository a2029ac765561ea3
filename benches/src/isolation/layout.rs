//! Which processors whom are given.

use anyhow::Context as _;
use isolation::{Controller, Survey};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt;

/// The processors of the service, of the hostile programs, and of all that must disturb neither:
/// the load generator, the control plane and the agent.
pub(super) struct Layout {
    neighbour: usize,
    hostile: usize,
    rest: Vec<usize>,
}

impl Layout {
    /// The service with all others, and the hostile programs alone.
    pub(super) fn separate() -> anyhow::Result<Self> {
        let (first, last, _) = processors()?;
        Ok(Self { neighbour: first, hostile: last, rest: vec![first] })
    }

    /// The service with the hostile programs, and nothing else there.
    pub(super) fn one_cpu() -> anyhow::Result<Self> {
        let (_, last, rest) = processors()?;
        Ok(Self { neighbour: last, hostile: last, rest })
    }

    /// As the agent is told.
    pub(super) fn sets(&self) -> String {
        format!("default={};{}={}", self.neighbour, super::hostile::TENANT, self.hostile)
    }

    /// Keeps this process, and those that it starts, where the hostile programs are not, until
    /// the answer is dropped. The agent's control groups overrule it for workers.
    pub(super) fn stay_away(&self) -> anyhow::Result<Restored> {
        let before = sched_getaffinity(None)?;
        let mut set = CpuSet::new();
        self.rest.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).context("cannot choose processors")?;
        Ok(Restored(before))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { neighbour, hostile, rest } = self;
        write!(f, "service on CPU {neighbour}, guests on {hostile}, all else on {rest:?}")
    }
}

/// The first, the last, and all but the last.
fn processors() -> anyhow::Result<(usize, usize, Vec<usize>)> {
    let survey = Survey::of_this_process();
    for wanted in [Controller::Cpu, Controller::Cpuset] {
        if let Some(missing) = survey.missing.iter().find(|missing| missing.controller == wanted) {
            anyhow::bail!("{missing}; {}", survey.advice());
        }
    }
    let set = sched_getaffinity(None)?;
    let mut all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    let last = all.pop().context("no processors")?;
    let first = *all.first().context("this needs two processors")?;
    Ok((first, last, all))
}

/// Puts this process back where it was.
pub(super) struct Restored(CpuSet);

impl Drop for Restored {
    fn drop(&mut self) {
        if let Err(error) = sched_setaffinity(None, &self.0) {
            eprintln!("this process stays on fewer processors: {error}");
        }
    }
}

//! Programs that run once: one cell, started with `cloudskin run --site`, or the tissue of a
//! parallel program, with `cloudskin mpirun --sites` or `cloudskin run --cpus --site`.

use crate::{ApiError, Condition, service::Engine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Period};

/// What is wanted of a cell or a tissue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CellSpec {
    /// The module: `NAME.wasm@sha256:…`.
    pub module: String,
    /// The site that runs it.
    pub site: String,
    /// Arguments after the module's name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folders of the site: (host path, guest path).
    #[serde(default)]
    pub dirs: Vec<(String, String)>,
    /// Linear memory.
    #[serde(default = "default_memory")]
    pub memory: Bytes,
    /// How long it may run.
    #[serde(default)]
    pub deadline: Option<Period>,
    /// How the module is executed.
    #[serde(default)]
    pub engine: Engine,
    /// A snapshot to continue from, as a blob's digest.
    #[serde(default)]
    pub restore: Option<types::Digest>,
    /// What a tissue is made of; a cell has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// What a tissue is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// Ranks of an MPI program.
    Ranks(Ranks),
    /// Threads of a program with OpenMP.
    Threads(Threads),
}

/// Ranks of an MPI program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranks {
    /// How many.
    pub count: u32,
}

/// Threads of a program with OpenMP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Threads {
    /// Processors; the one field that may be changed while it runs.
    pub cpus: u32,
    /// Most it may ever get, which is what `omp_get_max_threads` tells it; `cpus` when absent.
    #[serde(default)]
    pub max_cpus: Option<u32>,
    /// Whether its parallel regions get what is granted when they begin, up to `maxCpus`, where
    /// others leave processors idle.
    #[serde(default)]
    pub elastic: bool,
}

impl Threads {
    /// Most it may ever get.
    pub fn ceiling(&self) -> u32 {
        self.max_cpus.unwrap_or(self.cpus)
    }
}

/// Most ranks or processors of one tissue.
pub const TISSUE_MAX: u32 = 1024;

impl CellSpec {
    /// Checks what a type cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field that is wrong, and what could stand there.
    pub(crate) fn check(&self, is_tissue: bool) -> Result<(), ApiError> {
        let wrong = |field: &'static str, reason: &str| {
            Err(ApiError::Value { field, reason: reason.to_owned() })
        };
        let counts = 1..=TISSUE_MAX;
        match &self.form {
            None if is_tissue => wrong("form", "a tissue has `ranks` or `threads`"),
            Some(_) if !is_tissue => wrong("form", "a cell has none: apply a tissue"),
            Some(Form::Ranks(ranks)) if !counts.contains(&ranks.count) => {
                wrong("form.ranks.count", "give a number from 1 to 1024")
            }
            Some(Form::Threads(threads)) if !counts.contains(&threads.cpus) => {
                wrong("form.threads.cpus", "give a number from 1 to 1024")
            }
            Some(Form::Threads(threads))
                if !(threads.cpus..=TISSUE_MAX).contains(&threads.ceiling()) =>
            {
                wrong("form.threads.maxCpus", "give a number from `cpus` to 1024")
            }
            _ => Ok(()),
        }
    }

    /// Whether another spec may be applied over this one while it runs: only the processors may
    /// differ.
    pub fn may_become(&self, other: &Self) -> bool {
        let mut same = self.clone();
        if let (Some(Form::Threads(ours)), Some(Form::Threads(theirs))) =
            (&mut same.form, &other.form)
        {
            ours.cpus = theirs.cpus;
            return same == *other && theirs.cpus <= theirs.ceiling();
        }
        same == *other
    }
}

fn default_memory() -> Bytes {
    Bytes(4 << 30)
}

/// What is known of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CellStatus {
    /// Facts.
    pub conditions: Vec<Condition>,
    /// Whether it runs now.
    pub running: bool,
    /// Its exit code, once ended.
    pub exit_code: Option<i32>,
    /// Why it ended, if not by itself.
    pub error: Option<String>,
    /// Processors that a program on threads has now: its own, and those that others leave idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Milliseconds since the Unix epoch.
    pub started: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub ended: Option<u64>,
}

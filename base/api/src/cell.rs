//! One running Wasm unit: a program started with `cloudskin run --site`.

use crate::{Condition, service::Engine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Period};

/// What is wanted of a cell.
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
    /// Milliseconds since the Unix epoch.
    pub started: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub ended: Option<u64>,
}

//! The user's own functions: where they stand, what they may use, and how they are named.

use super::{millis, require};
use crate::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{Bytes, Period};

/// What `model` begins with when it names a function.
pub const MODEL_PREFIX: &str = "python/";
/// Longest file, in bytes; more belongs into a package of the machine.
pub const SOURCE_MAX_BYTES: usize = 64 << 10;
/// Longest arguments of a function as JSON, in bytes.
const ARGUMENTS_MAX_BYTES: usize = 16 << 10;

/// A file of Python with sensors, models and actuators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Python {
    /// Its name, such as `agents.py`; the command line reads it, relative to the manifest.
    pub file: String,
    /// What it holds; written by the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Most address space of the process.
    #[serde(default = "default_memory")]
    pub memory: Bytes,
    /// How long one function may take.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// Whether it may use the network.
    #[serde(default)]
    pub network: bool,
}

fn default_memory() -> Bytes {
    Bytes(512 << 20)
}
fn default_timeout() -> Period {
    Period::from_millis(5_000)
}

/// A function, and what it is called with: its name alone, or with arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Function {
    /// Its name in the file.
    pub name: String,
    /// Arguments of a sensor.
    pub args: Vec<Value>,
    /// Named arguments of a sensor.
    pub kwargs: Map<String, Value>,
}

/// How a function is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Full(Full),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    kwargs: Map<String, Value>,
}

impl From<Written> for Function {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self { name, args: Vec::new(), kwargs: Map::new() },
            Written::Full(Full { name, args, kwargs }) => Self { name, args, kwargs },
        }
    }
}

impl From<Function> for Written {
    fn from(Function { name, args, kwargs }: Function) -> Self {
        match args.is_empty() && kwargs.is_empty() {
            true => Self::Name(name),
            false => Self::Full(Full { name, args, kwargs }),
        }
    }
}

impl Python {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let name =
            self.file.len() <= 255 && self.file.ends_with(".py") && !self.file.contains('\0');
        require(name, "python.file", "the path of a `.py` file, at most 255 bytes")?;
        let short = self.source.as_ref().is_none_or(|source| source.len() <= SOURCE_MAX_BYTES);
        require(short, "python.source", "at most 64 KiB: put the rest into a package")?;
        let memory = (Bytes(64 << 20)..=Bytes(8 << 30)).contains(&self.memory);
        require(memory, "python.memory", "from `64Mi` to `8Gi`")?;
        let patience = (100..=60_000).contains(&millis(self.timeout));
        require(patience, "python.timeout", "from `100ms` to `1m`")
    }
}

impl Function {
    pub(super) fn check(&self, field: &'static str) -> Result<(), ApiError> {
        require(super::check::is_identifier(&self.name), field, "the name of a function")?;
        let size = serde_json::to_vec(&(&self.args, &self.kwargs)).map_or(usize::MAX, |v| v.len());
        require(size <= ARGUMENTS_MAX_BYTES, field, "arguments of at most 16 KiB as JSON")
    }
}

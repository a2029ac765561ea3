//! What a program is started with.

use super::{
    ConfigError, Errno, HostInput, HostOutput, Input, Limits, Mount, Null, Output, Rights, Sources,
    SystemSources, Wasi,
    process::Clocks,
    table::{Entry, Kind, OpenDirectory, Table},
};
use crate::neural::{Given, Neural};
use std::{collections::HashSet, sync::Arc};

/// A folder that a program may use.
#[derive(Clone)]
pub struct Grant {
    /// Where the program sees it, and how snapshots name it.
    pub guest_path: String,
    /// The file system.
    pub mount: Arc<dyn Mount>,
    /// Whether changes are refused with `ROFS`.
    pub read_only: bool,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("guest_path", &self.guest_path)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// The three standard streams.
pub struct Streams {
    /// Descriptor 0.
    pub stdin: Box<dyn Input>,
    /// Descriptor 1.
    pub stdout: Box<dyn Output>,
    /// Descriptor 2.
    pub stderr: Box<dyn Output>,
}

impl Streams {
    /// This process's own.
    pub fn host() -> Self {
        Self {
            stdin: Box::new(HostInput),
            stdout: Box::new(HostOutput::Stdout),
            stderr: Box::new(HostOutput::Stderr),
        }
    }

    /// Nothing to read, and whatever is written is gone.
    pub fn null() -> Self {
        Self { stdin: Box::new(Null), stdout: Box::new(Null), stderr: Box::new(Null) }
    }
}

/// Everything a new program gets; [`Config::build`] checks it.
pub struct Config {
    /// Arguments, the program's name first.
    pub arguments: Vec<String>,
    /// Environment variables: name and value.
    pub variables: Vec<(String, String)>,
    /// Folders, as descriptors from 3 on.
    pub grants: Vec<Grant>,
    /// Models, by the names that it loads them by.
    pub models: Vec<Given>,
    /// Standard input, output and error.
    pub streams: Streams,
    /// Time and randomness.
    pub sources: Box<dyn Sources>,
    /// Ceilings.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            variables: Vec::new(),
            grants: Vec::new(),
            models: Vec::new(),
            streams: Streams::null(),
            sources: Box::new(SystemSources),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Makes the program's view of the system.
    pub fn build(self) -> Result<Wasi, ConfigError> {
        let variables = join_variables(self.variables)?;
        check_texts(&self.arguments, &variables, &self.limits)?;
        check_grants(&self.grants, &self.limits)?;
        let mut sources = self.sources;
        Ok(Wasi {
            arguments: self.arguments,
            variables,
            table: initial_table(&self.grants, &self.limits)?,
            grants: self.grants,
            streams: self.streams,
            clock: Clocks::starting_with(&mut *sources),
            sources,
            neural: Neural::new(self.models, self.limits.model_bytes),
            limits: self.limits,
            output_bytes: 0,
            poll: None,
        })
    }
}

fn join_variables(variables: Vec<(String, String)>) -> Result<Vec<String>, ConfigError> {
    let join = |(name, value): (String, String)| {
        if name.is_empty() || name.contains('=') {
            return Err(ConfigError::VariableName { name });
        }
        Ok(format!("{name}={value}"))
    };
    variables.into_iter().map(join).collect()
}

/// Refuses texts that C cannot hold and more of them than the limit.
pub(super) fn check_texts(
    arguments: &[String],
    variables: &[String],
    limits: &Limits,
) -> Result<(), ConfigError> {
    let mut size_bytes = 0;
    for text in arguments.iter().chain(variables) {
        if text.contains('\0') {
            return Err(ConfigError::Nul { text: text.clone() });
        }
        size_bytes += text.len() as u64 + 1;
    }
    let limit_bytes = limits.argument_bytes.min(u64::from(u32::MAX));
    if size_bytes > limit_bytes {
        return Err(ConfigError::ArgumentsTooLarge { size_bytes, limit_bytes });
    }
    Ok(())
}

/// Refuses grants that snapshots could not tell apart or that do not fit the table.
pub(super) fn check_grants(grants: &[Grant], limits: &Limits) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for grant in grants {
        if grant.guest_path.contains('\0') {
            return Err(ConfigError::Nul { text: grant.guest_path.clone() });
        }
        if !seen.insert(&grant.guest_path) {
            return Err(ConfigError::DuplicateGrant { guest_path: grant.guest_path.clone() });
        }
    }
    if grants.len() + 3 > limits.open_files as usize {
        return Err(ConfigError::TooManyGrants { count: grants.len(), limit: limits.open_files });
    }
    Ok(())
}

fn initial_table(grants: &[Grant], limits: &Limits) -> Result<Table, ConfigError> {
    let mut table = Table::new(limits.open_files);
    let mut insert = |entry| table.insert(entry).map(|_| ());
    let full =
        |_: Errno| ConfigError::TooManyGrants { count: grants.len(), limit: limits.open_files };
    insert(Entry::stream(Kind::Input, Rights::INPUT)).map_err(full)?;
    insert(Entry::stream(Kind::Stdout, Rights::OUTPUT)).map_err(full)?;
    insert(Entry::stream(Kind::Stderr, Rights::OUTPUT)).map_err(full)?;
    for (mount, grant) in grants.iter().enumerate() {
        let node = grant.mount.root().map_err(|source| ConfigError::Mount {
            guest_path: grant.guest_path.clone(),
            source,
        })?;
        insert(Entry {
            kind: Kind::Directory(OpenDirectory { node, mount, preopen: true, listing: None }),
            base: Rights::DIRECTORY,
            inheriting: Rights::DIRECTORY | Rights::FILE,
            flags: 0,
        })
        .map_err(full)?;
    }
    Ok(table)
}

//! What a tenant may use and does use, and where its node is.

use crate::errors::{Result, invalid};
use geds::Config;
use pyo3::{prelude::*, types::PyDict};
use std::{fs, io::ErrorKind, os::unix::fs::FileTypeExt, path::Path};

/// What a tenant may use of a node.
#[pyclass(module = "cloudskin.geds", frozen, eq, get_all)]
#[derive(Clone, PartialEq)]
pub(crate) struct Limits {
    /// Most bytes of shared memory for objects.
    memory_bytes: u64,
    /// Most bytes of files on disk.
    disk_bytes: u64,
    /// The share of `memory_bytes`, in percent, above which objects move to disk in the background.
    high_water_percent: u8,
    /// Most objects.
    objects: u64,
    /// How long a writer waits for room before it is refused, in milliseconds.
    wait_ms: u64,
}

impl From<geds::Limits> for Limits {
    fn from(limits: geds::Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            disk_bytes: limits.disk_bytes,
            high_water_percent: limits.high_water_percent,
            objects: limits.objects,
            wait_ms: limits.wait_ms,
        }
    }
}

#[pymethods]
impl Limits {
    fn __repr__(&self) -> String {
        format!(
            "Limits(memory_bytes={}, disk_bytes={}, high_water_percent={}, objects={}, wait_ms={})",
            self.memory_bytes, self.disk_bytes, self.high_water_percent, self.objects, self.wait_ms
        )
    }
}

/// These limits with those that are named in `changes`.
///
/// # Errors
/// `ValueError` for a name that is none, `TypeError` and `OverflowError` for values that are none.
pub(crate) fn changed(limits: geds::Limits, changes: &Bound<'_, PyDict>) -> Result<geds::Limits> {
    let mut limits = limits;
    for (name, value) in changes {
        if value.is_none() {
            continue;
        }
        match name.extract::<String>()?.as_str() {
            "memory_bytes" => limits.memory_bytes = value.extract()?,
            "disk_bytes" => limits.disk_bytes = value.extract()?,
            "high_water_percent" => limits.high_water_percent = value.extract()?,
            "objects" => limits.objects = value.extract()?,
            "wait_ms" => limits.wait_ms = value.extract()?,
            other => {
                return Err(invalid(format!(
                    "there is no limit `{other}`: there are memory_bytes, disk_bytes, high_water_percent, objects and wait_ms"
                )));
            }
        }
    }
    Ok(limits)
}

/// What a tenant uses of a node.
#[pyclass(module = "cloudskin.geds", frozen, get_all)]
pub(crate) struct Usage {
    /// Objects in all buckets.
    objects: u64,
    /// Shared memory that holds objects or is lent to writers.
    memory_bytes: u64,
    /// Shared memory that stands ready for writers.
    pool_bytes: u64,
    /// Shared memory for names and attributes.
    index_bytes: u64,
    /// Files on disk.
    disk_bytes: u64,
    /// Slabs that hold objects, are lent to writers, or are pinned by views.
    slabs: u64,
    /// Files on disk, in number.
    files: u64,
    /// Processes, this one among them.
    processes: u64,
}

impl From<geds::Usage> for Usage {
    fn from(usage: geds::Usage) -> Self {
        Self {
            objects: usage.objects,
            memory_bytes: usage.memory_bytes,
            pool_bytes: usage.pool_bytes,
            index_bytes: usage.index_bytes,
            disk_bytes: usage.disk_bytes,
            slabs: usage.slabs,
            files: usage.files,
            processes: usage.processes,
        }
    }
}

#[pymethods]
impl Usage {
    fn __repr__(&self) -> String {
        format!(
            "Usage(objects={}, memory_bytes={}, disk_bytes={}, slabs={}, processes={})",
            self.objects, self.memory_bytes, self.disk_bytes, self.slabs, self.processes
        )
    }
}

/// Where the store at a path is.
pub(crate) enum Place {
    /// In this process, with its files in the folder.
    Folder,
    /// Behind the socket of a node.
    Socket,
}

/// How the store at a path is reached: a socket is a node's, a folder is a store alone, and what is
/// not there is a socket if its name says so, else a folder to be made.
///
/// # Errors
/// [`geds::Error::Invalid`] for anything else.
pub(crate) fn reach(path: &Path) -> Result<Place> {
    let named_socket = path.extension().is_some_and(|extension| extension == "sock");
    match fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(Place::Socket),
        Ok(found) if found.is_dir() => Ok(Place::Folder),
        Err(error) if error.kind() == ErrorKind::NotFound && named_socket => Ok(Place::Socket),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Place::Folder),
        Ok(_) => Err(invalid(format!(
            "`{}` is neither a node's socket nor a folder for a store of this process",
            path.display()
        ))),
        Err(error) => Err(invalid(format!("cannot look at `{}`: {error}", path.display()))),
    }
}

/// What to open a store with.
///
/// # Errors
/// [`geds::Error::Invalid`] when a tenant or limits are named for a socket, which has its own.
pub(crate) fn config(
    path: &Path,
    tenant: Option<&str>,
    limits: Option<&Bound<'_, PyDict>>,
) -> Result<Config> {
    match reach(path)? {
        Place::Socket if tenant.is_some() || limits.is_some() => Err(invalid(
            "a node's socket has its tenant and limits already: name none, and set limits with `set_limits`",
        )),
        Place::Socket => Ok(Config::join(path)),
        Place::Folder => {
            let config = Config::alone(path).tenant(tenant.unwrap_or("default"));
            match limits {
                Some(changes) => Ok(config.limits(changed(geds::Limits::default(), changes)?)),
                None => Ok(config),
            }
        }
    }
}

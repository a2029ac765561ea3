//! A node in the interpreter's process.

use crate::{errors::Result, here::Here, settings::changed};
use geds::Limits;
use pyo3::{prelude::*, types::PyDict};
use std::path::PathBuf;

/// A host's node that lives in this process: other processes join through its sockets, for as long
/// as this lives. Whoever runs `cloudskin` has one already.
#[pyclass(module = "cloudskin.geds", frozen, weakref)]
pub(crate) struct Node {
    node: Here<geds::Node>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.node.drop_detached();
    }
}

#[pymethods]
impl Node {
    /// Starts a node that keeps its files in a folder, which it makes.
    #[new]
    fn new(py: Python<'_>, folder: PathBuf) -> Result<Self> {
        let node = py.detach(|| geds::Node::start(folder))?;
        Ok(Self { node: Here::new(node) })
    }

    /// Opens a socket through which processes of this user join as a tenant. The limits are those of
    /// the tenant if it was not in use yet.
    #[pyo3(signature = (socket, *, tenant = "default", **limits))]
    fn listen(
        &self,
        py: Python<'_>,
        socket: PathBuf,
        tenant: &str,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> Result<()> {
        let node = self.node.get()?;
        let limits = match limits {
            Some(changes) => changed(Limits::default(), changes)?,
            None => Limits::default(),
        };
        Ok(py.detach(|| node.listen(tenant, &limits, socket))?)
    }
}

//! Objects that a program is granted: the site's store, which a worker joins once for each tenant.

use crate::{
    error::{Error, Result},
    wasi::{Grant, ObjectFolder, Transform},
};
use api::mount::{self, Mount};
use geds::Geds;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// What a program sees of the site's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// Where the store of the program's tenant is joined.
    pub socket: PathBuf,
    /// What is seen of it.
    pub mounts: Vec<Mount>,
}

/// Stores by their sockets. A handle joins again when its store was started again.
static STORES: Mutex<Option<HashMap<PathBuf, Geds>>> = Mutex::new(None);

/// Opens what is granted. Buckets that may be written to are made.
///
/// # Errors
/// [`Error::Objects`] when the store cannot be reached, or a bucket is not there.
pub(crate) fn grants(objects: Option<&Objects>) -> Result<Vec<Grant>> {
    let Some(Objects { socket, mounts }) = objects else { return Ok(Vec::new()) };
    let store = store(socket).map_err(|source| Error::Objects { source: Box::new(source) })?;
    mounts.iter().map(|mount| grant(&store, mount)).collect()
}

fn store(socket: &Path) -> geds::Result<Geds> {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let stores = stores.get_or_insert_default();
    if let Some(store) = stores.get(socket) {
        return Ok(store.clone());
    }
    let store = Geds::open(geds::Config::join(socket))?;
    stores.insert(socket.to_owned(), store.clone());
    Ok(store)
}

fn grant(store: &Geds, mount: &Mount) -> Result<Grant> {
    let failed = |source| Error::Objects { source: Box::new(source) };
    let unnamed = || failed(geds::Error::Invalid(format!("`{}` names no bucket", mount.source)));
    let (bucket, prefix) = mount.objects().ok_or_else(unnamed)?;
    // Most often there is one already, and who makes one asks the control plane.
    if !mount.read_only && matches!(store.bucket(bucket), Err(geds::Error::NoBucket { .. })) {
        match store.create_bucket(bucket) {
            Ok(_) | Err(geds::Error::BucketExists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let transform = match mount.transform {
        mount::Transform::None => Transform::None,
        mount::Transform::Compress => Transform::Compress,
    };
    let folder = ObjectFolder::new(store.clone(), bucket, prefix, transform).map_err(failed)?;
    let (guest_path, read_only) = (mount.path.clone(), mount.read_only);
    Ok(Grant { guest_path, mount: Arc::new(folder), read_only })
}

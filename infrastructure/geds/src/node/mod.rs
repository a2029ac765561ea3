//! The process that owns the memory and the files: one for each host, or one inside the process that uses the store
//! alone.

mod adopt;
mod answer;
mod blocks;
mod bytes;
mod chunks;
mod compose;
mod composed;
mod files;
mod holds;
pub(crate) mod journal;
mod keeper;
mod keys;
mod lost;
pub(crate) mod names;
mod notes;
mod outlets;
mod recover;
mod relocate;
pub(crate) mod remotes;
pub(crate) mod server;
mod settle;
mod slabs;
mod source;
mod spill;
mod state;
pub(crate) mod tenant;
mod writeback;

use crate::{Error, Geds, Limits, Result, Site, client::Client, remote::Sites};
use rustix::fs::{FlockOperation, flock};
use server::Listener;
pub(crate) use slabs::slab_bytes;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};
use tenant::Tenant;

/// A host's node: it holds the objects of all tenants, each with limits of its own.
///
/// Objects in memory live as long as the node; those on disk come back when a node is started in
/// the same folder again.
#[derive(Debug, Clone)]
pub struct Node {
    host: Arc<Host>,
}

/// What a node is made of; it ends when the last handle to it is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    folder: PathBuf,
    tenants: Mutex<BTreeMap<String, Kept>>,
    listeners: Mutex<Vec<Listener>>,
    sites: OnceLock<Arc<Sites>>,
    /// Locked as long as the node lives.
    _lock: File,
}

#[derive(Debug)]
struct Kept {
    tenant: Arc<Tenant>,
    threads: Vec<JoinHandle<()>>,
    /// Those that it was opened with.
    limits: Limits,
}

impl Node {
    /// Starts a node that keeps its files in `folder`, which it makes, and which no other node may
    /// use at the same time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when another node uses the folder, [`Error::Io`].
    pub fn start(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let private = || -> std::io::Result<File> {
            fs::create_dir_all(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            File::options().create(true).truncate(false).write(true).open(folder.join("lock"))
        };
        let lock =
            private().map_err(Error::io(format!("use the folder `{}`", folder.display())))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::Unavailable(format!("another node uses the folder `{}`", folder.display()))
        })?;
        let host = Host {
            folder,
            tenants: Mutex::default(),
            listeners: Mutex::default(),
            sites: OnceLock::new(),
            _lock: lock,
        };
        Ok(Self { host: Arc::new(host) })
    }

    /// A tenant's store for this process. The limits are those of the tenant if it was not in use yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no tenant's name or limits that cannot be, [`Error::Corrupt`] and [`Error::Io`]
    /// when its files cannot be read.
    pub fn geds(&self, tenant: &str, limits: &Limits) -> Result<Geds> {
        self.client(tenant, limits).map(Geds::of)
    }

    pub(crate) fn client(&self, tenant: &str, limits: &Limits) -> Result<Arc<Client>> {
        let opened = self.host.tenant(tenant, limits)?;
        Client::within(Arc::clone(&self.host), opened)
    }

    /// Opens a socket through which other processes join as this tenant: whoever may connect to it
    /// may. Only the user of this process can, unless the mode of the file is changed.
    ///
    /// # Errors
    /// As [`geds`](Self::geds).
    pub fn listen(&self, tenant: &str, limits: &Limits, socket: impl AsRef<Path>) -> Result<()> {
        let opened = self.host.tenant(tenant, limits)?;
        let listener = Listener::open(socket.as_ref(), opened)?;
        self.host.listeners().push(listener);
        Ok(())
    }

    /// Lets this node and those of other sites use each other's buckets; gives where it listens for them, if it does. All its
    /// tenants are served to all sites that it knows: sites trust each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a node that is one of a site already, what is no site's name, or an address of other
    /// machines without an identity; [`Error::Io`] when it cannot listen.
    pub fn join_sites(&self, site: Site) -> Result<Option<SocketAddr>> {
        let sites = Sites::open(site)?;
        if let Err(second) = self.host.sites.set(Arc::clone(&sites)) {
            second.stop();
            return Err(Error::Invalid("the node is one of a site already".to_owned()));
        }
        self.host.serve_all(&sites)?;
        Ok(sites.address())
    }

    /// Names another site, says where its node listens now, or forgets it.
    ///
    /// # Errors
    /// [`Error::Invalid`] before [`join_sites`](Self::join_sites), and for what is no other site's name.
    pub fn set_peer(&self, site: &str, address: Option<SocketAddr>) -> Result<()> {
        let sites = self.host.sites.get();
        let sites = sites.ok_or_else(|| Error::Invalid("the node is of no site yet".to_owned()))?;
        sites.set_peer(site, address)
    }
}

impl Host {
    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenant(&self, name: &str, limits: &Limits) -> Result<Arc<Tenant>> {
        types::check_name(name).map_err(|error| Error::Invalid(error.to_string()))?;
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = tenants.get(name) {
            return Ok(Arc::clone(&kept.tenant));
        }
        let folder = self.folder.join("tenants").join(name);
        fs::create_dir_all(&folder).map_err(Error::io("make a tenant's folder"))?;
        let tenant = Arc::new(Tenant::open(&folder, limits.clone())?);
        let mut kept =
            Kept { tenant: Arc::clone(&tenant), threads: Vec::new(), limits: limits.clone() };
        let (keeper, writer) = (Arc::clone(&tenant), Arc::clone(&tenant));
        kept.start(format!("geds-{name}"), move || keeper.keep())?;
        kept.start("geds-write-back".to_owned(), move || writer.write_back())?;
        tenants.insert(name.to_owned(), kept);
        if let Some(sites) = self.sites.get() {
            sites.add(name, &tenant, limits)?;
        }
        Ok(tenant)
    }

    /// Serves the tenants that there are to other sites.
    fn serve_all(&self, sites: &Arc<Sites>) -> Result<()> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kept) in tenants.iter() {
            sites.add(name, &kept.tenant, &kept.limits)?;
        }
        Ok(())
    }
}

impl Kept {
    fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let started = thread::Builder::new().name(name).spawn(run);
        self.threads.push(started.map_err(Error::io("start a thread"))?);
        Ok(())
    }
}

/// Ends its threads.
impl Drop for Kept {
    fn drop(&mut self) {
        self.tenant.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a node's thread panicked");
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.listeners().clear();
        if let Some(sites) = self.sites.get() {
            sites.stop();
        }
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

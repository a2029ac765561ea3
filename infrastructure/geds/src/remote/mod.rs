//! Nodes of several sites: each bucket has a home, whose node orders what happens to its names; other nodes ask it for what
//! they miss, keep copies, and hear of changes.
//!
//! `frame`, `message`, `stream` and `tls` are the protocol ([docs](../../../../docs/protocol/geds-nodes.md)); `lane` and `peer` ask,
//! `serve` answers, `sums` spares it to sum twice. `far` is what a tenant's processes have to do with other sites, `fetch` how
//! bytes come, `follow` how changes do, `home` what a home does for others, `homes` who is the home of what; `handle` is the
//! side of the processes.

mod far;
mod fetch;
mod follow;
pub(crate) mod frame;
mod handle;
mod home;
mod homes;
mod lane;
pub(crate) mod message;
mod own;
mod peer;
mod serve;
mod stream;
mod sums;
mod tls;

use crate::{Attributes, Error, Limits, Listing, Put, Result, node::tenant::Tenant};
pub use homes::Directory;
use homes::Homes;
use meta::MetaStore;
use own::Own;
use peer::Peer;
use serde::{Deserialize, Serialize};
use serve::Listener;
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};
use tls::Identity;
use types::Token;

pub(crate) use far::Far;
pub(crate) use handle::Looked;
pub(crate) use home::still_away;

/// What a bucket is called in which copies of another site's objects are kept: no name that a user may give.
pub(crate) fn kept(bucket: &str) -> String {
    format!("{KEPT}{bucket}")
}

/// The bucket whose objects a bucket of copies keeps, and any other bucket itself.
pub(crate) fn bucket_of(name: &str) -> &str {
    name.strip_prefix(KEPT).unwrap_or(name)
}

const KEPT: char = '@';

/// Most other sites of one node.
const PEERS_MAX: usize = 1024;

/// Reads bytes as what another node sends.
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(found) = bytes.first_chunk() {
        let _ = frame::check_greeting(found);
    }
    let Some((header, rest)) = bytes.split_first_chunk() else { return };
    if let Ok(header) = frame::Header::parse(header) {
        let _ = header.check(rest);
    }
    let _ = message::decode::<message::Request>(rest).map(|request| request.check());
    let _ = message::decode::<message::Answer>(rest);
    let _ = message::decode::<message::Notice>(rest);
}

/// What a process asks its own node about buckets whose home is another site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// All buckets of other sites.
    Buckets,
    Bucket {
        bucket: String,
    },
    List {
        bucket: String,
        listing: Listing,
    },
    Stat {
        bucket: String,
        key: String,
    },
    /// Brings an object here.
    Fetch {
        bucket: String,
        key: String,
    },
    Read {
        bucket: String,
        key: String,
        version: u64,
        offset: u64,
        len: u64,
    },
    Seal {
        bucket: String,
        key: String,
        put: Put,
        size: u64,
        crc32c: Option<u32>,
    },
    /// Makes copies of an object of this node at other sites.
    Replicate {
        bucket: String,
        key: String,
        version: u64,
        sites: u8,
    },
    Delete {
        bucket: String,
        key: String,
        if_version: Option<u64>,
    },
    Attributes {
        bucket: String,
        key: String,
        attributes: Attributes,
        if_version: Option<u64>,
    },
    Copy {
        bucket: String,
        from: String,
        to: String,
        put: Put,
        rename: bool,
    },
    BucketAttributes {
        bucket: String,
        attributes: Attributes,
    },
    DeleteBucket {
        bucket: String,
    },
    /// What happens in a bucket is told to this node.
    Follow {
        bucket: String,
    },
}

/// A node's place among those of other sites: what it is called, where it listens, and whom it knows.
///
/// Nodes prove who they are with the certificates of `cloudskin join`, over TLS 1.3; without an identity they
/// speak on loopback alone.
#[derive(Debug, Clone)]
pub struct Site {
    name: String,
    listen: Option<Place>,
    peers: BTreeMap<String, (SocketAddr, Option<String>)>,
    identity: Option<Identity>,
    token: Option<Token>,
    homes: Homes,
}

/// Where a node listens.
#[derive(Debug, Clone)]
enum Place {
    At(SocketAddr),
    /// Somebody listens already, for it.
    Here(Arc<TcpListener>),
}

impl Place {
    fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::At(address) => Ok(*address),
            Self::Here(listener) => listener.local_addr(),
        }
    }

    fn listener(&self) -> std::io::Result<TcpListener> {
        match self {
            Self::At(address) => TcpListener::bind(address),
            Self::Here(listener) => listener.try_clone(),
        }
    }
}

impl Site {
    /// A site of this name, which other nodes know it by. It speaks on loopback alone, without TLS.
    pub fn plain(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: None,
            peers: BTreeMap::new(),
            identity: None,
            token: None,
            homes: Homes::Ask,
        }
    }

    /// The site whose certificate is in a file as `cloudskin join` writes it. It is read again for each
    /// connection.
    ///
    /// # Errors
    /// [`Error::Denied`] when others may read the file, [`Error::Corrupt`], [`Error::Io`].
    pub fn secured(identity: impl Into<PathBuf>) -> Result<Self> {
        let identity = Identity(identity.into());
        let name = identity.site()?;
        Ok(Self { identity: Some(identity), ..Self::plain(name) })
    }

    /// Where it listens for other nodes; port 0 takes a free one. Without this it asks others and is not asked.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(Place::At(address));
        self
    }

    /// It takes other nodes' connections from this listener, which waits when none is there.
    #[must_use]
    pub fn listen_on(mut self, listener: TcpListener) -> Self {
        self.listen = Some(Place::Here(Arc::new(listener)));
        self
    }

    /// Without an identity: it lets in who shows this token, and shows it. All sites of a machine have the same.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Another site, and where its node listens. Only sites that are named so are let in.
    #[must_use]
    pub fn peer(mut self, name: impl Into<String>, address: SocketAddr) -> Self {
        self.peers.insert(name.into(), (address, None));
        self
    }

    /// The same, with the SHA-256 of the site's public key in hexadecimal: whoever shows another key is not this site,
    /// whatever its certificate says.
    #[must_use]
    pub fn peer_with_key(
        mut self,
        name: impl Into<String>,
        address: SocketAddr,
        key: impl Into<String>,
    ) -> Self {
        self.peers.insert(name.into(), (address, Some(key.into())));
        self
    }

    /// This node keeps in `store` which site is the home of which bucket, for itself and for those that name it
    /// with [`directory_at`](Self::directory_at). Without a directory a node asks the others whose a bucket is, and two that
    /// do not reach each other may both make one of the same name.
    #[must_use]
    pub fn directory(mut self, store: Arc<dyn MetaStore>) -> Self {
        self.homes = Homes::Here(store);
        self
    }

    /// Somebody else keeps the directory.
    #[must_use]
    pub fn directory_by(mut self, directory: Arc<dyn Directory>) -> Self {
        self.homes = Homes::By(directory);
        self
    }

    /// The node of this site keeps the directory.
    #[must_use]
    pub fn directory_at(mut self, site: impl Into<String>) -> Self {
        self.homes = Homes::At(site.into());
        self
    }
}

/// A node's connections with those of other sites.
#[derive(Debug)]
pub(crate) struct Sites {
    own: Own,
    /// Tells this run of the node from those before.
    run: u64,
    homes: Homes,
    peers: RwLock<BTreeMap<String, Arc<Peer>>>,
    fars: Mutex<BTreeMap<String, Arc<Far>>>,
    listener: Mutex<Option<Listener>>,
}

impl Sites {
    /// Opens the listener; no tenant is served yet.
    pub(crate) fn open(site: Site) -> Result<Arc<Self>> {
        let Site { name, listen, peers, identity, token, homes } = site;
        let token = token.filter(|_| identity.is_none());
        types::check_name(&name).map_err(|error| Error::Invalid(error.to_string()))?;
        let address = listen.as_ref().map(Place::address).transpose();
        if let Some(address) = address.map_err(Error::io("listen for other sites"))?
            && identity.is_none()
            && !address.ip().is_loopback()
        {
            return Err(Error::Invalid(format!(
                "{address} is reached from other machines: give the node an identity for TLS"
            )));
        }
        let run = getrandom::u64()
            .map_err(|error| Error::io("get randomness")(std::io::Error::other(error)))?;
        let sites = Arc::new(Self {
            own: Own { site: name, identity, token },
            run: run.max(1),
            homes,
            peers: RwLock::default(),
            fars: Mutex::default(),
            listener: Mutex::default(),
        });
        for (peer, (address, key)) in peers {
            sites.set_peer(&peer, Some(address), key)?;
        }
        if let Some(place) = listen {
            *sites.listener() = Some(Listener::open(&place, &sites)?);
        }
        Ok(sites)
    }

    fn listener(&self) -> MutexGuard<'_, Option<Listener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fars(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Far>>> {
        self.fars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener().as_ref().map(Listener::address)
    }

    /// Names another site, says where it is now, or forgets it.
    pub(crate) fn set_peer(
        &self,
        name: &str,
        address: Option<SocketAddr>,
        key: Option<String>,
    ) -> Result<()> {
        types::check_name(name).map_err(|error| Error::Invalid(error.to_string()))?;
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = address else {
            if let Some(peer) = peers.remove(name) {
                peer.stop();
            }
            return Ok(());
        };
        if name == self.own.site {
            return Err(Error::Invalid(format!("`{name}` is this site itself")));
        }
        if let Some(peer) = peers.get(name) {
            peer.belongs_to(key);
            peer.move_to(address);
            return Ok(());
        }
        if peers.len() >= PEERS_MAX {
            let limit = PEERS_MAX as u64;
            return Err(Error::TooMany { what: "other sites".to_owned(), limit });
        }
        let peer = Peer::new(self.own.clone(), name, address, key);
        peers.insert(name.to_owned(), Arc::new(peer));
        Ok(())
    }

    /// The node of another site.
    fn peer(&self, site: &str) -> Result<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(site).cloned().ok_or_else(|| {
            Error::Unavailable(format!("this node does not know where site `{site}` is"))
        })
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().cloned().collect()
    }

    /// Serves a tenant to other sites, and them to it.
    pub(crate) fn add(
        self: &Arc<Self>,
        name: &str,
        tenant: &Arc<Tenant>,
        limits: &Limits,
    ) -> Result<()> {
        let mut fars = self.fars();
        if !fars.contains_key(name) {
            let far = Far::open(self, name, tenant, limits)?;
            tenant.set_far(&far);
            fars.insert(name.to_owned(), far);
        }
        Ok(())
    }

    fn far(&self, tenant: &str) -> Option<Arc<Far>> {
        self.fars().get(tenant).cloned()
    }

    /// Ends all connections and the threads that serve them.
    pub(crate) fn stop(&self) {
        for peer in self.peers() {
            peer.stop();
        }
        let listener = self.listener().take();
        drop(listener);
        let fars = std::mem::take(&mut *self.fars());
        fars.values().for_each(|far| far.stop());
    }
}

#[cfg(test)]
mod tests;

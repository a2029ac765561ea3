//! How this site reaches the control plane and other sites: on one machine with a token, between
//! machines over mutual TLS. Which it is, is decided once; no connection falls back.

use super::{Config, Error, error::Result};
use crate::trust::{
    self, Caller, Connector, Expected, Expects, HTTP, INGRESS, Identity, PEER, Party, STATE, Stream,
};
use api::{Problem, link::Peer};
use hyper::Uri;
use rustls::ClientConfig;
use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use types::{ErrorKind, Token};

/// How a site and those whom it talks to know each other.
#[derive(Debug, Clone)]
pub enum Trust {
    /// All of them are on this machine: they show one token, without TLS.
    Token(Token),
    /// They are on several machines: each shows its certificate.
    Certificates {
        /// Who this site is.
        identity: Arc<Identity>,
        /// Where its peers' listener is.
        bind: SocketAddr,
    },
}

/// How this site reaches the others.
#[derive(Clone)]
pub(crate) struct Reach {
    /// Host and port of the control plane.
    control: String,
    secured: Option<Arc<Secured>>,
}

struct Secured {
    identity: Arc<Identity>,
    control: String,
    /// Who is at which peers' listener, as the control plane last said.
    peers: RwLock<HashMap<SocketAddr, Peer>>,
    /// To the control plane and to peers' HTTP.
    http: Arc<ClientConfig>,
    forward: Arc<ClientConfig>,
    state: Arc<ClientConfig>,
    /// Where workers wait for the states of these migrations.
    arrivals: Mutex<HashMap<String, SocketAddr>>,
}

/// A peer of which the control plane named no key is nobody.
fn expected(peer: &Peer) -> Expected {
    let key = Some(peer.key.clone().unwrap_or_default());
    Expected { party: Party::Site(peer.site.clone()), key }
}

impl Reach {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let url = config.control_url.trim_end_matches('/');
        let control = url.split_once("://").map_or(url, |(_, rest)| rest).to_owned();
        let Trust::Certificates { identity, .. } = &config.trust else {
            return Ok(Self { control, secured: None });
        };
        let client = |protocols: &[&[u8]]| identity.client(protocols).map_err(Error::Trust);
        Ok(Self {
            secured: Some(Arc::new(Secured {
                identity: identity.clone(),
                control: control.clone(),
                peers: RwLock::default(),
                http: client(&[HTTP, PEER])?,
                forward: client(&[INGRESS])?,
                state: client(&[STATE])?,
                arrivals: Mutex::default(),
            })),
            control,
        })
    }

    /// Who this site is, if certificates say so.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.secured.as_ref().map(|secured| &secured.identity)
    }

    /// What the peers' listener demands; nothing without TLS.
    pub(crate) fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        self.identity().map(Identity::server).transpose().map_err(Error::Trust)
    }

    /// Takes over who the other sites are.
    pub(crate) fn meet(&self, peers: &[Peer]) {
        if let Some(secured) = &self.secured {
            let known = peers.iter().map(|peer| (peer.address, peer.clone())).collect();
            *secured.peers.write().unwrap_or_else(PoisonError::into_inner) = known;
        }
    }

    /// The site that calls, if the control plane says that the name belongs to the key it shows.
    pub(crate) fn recognise(&self, caller: &Caller) -> Option<String> {
        let Party::Site(site) = &caller.party else { return None };
        let peers = self.secured.as_ref()?.peers.read().unwrap_or_else(PoisonError::into_inner);
        let key = peers.values().find(|peer| peer.site == *site)?.key.as_ref()?;
        caller.holds(key).then(|| site.clone())
    }

    /// The public ingress of whoever is behind an address that requests are forwarded to.
    pub(crate) fn ingress_behind(&self, to: SocketAddr) -> SocketAddr {
        let peer = self.secured.as_ref().and_then(|secured| secured.peer(to));
        peer.map_or(to, |peer| peer.ingress)
    }

    /// How addresses of peers begin.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// For requests to the control plane and to peers.
    pub(crate) fn connector(&self, limit: Duration) -> Connector {
        Connector::new(limit, self.secured.as_ref().map(|own| (own.http.clone(), own.expects())))
    }

    /// For clients' requests that another site answers.
    pub(crate) fn forwarder(&self, limit: Duration) -> Connector {
        Connector::new(limit, self.secured.as_ref().map(|own| (own.forward.clone(), own.expects())))
    }

    /// The control plane, for the site link.
    pub(crate) async fn control(&self) -> io::Result<Stream> {
        if let Some(secured) = &self.secured {
            return trust::connect(&secured.http, &self.control, &Expected::CONTROL).await;
        }
        let stream = TcpStream::connect(&self.control).await?;
        stream.set_nodelay(true)?;
        Ok(Stream::Plain(stream))
    }

    /// The site at this address, for the state of a service.
    pub(crate) async fn for_state(
        &self,
        address: SocketAddr,
    ) -> std::result::Result<Stream, Problem> {
        let unknown = || {
            let message =
                format!("no site is known at {address}: wait until its agent is connected");
            Problem::new(ErrorKind::Unavailable, message)
        };
        let secured = self.secured.as_ref().ok_or_else(unknown)?;
        let peer = secured.peer(address).ok_or_else(unknown)?;
        trust::connect(&secured.state, address, &expected(&peer)).await.map_err(|error| {
            let message = format!("cannot reach site `{}` at {address}: {error}", peer.site);
            Problem::new(ErrorKind::Unavailable, message)
        })
    }

    /// A worker waits here for the state of this migration.
    pub(crate) fn expect(&self, migration: &str, worker: SocketAddr) {
        if let Some(secured) = &self.secured {
            secured.arrivals().insert(migration.to_owned(), worker);
        }
    }

    /// Where the state of this migration goes, once.
    pub(crate) fn arrival(&self, migration: &str) -> Option<SocketAddr> {
        self.secured.as_ref()?.arrivals().remove(migration)
    }
}

impl Secured {
    fn peer(&self, address: SocketAddr) -> Option<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expects(self: &Arc<Self>) -> Expects {
        let own = self.clone();
        Arc::new(move |uri: &Uri| {
            let authority = uri.authority()?.as_str();
            if authority == own.control {
                return Some(Expected::CONTROL);
            }
            own.peer(authority.parse().ok()?).as_ref().map(expected)
        })
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("identity", &self.identity()).finish()
    }
}

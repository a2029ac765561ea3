//! Another site's node: where it is, and the connections to it.

use super::{
    lane::{Asked, Lane},
    message::{Answer, Request},
    own::Own,
    stream::{Reader, STALL, Stop, Writer, split},
};
use crate::{Error, Result};
use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// Most connections to one node: large answers do not wait for each other.
const LANES_MAX: usize = 4;
/// How long a node that could not be reached is not tried again: others would wait for it each time.
const REST: Duration = Duration::from_millis(200);

/// Another site's node.
#[derive(Debug)]
pub(super) struct Peer {
    own: Own,
    pub(super) site: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    address: SocketAddr,
    /// The digest of its key, if any other is nobody's.
    key: Option<String>,
    /// Connections that it made, and those for what it tells.
    others: Vec<Stop>,
    lanes: Vec<Arc<Lane>>,
    failed: Option<(Instant, String)>,
    stopped: bool,
}

/// Where a node is, and the digest of its key.
type Place = (SocketAddr, Option<String>);

/// Why a connection is given up that was made while this was told.
const MOVED: &str = "the node is somewhere else now, or has another key: try again";

impl State {
    fn place(&self) -> Place {
        (self.address, self.key.clone())
    }

    /// Notes a connection that ends with the peer.
    fn add(&mut self, connection: &Stop) {
        self.others.retain(|other| !other.has_ended());
        self.others.push(connection.clone());
    }
}

/// A lane that is counted as used.
#[derive(Debug)]
pub(super) struct Used(Arc<Lane>);

impl Used {
    fn new(lane: &Arc<Lane>) -> Self {
        lane.users.fetch_add(1, Relaxed);
        Self(Arc::clone(lane))
    }

    pub(super) fn ask(&self, request: &Request) -> Result<Asked<'_>> {
        self.0.ask(request)
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Relaxed);
    }
}

impl Peer {
    pub(super) fn new(own: Own, site: &str, address: SocketAddr, key: Option<String>) -> Self {
        let state = State {
            address,
            key,
            others: Vec::new(),
            lanes: Vec::new(),
            failed: None,
            stopped: false,
        };
        let (site, state) = (site.to_owned(), Mutex::new(state));
        Self { own, site, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.state().address
    }

    /// The node is somewhere else now.
    pub(super) fn move_to(&self, address: SocketAddr) {
        let mut state = self.state();
        if state.address != address {
            (state.address, state.failed) = (address, None);
            state.lanes.drain(..).for_each(|lane| lane.end("the node is somewhere else now"));
        }
    }

    /// Another key is the site's now, and who showed the one before is nobody.
    pub(super) fn belongs_to(&self, key: Option<String>) {
        let mut state = self.state();
        if state.key != key {
            (state.key, state.failed) = (key, None);
            state.lanes.drain(..).for_each(|lane| lane.end("the site has another key now"));
            state.others.drain(..).for_each(|other| other.stop());
        }
    }

    /// Whether somebody who has shown this key, or none, is this site; its connection then ends with the key.
    pub(super) fn lets_in(&self, key: Option<&str>, connection: &Stop) -> bool {
        let mut state = self.state();
        let is_own = state.key.as_deref().is_none_or(|own| key == Some(own)) && !state.stopped;
        if is_own {
            state.add(connection);
        }
        is_own
    }

    /// Ends all connections; no more are made.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.others.drain(..).for_each(|other| other.stop());
        state.lanes.drain(..).for_each(|lane| lane.end("this node ends"));
    }

    /// A connection that nobody uses, or the one that fewest do.
    pub(super) fn lane(&self) -> Result<Used> {
        let place = {
            let mut state = self.state();
            state.lanes.retain(|lane| !lane.is_broken());
            if let Some(idle) = state.lanes.iter().find(|lane| lane.is_idle()) {
                return Ok(Used::new(idle));
            }
            let fewest = state.lanes.iter().min_by_key(|lane| lane.users.load(Relaxed));
            match fewest {
                Some(fewest) if state.lanes.len() >= LANES_MAX => return Ok(Used::new(fewest)),
                _ => {}
            }
            if state.stopped {
                return Err(self.gone("this node ends"));
            }
            if let Some((when, why)) = &state.failed
                && when.elapsed() < REST
            {
                return Err(self.gone(why));
            }
            state.place()
        };
        let made = self.connect(&place).map(Lane::new).and_then(|lane| self.meet(lane, place.0));
        let mut state = self.state();
        match made {
            Ok(_) if state.stopped => Err(self.gone("this node ends")),
            Ok(_) if state.place() != place => Err(self.gone(MOVED)),
            Ok(lane) => {
                let lane = Arc::new(lane);
                let used = Used::new(&lane);
                state.failed = None;
                state.lanes.push(lane);
                Ok(used)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.to_string()));
                Err(self.gone(&error.to_string()))
            }
        }
    }

    fn meet(&self, lane: Lane, at: SocketAddr) -> Result<Lane> {
        self.met(&lane.greet(&self.own, at)?)?;
        Ok(lane)
    }

    /// Checks who has answered.
    fn met(&self, site: &str) -> Result<()> {
        if site == self.site {
            return Ok(());
        }
        Err(Error::Unavailable(format!("`{site}` answers there")))
    }

    fn gone(&self, why: &str) -> Error {
        Error::Unavailable(format!("site `{}`: {why}", self.site))
    }

    fn connect(&self, (address, key): &Place) -> Result<(Reader, Writer, Stop)> {
        let failed = |error: std::io::Error| self.gone(&format!("{address}: {error}"));
        let mut stream = TcpStream::connect_timeout(address, CONNECT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(STALL)).map_err(failed)?;
        let tls = match &self.own.identity {
            Some(identity) => Some(identity.connect(&mut stream, &self.site, key.as_deref())?),
            None if address.ip().is_loopback() => None,
            None => {
                let why = format!("{address} is another machine's: give an identity for TLS");
                return Err(self.gone(&why));
            }
        };
        split(stream, tls).map_err(failed)
    }

    /// A connection of its own, for what is told from now on, and where it was dialled.
    pub(super) fn connect_apart(&self) -> Result<((Reader, Writer, Stop), SocketAddr)> {
        let place = self.state().place();
        let connection = self.connect(&place)?;
        let mut state = self.state();
        if state.stopped || state.place() != place {
            return Err(self.gone(MOVED));
        }
        state.add(&connection.2);
        Ok((connection, place.0))
    }

    /// Says on such a connection who this node is, and checks who answers; gives the run of its node.
    pub(super) fn introduce(
        &self,
        at: SocketAddr,
        ask: impl FnMut(&Request) -> Result<Answer>,
    ) -> Result<u64> {
        let (site, run) = self.own.introduce(at, ask)?;
        self.met(&site).map(|()| run)
    }

    /// Asks for something that is answered by a message. A connection that turns out to have ended meanwhile is replaced
    /// once, if the request may be repeated.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer> {
        let answer = self.lane()?.ask(request).and_then(Asked::finish);
        match answer {
            Err(Error::Unavailable(_)) if repeatable(request) => {
                self.lane()?.ask(request)?.finish()
            }
            answer => answer,
        }
    }
}

/// Whether it does no harm to ask twice.
fn repeatable(request: &Request) -> bool {
    matches!(
        request,
        Request::Whose { .. }
            | Request::Claim { .. }
            | Request::Disclaim { .. }
            | Request::Bucket { .. }
            | Request::Buckets { .. }
            | Request::List { .. }
            | Request::Stat { .. }
            | Request::Keep { .. }
    )
}

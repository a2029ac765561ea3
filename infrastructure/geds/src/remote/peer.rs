//! Another site's node: where it is, and the connections to it.

use super::{
    lane::{Asked, Lane, unexpected},
    message::{Answer, Request},
    stream::{Reader, STALL, Stop, Writer, split},
    tls::Identity,
};
use crate::{Error, Result};
use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use types::Token;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// Most connections to one node: large answers do not wait for each other.
const LANES_MAX: usize = 4;
/// How long a node that could not be reached is not tried again: others would wait for it each time.
const REST: Duration = Duration::from_millis(200);

/// Who this node is to others.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) site: String,
    /// None: without TLS, on loopback alone.
    pub(super) identity: Option<Identity>,
    /// Without TLS: what those who come must show, and what this node shows.
    pub(super) token: Option<Token>,
}

impl Own {
    /// How a connection begins.
    pub(super) fn hello(&self) -> Request {
        let site = self.site.clone();
        match &self.token {
            Some(token) => Request::Show { site, token: token.reveal().to_owned() },
            None => Request::Hello { site },
        }
    }

    /// Who comes, if it has shown what it must.
    pub(super) fn comes(&self, request: Request) -> Option<String> {
        match (request, &self.token) {
            (Request::Hello { site }, None) => Some(site),
            (Request::Show { site, token }, Some(own)) if own.admits(&token) => Some(site),
            _ => None,
        }
    }
}

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

impl State {
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
        let address = {
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
            state.address
        };
        let made = self.connect(address).map(Lane::new).and_then(|lane| self.meet(lane));
        let mut state = self.state();
        match made {
            Ok(_) if state.stopped => Err(self.gone("this node ends")),
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

    fn meet(&self, lane: Lane) -> Result<Lane> {
        let site = lane.greet(&self.own.hello())?;
        self.met(&site)?;
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

    fn connect(&self, address: SocketAddr) -> Result<(Reader, Writer, Stop)> {
        let failed = |error: std::io::Error| self.gone(&format!("{address}: {error}"));
        let mut stream = TcpStream::connect_timeout(&address, CONNECT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(STALL)).map_err(failed)?;
        let tls = match &self.own.identity {
            Some(identity) => {
                let key = self.state().key.clone();
                Some(identity.connect(&mut stream, &self.site, key.as_deref())?)
            }
            None if address.ip().is_loopback() => None,
            None => {
                let why = format!("{address} is another machine's: give an identity for TLS");
                return Err(self.gone(&why));
            }
        };
        split(stream, tls).map_err(failed)
    }

    /// A connection of its own, for what is told from now on.
    pub(super) fn connect_apart(&self) -> Result<(Reader, Writer, Stop)> {
        let address = self.state().address;
        let connection = self.connect(address)?;
        self.state().add(&connection.2);
        Ok(connection)
    }

    /// How such a connection begins.
    pub(super) fn hello(&self) -> Request {
        self.own.hello()
    }

    /// Checks who answered on a connection of its own; gives the run of its node.
    pub(super) fn met_apart(&self, answer: &Answer) -> Result<u64> {
        match answer {
            Answer::Welcome { site, run } => self.met(site).map(|()| *run),
            Answer::Refused(refusal) => Err(refusal.clone().into()),
            _ => Err(unexpected()),
        }
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
            | Request::List { .. }
            | Request::Stat { .. }
            | Request::Keep { .. }
    )
}

//! The way to the node: a socket, or a call within the process.

use crate::{
    Error, Result, Scope, Subscription,
    event::Feed,
    node::{Host, tenant::Tenant},
    remote::{Ask, Far},
    wire::{Reply, Request, VERSION, receive, send},
};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

/// The way to the node.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The tenant of a node in this process, which lives as long as this. The node's own session has no host: it is the
    /// node's part, and does not ask other sites.
    Within { tenant: Arc<Tenant>, session: u32, host: Option<Arc<Host>> },
    /// A connection. One request is under way at a time.
    Socket {
        path: PathBuf,
        stream: Mutex<UnixStream>,
        gone: Arc<AtomicBool>,
        watched: UnixStream,
        /// Further connections, on which nothing is under way.
        apart: Mutex<Vec<UnixStream>>,
    },
}

/// Connections that are kept for what is asked of other sites.
const APART_MAX: usize = 4;

/// What the node says to a process that joins.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) session: u32,
    pub(crate) limits: crate::Limits,
    pub(crate) index: OwnedFd,
    pub(crate) page: OwnedFd,
}

impl Link {
    pub(crate) fn within(host: Option<Arc<Host>>, tenant: Arc<Tenant>, session: u32) -> Self {
        Self { way: Way::Within { tenant, session, host } }
    }

    pub(crate) fn join(path: &Path) -> Result<(Self, Joined)> {
        let stream = connect(path)?;
        let (reply, files) = exchange(&stream, &Request::Join { version: VERSION })?;
        let (session, limits) = match reply {
            Reply::Joined { session, limits } => (session, limits),
            Reply::Failed(refusal) => return Err(refusal.into()),
            _ => return Err(super::unexpected()),
        };
        let mut files = files.into_iter();
        let (Some(index), Some(page)) = (files.next(), files.next()) else {
            return Err(super::unexpected());
        };
        let link = Self { way: watched(path, stream)? };
        Ok((link, Joined { session, limits, index, page }))
    }

    pub(crate) fn call(&self, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
        match &self.way {
            Way::Within { tenant, session, .. } => Ok(tenant.answer(*session, request.clone())),
            Way::Socket { stream, .. } => exchange(&lock(stream), request),
        }
    }

    /// Asks for something that takes long and needs no session, while others ask other things.
    pub(crate) fn call_apart(&self, request: &Request) -> Result<Reply> {
        match &self.way {
            Way::Within { .. } => self.call(request).map(|(reply, _)| reply),
            Way::Socket { path, .. } => {
                self.check()?;
                exchange(&connect(path)?, request).map(|(reply, _)| reply)
            }
        }
    }

    /// Asks about other sites, which takes long, while others ask other things; none where the node knows no other sites.
    pub(crate) fn far(&self, ask: Ask) -> Result<Option<Reply>> {
        let reply = match &self.way {
            Way::Within { host: None, .. } => return Ok(None),
            Way::Within { tenant, .. } => tenant.ask_far(ask),
            Way::Socket { path, apart, .. } => {
                self.check()?;
                let idle = apart.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let stream = idle.map_or_else(|| connect(path), Ok)?;
                let reply = exchange(&stream, &Request::Far(ask))?.0;
                let mut apart = apart.lock().unwrap_or_else(PoisonError::into_inner);
                if apart.len() < APART_MAX {
                    apart.push(stream);
                }
                reply
            }
        };
        Ok(if matches!(reply, Reply::Gone) { None } else { Some(reply) })
    }

    /// What a node in this process has to do with other sites.
    pub(crate) fn far_within(&self) -> Option<Arc<Far>> {
        match &self.way {
            Way::Within { tenant, host: Some(_), .. } => tenant.far(),
            _ => None,
        }
    }

    /// Wakes a node that sleeps. A node that has gone is noticed by whoever asks it something.
    pub(crate) fn wake(&self) {
        match &self.way {
            Way::Within { tenant, .. } => tenant.wake(),
            Way::Socket { stream, .. } => _ = send(&lock(stream), &Request::Wake, &[]),
        }
    }

    /// Fails when the node has gone: what is in shared memory then is nobody's any more.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.way {
            Way::Socket { gone, .. } if gone.load(Relaxed) => {
                Err(went("the connection ended".to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn subscribe(&self, scope: Scope) -> Result<Subscription> {
        match &self.way {
            Way::Within { tenant, .. } => tenant.subscribe(scope),
            Way::Socket { path, .. } => subscribe(path, scope),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        match &self.way {
            Way::Within { tenant, session, .. } => tenant.leave(*session),
            // The thread that watches it ends.
            Way::Socket { watched, .. } => _ = watched.shutdown(Shutdown::Both),
        }
    }
}

fn lock(stream: &Mutex<UnixStream>) -> MutexGuard<'_, UnixStream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).map_err(|error| {
        Error::Unavailable(format!("nobody answers at the socket `{}` ({error})", path.display()))
    })
}

fn exchange(stream: &UnixStream, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
    send(stream, request, &[]).map_err(|error| went(error.to_string()))?;
    match receive(stream) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(went("the connection ended".to_owned())),
        Err(error) => Err(went(error.to_string())),
    }
}

fn went(why: String) -> Error {
    Error::Unavailable(format!("it has gone ({why}): try again when it was started again"))
}

/// A connection with a thread that notices when the node has gone, for most operations do not ask
/// it anything.
fn watched(path: &Path, stream: UnixStream) -> Result<Way> {
    let clone = || stream.try_clone().map_err(Error::io("watch the node"));
    let (watched, ours, gone) = (clone()?, clone()?, Arc::new(AtomicBool::new(false)));
    let noticed = Arc::clone(&gone);
    let watch = move || {
        let mut ends = [PollFd::new(&ours, PollFlags::RDHUP)];
        while matches!(poll(&mut ends, None), Err(rustix::io::Errno::INTR)) {}
        noticed.store(true, Relaxed);
    };
    thread::Builder::new()
        .name("geds-watch".to_owned())
        .spawn(watch)
        .map_err(Error::io("start a thread"))?;
    let (path, stream, apart) = (path.to_owned(), Mutex::new(stream), Mutex::default());
    Ok(Way::Socket { path, stream, gone, watched, apart })
}

/// Subscribes over a connection of its own, which a thread reads.
fn subscribe(path: &Path, scope: Scope) -> Result<Subscription> {
    let stream = connect(path)?;
    let request = Request::Subscribe { version: VERSION, scope: scope.clone() };
    match exchange(&stream, &request)?.0 {
        Reply::Done => {}
        Reply::Failed(refusal) => return Err(refusal.into()),
        _ => return Err(super::unexpected()),
    }
    let (feed, mut subscription) = Feed::new(scope);
    let own = stream.try_clone().map_err(Error::io("subscribe"))?;
    subscription.end_with(own);
    thread::Builder::new()
        .name("geds-events".to_owned())
        .spawn(move || read_events(&stream, &feed))
        .map_err(Error::io("start a thread"))?;
    Ok(subscription)
}

fn read_events(stream: &UnixStream, feed: &Feed) {
    while let Ok(Some((reply, _))) = receive::<Reply>(stream) {
        match reply {
            Reply::Event(event) => {
                if !feed.tell(event) {
                    return;
                }
            }
            Reply::Missed(count) => feed.missed(count),
            _ => return,
        }
    }
}

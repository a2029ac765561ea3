//! Worlds whose ranks are at several sites, which are processes.
//!
//! Each site holds a part of the [`World`]: seats of its own ranks, and a replica of what the
//! members of a communicator share. What ranks of one site do with each other is as in a world of
//! one site. Between sites go frames (`frame`) over a [`Link`]: messages (`letter`), entries of
//! collectives (`gather`), and reads and writes of windows (`reach`). Whoever reads the link calls
//! [`World::deliver`], which only ever writes to memory and never waits, so that frames always
//! find a reader; answers leave by another thread (`courier`).

pub(crate) mod courier;
mod deliver;
pub(crate) mod frame;
pub(crate) mod gather;
pub(crate) mod letter;
pub(crate) mod reach;

use crate::{
    Config,
    communicator::Shared,
    error::{Abort, Result},
    memory::Space,
    ring::Producer,
    table::Table,
    transfer::Pieces,
    world::{Waiting, World, lock},
};
use courier::{Courier, Job};
use frame::Frame;
use gather::{Partial, Spread};
use letter::Wrong;
use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{
        Arc, Condvar, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Bytes of data in one frame.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Numbers of sites are below.
const SITES_MAX: u32 = 4096;

/// Where the ranks of a world are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The number of the site whose part of the world this is.
    pub here: u32,
    /// The site of each rank, by number.
    pub sites: Vec<u32>,
}

/// What carries frames to other sites, each pair's in the order in which they were sent.
pub trait Link: Send + Sync + Debug {
    /// Queues a frame for a site. It waits while that site is behind, so that what is queued is
    /// bounded.
    ///
    /// # Errors
    ///
    /// When there is no connection to the site any more.
    fn send(&self, site: u32, frame: Vec<u8>) -> Result<(), Abort>;
}

/// What was asked of another site, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Who waits for it.
    rank: u32,
    site: u32,
    space: Space,
    into: Mutex<(Pieces, Result)>,
    over: AtomicBool,
}

impl Incoming {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How many bytes have come.
    pub(crate) fn received(&self) -> u64 {
        lock(&self.into).0.done()
    }

    /// How it ended.
    pub(crate) fn result(&self) -> Result {
        lock(&self.into).1.clone()
    }
}

/// Eager messages from a rank elsewhere to one here.
#[derive(Debug, Default)]
struct Lane {
    producer: Producer,
    delivered: u64,
    granted: u64,
}

/// What the frames of one site change.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    lanes: HashMap<(u32, u32), Lane>,
    /// Messages that wait there, by their senders and numbers.
    announced: HashMap<(u32, u64), Weak<Waiting>>,
    /// Entries of which not all has come.
    partial: HashMap<(u32, u64, u32), Partial>,
}

/// Another site.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) courier: Arc<Courier>,
    /// Messages that wait here until that site asks for them, by their senders and numbers.
    offers: Mutex<HashMap<(u32, u64), Arc<Waiting>>>,
    desk: Mutex<Desk>,
    /// Bytes of entries that its members sent, while rounds last.
    held: AtomicU64,
}

/// What a part of a world knows of the others.
#[derive(Debug)]
pub(crate) struct Sites {
    pub(crate) here: u32,
    /// The site of each rank.
    of: Vec<u32>,
    peers: HashMap<u32, Peer>,
    link: Arc<dyn Link>,
    /// Bytes of eager messages that found room at their receivers, by sender and receiver.
    acknowledged: Vec<AtomicU64>,
    tickets: Mutex<Table<Arc<Incoming>>>,
    /// Rings when a marker was answered.
    answered: (Mutex<()>, Condvar),
    /// Whether all that was sent before a stop has been delivered.
    pub(crate) flushed: AtomicBool,
}

impl Drop for Sites {
    fn drop(&mut self) {
        self.peers.values().for_each(|peer| peer.courier.close());
    }
}

impl Sites {
    fn new(placement: Placement, link: Arc<dyn Link>) -> Self {
        let Placement { here, sites: of } = placement;
        let new = || Peer {
            courier: Arc::new(Courier::default()),
            offers: Mutex::default(),
            desk: Mutex::default(),
            held: AtomicU64::new(0),
        };
        let peers = of.iter().filter(|site| **site != here).map(|site| (*site, new())).collect();
        let pairs = of.len() * of.len();
        Self {
            here,
            peers,
            link,
            acknowledged: (0..pairs).map(|_| AtomicU64::new(0)).collect(),
            tickets: Mutex::default(),
            answered: Default::default(),
            flushed: AtomicBool::new(false),
            of,
        }
    }

    /// The site of a rank.
    #[inline]
    pub(crate) fn of(&self, rank: u32) -> u32 {
        self.of[rank as usize]
    }

    /// Another site.
    pub(crate) fn peer(&self, site: u32) -> Option<&Peer> {
        self.peers.get(&site)
    }

    /// Sends a frame; a world whose link broke is over.
    pub(crate) fn send(&self, world: &World, site: u32, frame: &Frame<'_>) {
        if let Err(abort) = self.link.send(site, frame.encode()) {
            world.link_broke(abort);
        }
    }

    /// The same for whoever must not wait.
    pub(crate) fn send_later(&self, site: u32, frame: &Frame<'_>) -> Result<(), Wrong> {
        let peer = self.peer(site).ok_or("comes from nowhere")?;
        peer.courier.answer(Job::Frame(frame.encode()))
    }

    /// A ticket for an answer, which goes where `into` says.
    pub(crate) fn ticket(
        &self,
        site: u32,
        rank: u32,
        space: &Space,
        into: Pieces,
    ) -> (u32, Arc<Incoming>) {
        let incoming = Arc::new(Incoming {
            rank,
            site,
            space: space.clone(),
            into: Mutex::new((into, Ok(()))),
            over: AtomicBool::new(false),
        });
        let ticket = lock(&self.tickets).add(Arc::clone(&incoming));
        (ticket as u32, incoming)
    }
}

impl World {
    /// This site's part of a world whose ranks are at several sites. All parts are made with the
    /// same size and sites; frames that come for this one are to be given to
    /// [`World::deliver`].
    ///
    /// # Errors
    ///
    /// When the placement is not that of such a world.
    pub fn spread(
        size: u32,
        config: Config,
        placement: Placement,
        link: Arc<dyn Link>,
    ) -> Result<Arc<Self>, Abort> {
        Self::part(size, config, placement, link)?.begun()
    }

    /// The same, which nobody shares yet.
    pub(crate) fn part(
        size: u32,
        config: Config,
        placement: Placement,
        link: Arc<dyn Link>,
    ) -> Result<Self, Abort> {
        let refused = |reason: String| Err(Abort::Refused { reason: reason.into() });
        let Placement { here, sites } = &placement;
        if sites.len() != size as usize {
            return refused(format!("a world of {size} ranks was given {} places", sites.len()));
        }
        if let Some(site) = sites.iter().chain([here]).find(|site| **site >= SITES_MAX) {
            return refused(format!("sites are numbered below {SITES_MAX}: there is no {site}"));
        }
        Self::allowed(size)?;
        if sites.iter().all(|site| site == here) {
            return Ok(Self::with_size(size, config, None).at_site(*here).furnished());
        }
        // What waits here may be ended from elsewhere.
        let config = Config { deadlocks: false, ..config };
        Ok(Self::with_size(size, config, Some(Sites::new(placement, link))).furnished())
    }

    /// The world as its ranks share it, with the threads that send to other sites.
    pub(crate) fn begun(self) -> Result<Arc<Self>, Abort> {
        let world = Arc::new(self);
        for (site, peer) in world.sites.iter().flat_map(|sites| &sites.peers) {
            if let Some(sites) = &world.sites {
                courier::start(*site, peer, &sites.link, &world)?;
            }
        }
        Ok(world)
    }

    /// What there is to know of other sites, if a rank is at one.
    #[inline]
    pub(crate) fn beyond(&self, rank: u32) -> Option<&Sites> {
        let sites = self.sites.as_deref()?;
        (sites.of(rank) != sites.here).then_some(sites)
    }

    /// The connection to a site broke: the world ends, unless all ranks here are through.
    pub fn lost(&self, site: u32, reason: &str) {
        self.link_broke(Abort::Lost { site, reason: reason.into() });
    }

    pub(crate) fn link_broke(&self, abort: Abort) {
        if !self.is_deserted() {
            self.abort(abort);
        }
    }

    /// Waits until nothing is left to be given to the link; false if that takes longer.
    pub(crate) fn rest(&self, deadline: Instant) -> bool {
        let mut peers = self.sites.iter().flat_map(|sites| sites.peers.values());
        peers.all(|peer| peer.courier.rest(deadline))
    }

    /// Waits until every frame that was sent before has been delivered, with what it was answered.
    /// To be called at each site once all ranks stand still.
    ///
    /// # Errors
    ///
    /// When a site does not answer for as long as `patience` lasts, or the world ends.
    pub fn flush_links(&self, patience: Duration) -> Result<(), Abort> {
        let Some(sites) = self.sites.as_deref() else { return Ok(()) };
        let nothing = || Pieces::new(crate::transfer::Span::default(), 0);
        let mut waits = Vec::new();
        for (site, peer) in &sites.peers {
            let (ticket, incoming) = sites.ticket(*site, 0, &Space::default(), nothing());
            peer.courier.push(Job::Marker(Frame::Marker { ticket }.encode()));
            waits.push((*site, incoming));
        }
        let deadline = Instant::now() + patience;
        for (site, incoming) in waits {
            let mut guard = lock(&sites.answered.0);
            while !incoming.is_over() {
                self.check()?;
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let reason = format!("site {site} did not answer within {patience:?}");
                    return Err(Abort::Refused { reason: reason.into() });
                }
                // The world may end meanwhile, which rings no bell here.
                let nap = left.min(Duration::from_millis(20));
                let woken = sites.answered.1.wait_timeout(guard, nap);
                guard = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            }
        }
        sites.flushed.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Tells the other sites why the world ended.
    pub(crate) fn tell_abort(&self, abort: &Abort, except: Option<u32>) {
        let Some(sites) = self.sites.as_deref() else { return };
        let frame = deliver::abort_frame(abort, |frame| frame.encode());
        for (site, peer) in &sites.peers {
            if Some(*site) != except {
                peer.courier.push(Job::Frame(frame.clone()));
            }
        }
    }
}

impl Sites {
    /// The communicator of all ranks.
    pub(crate) fn everyone(&self) -> Shared {
        let members = (0..self.of.len() as u32).collect::<Vec<_>>();
        let spread = Spread::of(self, &members);
        Shared::new(0, members).over(spread)
    }
}

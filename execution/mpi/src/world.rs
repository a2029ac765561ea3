//! What the ranks of one program share: their seats, their rings, and how the program ends.

use crate::{
    Config, Memory, Rank, abi,
    communicator::Shared,
    error::{Abort, Result, fault},
    known::Known,
    memory::Space,
    ring::Ring,
    save::Restoring,
    site::Sites,
    stop::Stops,
    table::Table,
    transfer::Span,
};
use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::Thread,
    time::{Duration, Instant},
};

/// A lock whose holder does not panic; if one did, what it left is still whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the bytes of a message wait until their receiver copies them.
#[derive(Debug)]
pub(crate) enum Body {
    /// In the sender's memory.
    Guest(Span),
    /// In memory of the host: a buffered send.
    Host(Vec<u8>),
    /// At the sender's site, which is another.
    Away,
}

/// The ranks run.
pub(crate) const RUNNING: u8 = 0;
/// They stop where they can.
pub(crate) const STOPPING: u8 = 1;
/// The world has ended.
pub(crate) const OVER: u8 = 2;

const OFFERED: u8 = 0;
const CLAIMED: u8 = 1;
const DONE: u8 = 2;
const CANCELLED: u8 = 3;

/// A message that waits at its sender.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) sender: u32,
    /// Who is to receive it.
    pub(crate) receiver: u32,
    /// The sender's number of it, which it keeps when ranks are restored.
    pub(crate) number: u64,
    /// Nothing between the restorations of its receiver and its sender.
    body: OnceLock<Body>,
    pub(crate) bytes: u64,
    state: AtomicU8,
}

impl Waiting {
    pub(crate) fn new(route: (u32, u32), number: u64, bytes: u64, body: Body) -> Self {
        let waiting = Self::unknown(route, number, bytes);
        waiting.know(body);
        waiting
    }

    /// One whose bytes are not known yet, from a sender to a receiver.
    pub(crate) fn unknown((sender, receiver): (u32, u32), number: u64, bytes: u64) -> Self {
        let (body, state) = (OnceLock::new(), AtomicU8::new(OFFERED));
        Self { sender, receiver, number, bytes, body, state }
    }

    /// One that is over.
    pub(crate) fn ended(sender: u32, cancelled: bool) -> Self {
        let state = AtomicU8::new(if cancelled { CANCELLED } else { DONE });
        Self { state, ..Self::unknown((sender, sender), 0, 0) }
    }

    /// What it is known by at all sites.
    pub(crate) fn name(&self) -> (u32, u64) {
        (self.sender, self.number)
    }

    /// Tells where the bytes are; whether that was not known.
    pub(crate) fn know(&self, body: Body) -> bool {
        self.body.set(body).is_ok()
    }

    pub(crate) fn body(&self) -> Option<&Body> {
        self.body.get()
    }

    fn advance(&self, to: u8) -> bool {
        self.state.compare_exchange(OFFERED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The receiver takes it, unless it was cancelled.
    pub(crate) fn claim(&self) -> bool {
        self.advance(CLAIMED)
    }

    /// The sender takes it back, unless its receiver has taken it.
    pub(crate) fn cancel(&self) -> bool {
        self.advance(CANCELLED)
    }

    /// The receiver has copied it.
    pub(crate) fn finish(&self) {
        self.state.store(DONE, Ordering::Release);
    }

    /// Whether its receiver has taken it, and not copied it yet.
    pub(crate) fn is_claimed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLAIMED
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Whether the sender's buffer is its own again.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), DONE | CANCELLED)
    }
}

/// Contexts of communicators are below; those above belong to the engine.
pub(crate) const CONTEXTS_MAX: u32 = 1 << 31;

// The lowest bits of a seat's state; the others count its sleeps.
const ANNOUNCED: u64 = 1;
const ASLEEP: u64 = 3;
const GONE: u64 = 4;
const SLEEP: u64 = 8;

/// What others know of one rank.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Seat {
    state: AtomicU64,
    taken: AtomicBool,
    /// How many contexts it made.
    contexts: AtomicU32,
    /// Bytes of messages that it holds and did not ask for yet.
    kept: AtomicU64,
    space: OnceLock<Space>,
    thread: Mutex<Option<Thread>>,
    waits: Mutex<String>,
    sends: Mutex<Table<Arc<Waiting>>>,
}

/// The ranks of one program.
#[derive(Debug)]
pub struct World {
    config: Config,
    size: u32,
    seats: Vec<Seat>,
    rings: Vec<OnceLock<Box<Ring>>>,
    /// Whether the ranks run, are to stop, or all is over; see `underway`.
    pub(crate) state: AtomicU8,
    pub(crate) stops: Stops,
    /// What ranks that are restored have in common, until all are.
    pub(crate) restoring: Mutex<Option<Restoring>>,
    abort: OnceLock<Abort>,
    pub(crate) everyone: Arc<Shared>,
    /// The communicators that have members here.
    pub(crate) known: Mutex<Known>,
    /// The other sites that have ranks of it, if any do.
    pub(crate) sites: Option<Box<Sites>>,
    /// The number of this site.
    site: u32,
    /// Whether its ranks here are more than their processors.
    crowded: bool,
    started: Instant,
    /// How long it ran before it was restored.
    pub(crate) before: Duration,
}

impl World {
    /// A world of `size` ranks.
    ///
    /// # Errors
    ///
    /// When there are none or more than [`Config::RANKS_MAX`].
    pub fn new(size: u32, config: Config) -> Result<Arc<Self>, Abort> {
        Self::allowed(size)?;
        Ok(Arc::new(Self::with_size(size, config, None).furnished()))
    }

    /// Fails unless a world may have so many ranks.
    pub(crate) fn allowed(size: u32) -> Result<(), Abort> {
        if size == 0 || size > Config::RANKS_MAX {
            let reason = format!("a world has 1 to {} ranks, not {size}", Config::RANKS_MAX);
            return Err(Abort::Refused { reason: reason.into() });
        }
        Ok(())
    }

    /// A world without ranks, for those that are taken away for a moment.
    pub(crate) fn nowhere() -> Arc<Self> {
        static NOWHERE: OnceLock<Arc<World>> = OnceLock::new();
        Arc::clone(NOWHERE.get_or_init(|| Arc::new(Self::with_size(0, Config::default(), None))))
    }

    pub(crate) fn with_size(size: u32, mut config: Config, sites: Option<Sites>) -> Self {
        config.eager_bytes = config.eager_bytes.min(Config::EAGER_BYTES_MAX);
        let here = |sites: &Sites| (0..size).filter(|rank| sites.of(*rank) == sites.here).count();
        let crowded = sites.as_ref().map_or(size as usize, here) > config.processors;
        if crowded {
            // A rank that polls keeps the processor from the one it waits for.
            config.spin = config.spin.min(Duration::from_micros(2));
        }
        let stops = Stops::new(size);
        if let Some(sites) = &sites {
            let elsewhere = (0..size).filter(|rank| sites.of(*rank) != sites.here);
            elsewhere.for_each(|rank| stops.elsewhere(rank));
        }
        let pairs = size as usize * size as usize;
        Self {
            config,
            size,
            seats: (0..size).map(|_| Seat::default()).collect(),
            rings: (0..pairs).map(|_| OnceLock::new()).collect(),
            state: AtomicU8::new(RUNNING),
            stops,
            restoring: Mutex::default(),
            abort: OnceLock::new(),
            everyone: Arc::new(match &sites {
                Some(sites) => sites.everyone(),
                None => Shared::new(0, (0..size).collect()),
            }),
            known: Mutex::default(),
            site: sites.as_ref().map_or(0, |sites| sites.here),
            sites: sites.map(Box::new),
            crowded,
            started: Instant::now(),
            before: Duration::ZERO,
        }
    }

    /// How many ranks there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Seats a rank; to be used by one thread at a time.
    ///
    /// # Errors
    ///
    /// When there is no such rank, or it was seated before.
    pub fn rank(self: &Arc<Self>, rank: u32, memory: Arc<dyn Memory>) -> Result<Rank, Abort> {
        let space = self.take_seat(rank, memory)?;
        Ok(Rank::seated(Arc::clone(self), rank, space))
    }

    /// Seats a rank's memory, once.
    pub(crate) fn take_seat(&self, rank: u32, memory: Arc<dyn Memory>) -> Result<Space, Abort> {
        let refused = |reason: String| Err(Abort::Refused { reason: reason.into() });
        let Some(seat) = self.seats.get(rank as usize) else {
            return refused(format!("there is no rank {rank} in a world of {}", self.size));
        };
        if let Some(sites) = self.beyond(rank) {
            return refused(format!("rank {rank} is at site {}", sites.of(rank)));
        }
        if seat.taken.swap(true, Ordering::AcqRel) {
            return refused(format!("rank {rank} is seated already"));
        }
        Ok(seat.space.get_or_init(|| Space::new(memory)).clone())
    }

    /// Ends the world from outside: every rank's call fails with the reason.
    pub fn end(&self, reason: &str) {
        self.abort(Abort::Ended { reason: reason.into() });
    }

    /// Why the world ended, if it did.
    pub fn ended(&self) -> Option<&Abort> {
        self.abort.get()
    }

    /// Seconds since the world began.
    pub(crate) fn seconds(&self) -> f64 {
        self.age().as_secs_f64()
    }

    /// The same, to the nanosecond.
    pub(crate) fn age(&self) -> Duration {
        self.before + self.started.elapsed()
    }

    /// A context for a new communicator, made by a rank: each has numbers of its own, so that they
    /// are unique wherever the ranks are.
    pub(crate) fn new_context(&self, rank: u32) -> Result<u32> {
        let made = self.seats[rank as usize].contexts.fetch_add(1, Ordering::Relaxed);
        let context = 1 + (u64::from(made) + 1) * u64::from(self.size) + u64::from(rank);
        let context = u32::try_from(context).ok().filter(|context| *context < CONTEXTS_MAX);
        context.ok_or_else(|| {
            self.seats[rank as usize].contexts.fetch_sub(1, Ordering::Relaxed);
            fault(abi::ERR_NO_MEM, "the world has no numbers left for new communicators")
        })
    }

    /// How many contexts a rank made; for one that is restored, what it had made.
    pub(crate) fn contexts_of(&self, rank: u32) -> Option<&AtomicU32> {
        self.seats.get(rank as usize).map(|seat| &seat.contexts)
    }

    /// The rank that made a context, and how many it made before; nothing for those that nobody
    /// made.
    pub(crate) fn maker_of(&self, context: u32) -> Option<(u32, u32)> {
        let number = context.checked_sub(1)?;
        Some((number % self.size, (number / self.size).checked_sub(1)?))
    }

    /// Fails if the world has ended; whether the ranks are to stop.
    #[inline]
    pub(crate) fn check(&self) -> Result<bool, Abort> {
        match self.state.load(Ordering::Relaxed) {
            RUNNING => Ok(false),
            STOPPING => Ok(true),
            _ => Err(self.reason()),
        }
    }

    #[cold]
    fn reason(&self) -> Abort {
        let reason = || Abort::Ended { reason: "the world is over".into() };
        self.abort.get().cloned().unwrap_or_else(reason)
    }

    /// A world of one site that has this number.
    pub(crate) fn at_site(self, site: u32) -> Self {
        Self { site, ..self }
    }

    /// The number of this site; zero if it was given none.
    pub fn site(&self) -> u32 {
        self.site
    }

    /// Whether its ranks here are more than their processors.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Whether all ranks that were seated here are through.
    pub(crate) fn is_deserted(&self) -> bool {
        let mut here = (0..self.size).filter(|rank| self.beyond(*rank).is_none());
        here.all(|rank| self.seats[rank as usize].state.load(Ordering::SeqCst) & GONE != 0)
    }

    /// Ends the world; gives the reason that counts, which is the first.
    pub(crate) fn abort(&self, abort: Abort) -> Abort {
        self.abort_told_by(abort, None)
    }

    /// The same, where another site may have told of it.
    pub(crate) fn abort_told_by(&self, abort: Abort, site: Option<u32>) -> Abort {
        let mut new = false;
        let first = self.abort.get_or_init(|| {
            new = true;
            abort
        });
        let first = first.clone();
        self.state.store(OVER, Ordering::SeqCst);
        self.stops.over();
        if new {
            self.tell_abort(&first, site);
        }
        self.rouse_all();
        first
    }

    /// Has every rank look again at what it waits for.
    pub(crate) fn rouse_all(&self) {
        for rank in 0..self.size {
            self.wake(rank);
        }
    }

    /// The ring from one rank to another, if they talked.
    #[inline]
    pub(crate) fn ring(&self, from: u32, to: u32) -> Option<&Ring> {
        self.rings.get((to * self.size + from) as usize)?.get().map(|ring| &**ring)
    }

    /// The ring from one rank to another.
    #[inline]
    pub(crate) fn ring_to(&self, from: u32, to: u32) -> &Ring {
        self.rings[(to * self.size + from) as usize].get_or_init(|| Box::new(Ring::new()))
    }

    /// A rank holds so many bytes of messages that it did not ask for yet.
    pub(crate) fn tell_kept(&self, rank: u32, bytes: u64) {
        self.seats[rank as usize].kept.store(bytes, Ordering::Relaxed);
    }

    /// Whether a rank may be sent more messages that it did not ask for.
    pub(crate) fn may_keep_more(&self, rank: u32) -> bool {
        let kept = self.seats[rank as usize].kept.load(Ordering::Relaxed);
        kept < self.config.backlog_bytes_max as u64
    }

    /// The memory of a rank; an empty one before it is seated.
    pub(crate) fn space(&self, rank: u32) -> Space {
        self.seats[rank as usize].space.get().cloned().unwrap_or_default()
    }

    /// Keeps a message until its receiver asks for it by number.
    pub(crate) fn offer(&self, waiting: &Arc<Waiting>) -> u32 {
        let mut sends = lock(&self.seats[waiting.sender as usize].sends);
        sends.add(Arc::clone(waiting)) as u32
    }

    /// The same, without taking it.
    pub(crate) fn look_up(&self, rank: u32, number: u32) -> Option<Arc<Waiting>> {
        lock(&self.seats.get(rank as usize)?.sends).get(number as i32).cloned()
    }

    /// The message that a rank offered under a number.
    pub(crate) fn offered(&self, rank: u32, number: u32) -> Option<Arc<Waiting>> {
        lock(&self.seats[rank as usize].sends).remove(number as i32)
    }

    /// Wakes a rank that sleeps; to be called after what it waits for was published.
    #[inline]
    pub(crate) fn wake(&self, rank: u32) {
        // Orders the publication before the look at the sleeper, as the sleeper orders its
        // announcement before its last look for publications.
        fence(Ordering::SeqCst);
        self.wake_fenced(rank);
    }

    /// Wakes all of these.
    #[inline]
    pub(crate) fn wake_all(&self, ranks: &[u32]) {
        fence(Ordering::SeqCst);
        for rank in ranks {
            self.wake_fenced(*rank);
        }
    }

    #[inline]
    fn wake_fenced(&self, rank: u32) {
        let seat = &self.seats[rank as usize];
        if seat.state.load(Ordering::Relaxed) & ANNOUNCED != 0 {
            self.rouse(seat);
        }
    }

    #[cold]
    fn rouse(&self, seat: &Seat) {
        if seat.state.fetch_and(!ASLEEP, Ordering::SeqCst) & ANNOUNCED != 0
            && let Some(thread) = &*lock(&seat.thread)
        {
            thread.unpark();
        }
    }

    /// A rank will never call again.
    pub(crate) fn leave(&self, rank: u32) {
        if let Some(seat) = self.seats.get(rank as usize) {
            seat.state.fetch_or(GONE, Ordering::SeqCst);
            self.stops.gone(rank);
            // What waits for it can now be told from what only takes long.
            self.rouse_all();
        }
    }

    /// Tells that a rank is about to sleep. It looks once more for its work after this.
    pub(crate) fn announce(&self, rank: u32) {
        let seat = &self.seats[rank as usize];
        *lock(&seat.thread) = Some(std::thread::current());
        let sleeps = seat.state.load(Ordering::Relaxed) & !(SLEEP - 1);
        seat.state.store((sleeps + SLEEP) | ANNOUNCED, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A rank found work and does not sleep.
    pub(crate) fn stay(&self, rank: u32) {
        self.seats[rank as usize].state.fetch_and(!ASLEEP, Ordering::SeqCst);
    }

    /// Sleeps until somebody wakes the rank, which announced it; or for `limit` at most.
    pub(crate) fn sleep(&self, rank: u32, limit: Option<Duration>, waits: impl FnOnce() -> String) {
        let seat = &self.seats[rank as usize];
        match limit {
            Some(limit) => std::thread::park_timeout(limit),
            None => {
                *lock(&seat.waits) = waits();
                let announced = seat.state.load(Ordering::SeqCst);
                let asleep = announced | ASLEEP;
                let order = Ordering::SeqCst;
                if announced & ANNOUNCED == 0
                    || seat.state.compare_exchange(announced, asleep, order, order).is_err()
                {
                    return;
                }
                if self.config.deadlocks {
                    self.seek_deadlock();
                }
                while seat.state.load(Ordering::SeqCst) & ANNOUNCED != 0 {
                    std::thread::park();
                }
            }
        }
        self.stay(rank);
    }

    /// Ends the world if every rank sleeps or is gone.
    ///
    /// A rank sleeps only after it announced so and looked for work once more, and whoever gives
    /// it work wakes it before sleeping itself. Each sleep has a number: ranks that are seen in the
    /// same sleep twice slept together between the two looks, and then nobody is left to wake them.
    fn seek_deadlock(&self) {
        let look = || -> Option<Vec<u64>> {
            let states = self.seats.iter().map(|seat| seat.state.load(Ordering::SeqCst));
            states.map(|state| idle(state).then_some(state)).collect()
        };
        let Some(first) = look() else { return };
        if look().as_ref() != Some(&first) || self.state.load(Ordering::SeqCst) == OVER {
            return;
        }
        let mut waits = String::new();
        for (rank, seat) in self.seats.iter().enumerate().take(16) {
            let what = match first[rank] & GONE {
                0 => format!("rank {rank} waits in {}", lock(&seat.waits)),
                _ => format!("rank {rank} has finished"),
            };
            let comma = if rank == 0 { "" } else { ", " };
            let _ = write!(waits, "{comma}{what}");
        }
        if self.size > 16 {
            let _ = write!(waits, ", and {} more", self.size - 16);
        }
        self.abort(Abort::Deadlock { waits: waits.into() });
    }
}

impl World {
    /// What a rank that sleeps waits for.
    pub(crate) fn waits_in(&self, rank: u32) -> Option<String> {
        let seat = self.seats.get(rank as usize)?;
        let asleep = seat.state.load(Ordering::SeqCst) & ASLEEP == ASLEEP;
        asleep.then(|| lock(&seat.waits).clone())
    }

    /// Whether a rank will never call again.
    pub(crate) fn is_gone(&self, rank: u32) -> bool {
        let seat = self.seats.get(rank as usize);
        seat.is_none_or(|seat| seat.state.load(Ordering::SeqCst) & GONE != 0)
    }
}

fn idle(state: u64) -> bool {
    state & GONE != 0 || state & ASLEEP == ASLEEP
}

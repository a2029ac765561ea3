//! A layout on its way, at one site.

use super::{
    Shared,
    incoming::{Arrival, Arrived, Incoming},
    lock,
    member::Member,
    outgoing::{MAGIC, Outgoing, dial, lost, who},
};
use crate::{
    cell::Cell,
    door::Door,
    error::{Error, Result},
    run, wasi,
};
use api::{
    link::Transferred,
    tissue::{self, Layout, Purpose},
};
use mpi::{Placement, World, connection::Connections};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long one site waits for what others send in one step.
pub(super) const STEP_PATIENCE: Duration = Duration::from_secs(60);

/// How long a door stays open between the first step and the last.
const DOOR_PATIENCE: Duration = Duration::from_secs(600);

/// A layout on its way, at one site.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) here: u32,
    pub(super) layout: Layout,
    before: Option<Layout>,
    connections: Arc<Connections>,
    outgoing: Mutex<Vec<Outgoing>>,
    inbox: Mutex<Inbox>,
    /// Rings when something has come, or all is over.
    came: Condvar,
    aborted: AtomicBool,
    /// On which states come.
    streams: Mutex<Vec<TcpStream>>,
    /// Ranks that stay and have a seat in the new world.
    reserved: Mutex<Vec<u32>>,
}

/// What is there so far.
#[derive(Debug, Default)]
struct Inbox {
    /// Sites whose states have come whole.
    states: BTreeSet<u32>,
    /// Sites whose messages may come.
    lines: BTreeSet<u32>,
    members: Vec<Member>,
    /// Of the ranks that have come and of those that stay: what MPI knows of them.
    images: Vec<(u32, Vec<u8>)>,
    /// What belongs to no rank, of each site of the old layout.
    parts: Vec<Vec<u8>>,
    ended: Vec<(u32, u32)>,
    /// All are seated in it; nobody runs yet.
    world: Option<Arc<World>>,
    failure: Option<String>,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Stepped {
    /// Nothing to say.
    Done,
    /// It listens.
    Open {
        /// Here.
        address: SocketAddr,
        /// For those who show this.
        secret: String,
    },
    /// What was sent.
    Sent(Transferred),
    /// A snapshot of so many bytes was written.
    Written(u64),
}

/// What a step needs beside what it says.
#[derive(Debug, Clone)]
pub struct Means<'a> {
    /// Names the program, for those who connect.
    pub uid: &'a str,
    /// Which layout the step leads to.
    pub number: u64,
    /// Where to listen.
    pub listen: IpAddr,
    /// Snapshots to restore from, or the file for the one to be written.
    pub files: &'a [PathBuf],
}

impl Shared {
    /// A rank that comes here, without anything of its own yet.
    pub(super) fn make(self: &Arc<Self>, number: u32) -> Result<Member> {
        let maker = self.maker.as_ref().ok_or_else(not_a_part)?;
        Member::empty(self, number, self.config(number)?, &maker.limits)
    }

    pub(super) fn config(&self, number: u32) -> Result<wasi::Config> {
        (self.maker.as_ref().ok_or_else(not_a_part)?.config)(number)
    }

    pub(super) fn pending(&self, number: u64) -> Result<Arc<Move>> {
        let pending = lock(&self.pending).clone();
        pending
            .filter(|pending| pending.layout.number == number)
            .ok_or_else(|| Error::Handover(format!("layout {number} was not prepared here")))
    }
}

pub(super) fn not_a_part() -> Error {
    Error::Handover("it was not started for several sites: its ranks stay where they are".into())
}

impl Move {
    /// Makes room and listens.
    pub(super) fn prepare(
        shared: &Arc<Shared>,
        here: u32,
        layout: Layout,
        before: Option<Layout>,
        means: &Means<'_>,
    ) -> Result<Arc<Door>> {
        not_two(shared, &layout)?;
        if layout.places.len() != shared.size() as usize || means.number != layout.number {
            return Err(Error::Handover("the layout is that of another program".into()));
        }
        let held = lock(&shared.current).layout.clone();
        if before.as_ref().is_some_and(|before| before.has(here) && *before != held) {
            let number = held.number;
            return Err(Error::Handover(format!("the ranks here are in layout {number}")));
        }
        if before.is_some() {
            shared.program.unwind_area()?;
        }
        shared.sweep();
        let door = Door::open(MAGIC, means.uid, means.listen)
            .map_err(|error| Error::Handover(format!("cannot listen: {error}")))?;
        let door = Arc::new(door);
        let pending = Arc::new(Self {
            here,
            layout,
            before,
            connections: Connections::new(here),
            outgoing: Mutex::default(),
            inbox: Mutex::default(),
            came: Condvar::new(),
            aborted: AtomicBool::new(false),
            streams: Mutex::default(),
            reserved: Mutex::default(),
        });
        if !means.files.is_empty() {
            pending.read(shared, means.files)?;
        }
        *lock(&shared.pending) = Some(pending.clone());
        pending.attend(shared, &door)?;
        Ok(door)
    }

    /// Takes in those that connect, for as long as the move lasts.
    fn attend(self: &Arc<Self>, shared: &Arc<Shared>, door: &Arc<Door>) -> Result<()> {
        let (own, shared, door) = (Arc::downgrade(self), Arc::downgrade(shared), door.clone());
        let deadline = Instant::now() + DOOR_PATIENCE;
        let attend = move || loop {
            let over = || own.upgrade().is_none_or(|own| own.is_over());
            let Ok(stream) = door.accept(deadline, &over) else { return };
            let (Some(own), Some(shared)) = (own.upgrade(), shared.upgrade()) else { return };
            own.admit(&shared, stream);
        };
        spawn("door", attend)
    }

    /// Whether nobody is to come any more.
    fn is_over(&self) -> bool {
        let inbox = lock(&self.inbox);
        self.aborted.load(Ordering::Acquire) || self.is_complete(&inbox)
    }

    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        for stream in lock(&self.streams).drain(..) {
            // One that is closed already is what it shall be.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.came.notify_all();
    }

    /// Does something with the cells of ranks whose seats in the new world are reserved; they
    /// stand.
    pub(super) fn seat_changes(&self, shared: &Shared, change: fn(&mut Cell)) {
        for rank in std::mem::take(&mut *lock(&self.reserved)) {
            let changed = shared.gate.with(rank, move |cell| {
                change(cell);
                Ok(())
            });
            if let Err(error) = changed {
                tracing::warn!(rank, %error, "a rank is not in its world");
            }
        }
    }

    /// The number of the layout.
    pub(super) fn number(&self) -> u64 {
        self.layout.number
    }

    /// The world that was put together, if ranks come to be here.
    pub(super) fn take_world(&self) -> Result<Option<Arc<World>>> {
        let world = lock(&self.inbox).world.take();
        if world.is_none() && self.layout.has(self.here) {
            return Err(Error::Handover("the ranks have not arrived".into()));
        }
        Ok(world)
    }

    /// The ranks that have come, and of those that had ended before, how.
    pub(super) fn take_arrivals(&self) -> (Vec<Member>, Vec<(u32, u32)>) {
        let mut inbox = lock(&self.inbox);
        (std::mem::take(&mut inbox.members), std::mem::take(&mut inbox.ended))
    }

    /// Closes the ways to other sites.
    pub(super) fn hang_up(&self) {
        lock(&self.outgoing).clear();
    }

    /// Drops all that has come: the ranks stay where they are.
    pub(super) fn give_up(&self, shared: &Shared) {
        self.abort();
        self.seat_changes(shared, |cell| cell.keep_seat());
        self.hang_up();
        *lock(&self.inbox) = Inbox::default();
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    fn admit(self: &Arc<Self>, shared: &Arc<Shared>, stream: TcpStream) {
        let (own, shared) = (self.clone(), shared.clone());
        let serve = move || {
            let served = match who(&stream) {
                Ok((site, Purpose::States)) => own.receive(&shared, site, &stream),
                Ok((site, Purpose::Messages)) => own.connect_line(site, stream),
                Err(error) => Err(Error::Handover(error.to_string())),
            };
            if let Err(error) = served {
                own.fail(&types::chain(&error));
            }
        };
        if let Err(error) = spawn("arrival", serve) {
            self.fail(&error.to_string());
        }
    }

    fn fail(&self, reason: &str) {
        if !self.is_aborted() {
            tracing::info!(reason, "ranks did not arrive");
        }
        lock(&self.inbox).failure.get_or_insert_with(|| reason.to_owned());
        self.came.notify_all();
    }

    /// Sites that send their states here.
    fn sources(&self) -> impl Iterator<Item = u32> {
        let sites = self.before.as_ref().map(Layout::sites).unwrap_or_default();
        let comes = self.layout.has(self.here);
        sites.into_iter().filter(move |site| comes && *site != self.here)
    }

    /// Sites that exchange messages with this one.
    fn others(&self) -> impl Iterator<Item = u32> {
        let sites = if self.layout.has(self.here) { self.layout.sites() } else { Vec::new() };
        sites.into_iter().filter(|site| *site != self.here)
    }

    fn is_complete(&self, inbox: &Inbox) -> bool {
        self.sources().all(|site| inbox.states.contains(&site))
            && self.others().all(|site| inbox.lines.contains(&site))
    }

    fn is_at(layout: Option<&Layout>, rank: u32, site: u32) -> bool {
        layout.and_then(|layout| layout.places.get(rank as usize)) == Some(&site)
    }

    /// Ranks that are here and stay.
    fn staying(&self) -> impl Iterator<Item = u32> {
        self.layout.ranks(self.here).filter(|r| Self::is_at(self.before.as_ref(), *r, self.here))
    }

    /// Ranks that are here and go.
    pub(super) fn leaving(&self) -> impl Iterator<Item = u32> {
        let ranks = self.before.iter().flat_map(|before| before.ranks(self.here));
        ranks.filter(|rank| !Self::is_at(Some(&self.layout), *rank, self.here))
    }

    fn receive(&self, shared: &Arc<Shared>, site: u32, stream: &TcpStream) -> Result<()> {
        if !self.sources().any(|source| source == site) {
            return Err(Error::Handover(format!("site {site} has nothing to send")));
        }
        let own = stream.try_clone().map_err(|error| lost(site, &error))?;
        lock(&self.streams).push(own);
        let wanted = |rank| {
            Self::is_at(self.before.as_ref(), rank, site)
                && Self::is_at(Some(&self.layout), rank, self.here)
        };
        let arrived = Incoming::receive(shared, stream, &wanted, &|| self.is_aborted())?;
        self.take(arrived, Some(site));
        Ok(())
    }

    fn take(&self, arrived: Arrived, site: Option<u32>) {
        let mut inbox = lock(&self.inbox);
        inbox.parts.push(arrived.world);
        inbox.ended.extend(arrived.ended);
        let arrivals: Vec<Arrival> = arrived.members;
        for (member, image) in arrivals {
            inbox.images.push((member.number(), image));
            inbox.members.push(member);
        }
        inbox.states.extend(site);
        drop(inbox);
        self.came.notify_all();
    }

    /// Reads what a program is restored from.
    fn read(&self, shared: &Arc<Shared>, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let wanted = |rank| Self::is_at(Some(&self.layout), rank, self.here);
            self.take(Incoming::read(shared, run::open(file)?, &wanted)?, None);
        }
        Ok(())
    }

    fn connect_line(&self, site: u32, stream: TcpStream) -> Result<()> {
        if !self.others().any(|other| other == site) {
            return Err(Error::Handover(format!("site {site} has no ranks to talk to")));
        }
        let failed = |error: io::Error| lost(site, &error);
        let (reader, line) =
            (stream.try_clone().map_err(failed)?, stream.try_clone().map_err(failed)?);
        self.connections.connect(site, reader, line).map_err(Error::Mpi)?;
        // The greeting had its time; messages may take theirs.
        stream.set_read_timeout(None).map_err(failed)?;
        stream.set_write_timeout(None).map_err(failed)?;
        lock(&self.inbox).lines.insert(site);
        self.came.notify_all();
        Ok(())
    }

    /// Dials the sites that wait for this one.
    pub(super) fn connect(
        &self,
        shared: &Arc<Shared>,
        doors: &[tissue::Door],
        means: &Means<'_>,
    ) -> Result<Stepped> {
        let before = self.before.as_ref().filter(|before| before.has(self.here));
        let mut outgoing = Vec::new();
        for door in doors.iter().filter(|door| door.site != self.here) {
            if let Some(before) = before.filter(|_| self.layout.has(door.site)) {
                let layouts = (before, &self.layout);
                outgoing.push(Outgoing::open(shared, means.uid, door, self.here, layouts)?);
            }
            if door.site > self.here && self.others().any(|other| other == door.site) {
                let stream = dial(means.uid, door, Purpose::Messages, self.here)
                    .map_err(|error| lost(door.site, &error))?;
                self.connect_line(door.site, stream)?;
            }
        }
        *lock(&self.outgoing) = outgoing;
        Ok(Stepped::Done)
    }

    pub(super) fn copy(&self, shared: &Shared) -> Result<Stepped> {
        let mut told = Transferred::default();
        let begun = Instant::now();
        for outgoing in &mut *lock(&self.outgoing) {
            outgoing.copy(shared, &mut told)?;
        }
        told.total_us = begun.elapsed().as_micros() as u64;
        Ok(Stepped::Sent(told))
    }

    /// Sends the rest to the sites of the new layout, and keeps what stays.
    pub(super) fn send(&self, shared: &Arc<Shared>) -> Result<Stepped> {
        let mut told = Transferred::default();
        let begun = Instant::now();
        let world = shared.world().ok_or(Error::Ended { code: 0 })?;
        world.flush_links(STEP_PATIENCE).map_err(Error::Mpi)?;
        let part = world.save().map_err(Error::Mpi)?;
        for outgoing in &mut *lock(&self.outgoing) {
            outgoing.finish(shared, part.clone(), &mut told)?;
        }
        if self.layout.has(self.here) {
            lock(&self.inbox).parts.push(part);
        }
        let ends = shared.ends();
        for rank in self.staying().filter(|rank| ends[*rank as usize].is_none()) {
            let image = shared.gate.with(rank, Cell::save_seat)?;
            lock(&self.inbox).images.push((rank, image));
        }
        told.stop_us = begun.elapsed().as_micros() as u64;
        Ok(Stepped::Sent(told))
    }

    /// Waits for all that comes, and puts the world together.
    pub(super) fn arrive(&self, shared: &Arc<Shared>) -> Result<Stepped> {
        let mut inbox = self.wait_for_all()?;
        if inbox.world.is_some() || !self.layout.has(self.here) {
            return Ok(Stepped::Done);
        }
        let (members, images) =
            (std::mem::take(&mut inbox.members), std::mem::take(&mut inbox.images));
        let parts = std::mem::take(&mut inbox.parts);
        drop(inbox);
        let world = self.world(&parts)?;
        let members = match parts.is_empty() {
            true => self.seat_new(shared, &world)?,
            false => self.seat(shared, &world, members, images)?,
        };
        self.connections.attend(&world).map_err(Error::Mpi)?;
        let mut inbox = lock(&self.inbox);
        (inbox.members, inbox.world) = (members, Some(world));
        Ok(Stepped::Done)
    }

    fn wait_for_all(&self) -> Result<MutexGuard<'_, Inbox>> {
        let deadline = Instant::now() + STEP_PATIENCE;
        let mut inbox = lock(&self.inbox);
        loop {
            if let Some(failure) = &inbox.failure {
                return Err(Error::Handover(failure.clone()));
            }
            if self.is_aborted() {
                return Err(Error::Handover("the migration was aborted".into()));
            }
            if self.is_complete(&inbox) {
                return Ok(inbox);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = "not all sites of the program have come".to_owned();
                return Err(Error::Handover(reason));
            }
            inbox = self.came.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn world(&self, parts: &[Vec<u8>]) -> Result<Arc<World>> {
        let (size, config) = (self.layout.places.len() as u32, mpi::Config::default());
        let placement = Placement { here: self.here, sites: self.layout.places.clone() };
        let link = self.connections.clone();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        match parts.is_empty() {
            true => World::spread(size, config, placement, link),
            false => World::restored_spread(size, config, placement, link, &parts),
        }
        .map_err(Error::Mpi)
    }

    /// Ranks at the program's beginning.
    fn seat_new(&self, shared: &Arc<Shared>, world: &Arc<World>) -> Result<Vec<Member>> {
        let seat = |rank| {
            let mut member = shared.make(rank)?;
            member.cell().take_seat(world, rank)?;
            Ok(member)
        };
        self.layout.ranks(self.here).map(seat).collect()
    }

    /// Seats those that have come, and reserves the seats of those that stay.
    fn seat(
        &self,
        shared: &Arc<Shared>,
        world: &Arc<World>,
        mut members: Vec<Member>,
        images: Vec<(u32, Vec<u8>)>,
    ) -> Result<Vec<Member>> {
        for (rank, image) in images {
            match members.iter_mut().find(|member| member.number() == rank) {
                Some(member) => member.cell().restore_seat(world, rank, &image)?,
                None => {
                    let world = world.clone();
                    shared.gate.with(rank, move |cell| cell.reserve_seat(&world, rank, &image))?;
                    lock(&self.reserved).push(rank);
                }
            }
        }
        Ok(members)
    }
}

/// One layout is prepared at a time; what was not undone is void when a later one is.
fn not_two(shared: &Shared, layout: &Layout) -> Result<()> {
    let mut pending = lock(&shared.pending);
    match pending.as_ref() {
        Some(other) if other.layout.number >= layout.number && !other.is_aborted() => {
            let number = other.layout.number;
            Err(Error::Handover(format!("layout {number} is on its way already")))
        }
        _ => {
            if let Some(other) = pending.take() {
                other.abort();
            }
            Ok(())
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::runtime("cannot start a thread", error))
}

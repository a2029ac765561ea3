//! Messages between ranks of different sites.
//!
//! Short ones are copied at once, as many as their receiver's site has room for; it tells how much
//! that is. The others are announced and wait at their sender. Whoever receives one asks for it,
//! and its bytes come piece by piece and go straight to where they belong.

use super::{
    Incoming, Sites,
    courier::{Job, Outgoing},
    frame::Frame,
};
use crate::{
    Config,
    memory::Space,
    ring::Header,
    transfer::{Pieces, Span},
    world::{Body, Waiting, World, lock},
};
use std::sync::{Arc, atomic::Ordering};

/// What a sender may have on its way to a receiver, beyond its ring there.
const WINDOW_BYTES: u64 = 1 << 20;
/// Messages that may wait at one other site.
const ANNOUNCED_MAX: usize = 1 << 20;

/// What is wrong with a frame.
pub(crate) type Wrong = &'static str;

/// What a message takes of the window.
pub(crate) fn cost(bytes: usize) -> u64 {
    bytes as u64 + 64
}

/// A message on its way, as it is told to others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) context: u32,
    pub(crate) tag: i32,
}

impl Sites {
    fn pair(&self, from: u32, to: u32) -> usize {
        from as usize * self.of.len() + to as usize
    }

    /// Whether a receiver elsewhere has room for a short message, after `sent` bytes of others.
    pub(crate) fn has_room(&self, from: u32, to: u32, sent: u64, bytes: usize) -> bool {
        let acknowledged = self.acknowledged[self.pair(from, to)].load(Ordering::Relaxed);
        sent.saturating_sub(acknowledged) + cost(bytes) <= WINDOW_BYTES
    }

    /// Sends a message at once.
    pub(crate) fn eager(&self, world: &World, address: Address, bytes: &[u8]) {
        let Address { from, to, context, tag } = address;
        self.send(world, self.of(to), &Frame::Eager { from, to, context, tag, bytes });
    }

    /// Tells a receiver of a message that waits.
    pub(crate) fn announce(&self, world: &World, address: Address, waiting: &Arc<Waiting>) {
        let Address { from, to, context, tag } = address;
        let site = self.of(to);
        self.offer(waiting);
        let (bytes, number) = (waiting.bytes, waiting.number);
        self.send(world, site, &Frame::Announce { from, to, context, tag, bytes, number });
    }

    /// Keeps a message until its receiver's site asks for it, which alone can say from now on
    /// whether it still waits.
    pub(crate) fn offer(&self, waiting: &Arc<Waiting>) {
        if let Some(peer) = self.peer(self.of(waiting.receiver)) {
            lock(&peer.offers).insert(waiting.name(), Arc::clone(waiting));
        }
    }

    /// Keeps in mind a message that waits elsewhere, for its sender may want it back; false if
    /// there are too many.
    pub(crate) fn expect(&self, waiting: &Arc<Waiting>) -> bool {
        let Some(peer) = self.peer(self.of(waiting.sender)) else { return false };
        let mut desk = lock(&peer.desk);
        let room = desk.announced.len() < ANNOUNCED_MAX;
        if room {
            desk.announced.insert(waiting.name(), Arc::downgrade(waiting));
        }
        room
    }

    /// Asks for a message that waits elsewhere, which was claimed.
    pub(crate) fn ask(
        &self,
        world: &World,
        (me, space): (u32, &Space),
        waiting: &Waiting,
        span: &Span,
    ) -> Arc<Incoming> {
        let site = self.of(waiting.sender);
        if let Some(peer) = self.peer(site) {
            lock(&peer.desk).announced.remove(&waiting.name());
        }
        let limit = waiting.bytes.min(span.bytes());
        let (ticket, incoming) = self.ticket(site, me, space, Pieces::new(span.clone(), limit));
        let (from, number) = waiting.name();
        self.send(world, site, &Frame::Ask { from, number, ticket, limit });
        incoming
    }

    /// Asks for a message of our own that was announced to a site.
    pub(crate) fn take_back(&self, world: &World, waiting: &Waiting) {
        let (from, number) = waiting.name();
        self.send(world, self.of(waiting.receiver), &Frame::Cancel { from, number });
    }

    fn checked(&self, site: u32, address: &Address) -> Result<(), Wrong> {
        let from = self.of.get(address.from as usize);
        let to = self.of.get(address.to as usize);
        match from == Some(&site) && to == Some(&self.here) {
            true => Ok(()),
            false => Err("has a message of ranks that are not there"),
        }
    }

    pub(super) fn eager_came(
        &self,
        world: &World,
        site: u32,
        address: Address,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        self.checked(site, &address)?;
        if bytes.len() > Config::EAGER_BYTES_MAX {
            return Err("has a message that is too long to be copied at once");
        }
        self.queue(world, site, address, None, bytes)
    }

    pub(super) fn announce_came(
        &self,
        world: &World,
        site: u32,
        address: Address,
        (bytes, number): (u64, u64),
    ) -> Result<(), Wrong> {
        self.checked(site, &address)?;
        if bytes > u64::from(u32::MAX) * 4 {
            return Err("announces a message that is larger than any memory");
        }
        let route = (address.from, address.to);
        let waiting = Arc::new(Waiting::new(route, number, bytes, Body::Away));
        if !self.expect(&waiting) {
            return Err("announces more messages than may wait");
        }
        self.queue(world, site, address, Some(world.offer(&waiting)), &[])
    }

    /// Puts a message into the ring of its ranks, and tells its site of room there.
    fn queue(
        &self,
        world: &World,
        site: u32,
        address: Address,
        waiting: Option<u32>,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let Some(peer) = self.peer(site) else { return Err("comes from nowhere") };
        let Address { from, to, context, tag } = address;
        let header = Header { context, tag, len: bytes.len() as u32, waiting };
        let ring = world.ring_to(from, to);
        let mut desk = lock(&peer.desk);
        let lane = desk.lanes.entry((from, to)).or_default();
        if waiting.is_none() {
            lane.delivered += cost(bytes.len());
        }
        // What the engine says to itself goes beyond the window, and is little.
        if lane.delivered - lane.granted > 2 * WINDOW_BYTES {
            return Err("has a message for which there is no room");
        }
        lane.producer.push(ring, header, bytes);
        // Whoever announces may do so because it was told of no room.
        let due = lane.delivered - lane.granted;
        let enough = if waiting.is_some() { 1 } else { WINDOW_BYTES / 4 };
        let room = ring.backlog_bytes() == 0 && world.may_keep_more(to);
        let grant = (due >= enough && room).then_some(lane.delivered);
        lane.granted = grant.unwrap_or(lane.granted);
        drop(desk);
        world.wake(to);
        match grant {
            Some(bytes) => self.send_later(site, &Frame::Credit { from, to, bytes }),
            None => Ok(()),
        }
    }

    pub(super) fn credit_came(
        &self,
        site: u32,
        from: u32,
        to: u32,
        bytes: u64,
    ) -> Result<(), Wrong> {
        let address = Address { from: to, to: from, context: 0, tag: 0 };
        self.checked(site, &address)?;
        self.acknowledged[self.pair(from, to)].fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn ask_came(
        &self,
        site: u32,
        name: (u32, u64),
        ticket: u32,
        limit: u64,
    ) -> Result<(), Wrong> {
        let Some(peer) = self.peer(site) else { return Err("comes from nowhere") };
        let waiting = lock(&peer.offers).remove(&name);
        let waiting = waiting.filter(|waiting| waiting.claim());
        let waiting = waiting.ok_or("asks for a message that does not wait here")?;
        peer.courier.answer(Job::Message(Outgoing::new(ticket, waiting, limit)))
    }

    pub(super) fn cancel_came(&self, site: u32, name: (u32, u64)) -> Result<(), Wrong> {
        let peer = self.peer(site).ok_or("comes from nowhere")?;
        let waiting = lock(&peer.desk).announced.remove(&name);
        let yes = waiting.and_then(|waiting| waiting.upgrade()).is_some_and(|w| w.cancel());
        let ((from, number), yes) = (name, u8::from(yes));
        self.send_later(site, &Frame::Cancelled { from, number, yes })
    }

    pub(super) fn cancelled_came(&self, world: &World, site: u32, name: (u32, u64), yes: bool) {
        let Some(peer) = self.peer(site).filter(|_| yes) else { return };
        let waiting = lock(&peer.offers).remove(&name);
        if let Some(waiting) = waiting {
            waiting.cancel();
            world.wake(waiting.sender);
        }
    }

    /// The answer that a ticket stands for.
    fn incoming(&self, site: u32, ticket: u32) -> Result<Arc<Incoming>, Wrong> {
        let known = lock(&self.tickets).get(ticket as i32).cloned();
        known.filter(|known| known.site == site).ok_or("answers what nobody asked")
    }

    pub(super) fn data_came(
        &self,
        world: &World,
        site: u32,
        (ticket, offset): (u32, u64),
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let incoming = self.incoming(site, ticket)?;
        let mut into = lock(&incoming.into);
        if offset != into.0.done() || bytes.is_empty() || bytes.len() as u64 > into.0.left() {
            return Err("has other bytes than were asked for");
        }
        let copied = into.0.unpack(&incoming.space, bytes);
        let over = into.0.left() == 0 || copied.is_err();
        if copied.is_err() {
            into.1 = copied;
        }
        drop(into);
        match over {
            true => self.conclude(world, ticket, &incoming),
            false => world.wake(incoming.rank),
        }
        Ok(())
    }

    pub(super) fn done_came(&self, world: &World, site: u32, ticket: u32) -> Result<(), Wrong> {
        let incoming = self.incoming(site, ticket)?;
        if lock(&incoming.into).0.left() > 0 {
            return Err("leaves out bytes that were asked for");
        }
        self.conclude(world, ticket, &incoming);
        let _guard = lock(&self.answered.0);
        self.answered.1.notify_all();
        Ok(())
    }

    fn conclude(&self, world: &World, ticket: u32, incoming: &Incoming) {
        lock(&self.tickets).remove(ticket as i32);
        incoming.over.store(true, Ordering::Release);
        world.wake(incoming.rank);
    }
}

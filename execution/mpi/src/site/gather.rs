//! Collectives of members at several sites.
//!
//! Each site has a replica of a communicator's rounds. What a member offers goes as bytes, once, to
//! every site whose members read it; there it is as if the member were a neighbour whose buffer is
//! never written again. So nobody waits for members elsewhere to have read. A site tells when its
//! members have left a round: until then what was sent in it counts against what may be sent.

use super::{CHUNK_BYTES, Sites, frame::Frame, letter::Wrong};
use crate::{
    FUNCTIONS, abi,
    collective::{FAST_BYTES, Needs, Operation, Round},
    communicator::Shared,
    engine::{Cb, Engine},
    error::{Result, fault},
    mail::Envelope,
    memory::Space,
    offer::{Entry, Offer, Source},
    transfer::Pieces,
    world::{CONTEXTS_MAX, World, lock},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What the members of one site may have sent to another in rounds that are not the oldest.
const AHEAD_BYTES: u64 = 16 << 20;
const AHEAD_ROUNDS: usize = 256;
/// What one site may make another hold in all.
const HELD_BYTES: u64 = 16 << 30;

const NOTHING: u8 = 0;
const DATA: u8 = 1;
const ROWS: u8 = 2;

/// Another site of a communicator.
#[derive(Debug)]
struct Other {
    site: u32,
    /// Whether it has the communicator.
    made: AtomicBool,
    /// Bytes that it was sent, by rounds that it has not left.
    ahead: Mutex<BTreeMap<u64, u64>>,
    /// Rounds here that have entries of its members.
    opened: AtomicUsize,
}

/// Where the members of a communicator are.
#[derive(Debug)]
pub(crate) struct Spread {
    /// The members at this site, in order.
    near: Vec<usize>,
    /// The site of each member.
    sites: Vec<u32>,
    others: Vec<Other>,
    ready: AtomicBool,
}

impl Spread {
    /// Where these members are; nothing if all are here.
    pub(crate) fn of(sites: &Sites, members: &[u32]) -> Option<Self> {
        let places: Vec<u32> = members.iter().map(|member| sites.of(*member)).collect();
        let mut others: Vec<u32> = places.iter().copied().filter(|at| *at != sites.here).collect();
        others.sort_unstable();
        others.dedup();
        let other = |site| Other {
            site,
            made: AtomicBool::new(false),
            ahead: Mutex::default(),
            opened: AtomicUsize::new(0),
        };
        let near = (0..members.len()).filter(|member| places[*member] == sites.here).collect();
        (!others.is_empty()).then(|| Self {
            near,
            others: others.into_iter().map(other).collect(),
            ready: AtomicBool::new(false),
            sites: places,
        })
    }

    /// The members at this site, in order.
    pub(crate) fn near(&self) -> &[usize] {
        &self.near
    }

    pub(crate) fn is_near(&self, member: usize) -> bool {
        self.near.binary_search(&member).is_ok()
    }

    /// The other sites.
    pub(crate) fn others(&self) -> impl Iterator<Item = u32> + '_ {
        self.others.iter().map(|other| other.site)
    }

    fn other(&self, site: u32) -> Option<&Other> {
        self.others.iter().find(|other| other.site == site)
    }

    /// A site has the communicator.
    pub(crate) fn made_at(&self, site: u32) {
        if let Some(other) = self.other(site) {
            other.made.store(true, Ordering::Release);
        }
        let ready = self.others.iter().all(|other| other.made.load(Ordering::Acquire));
        self.ready.store(ready, Ordering::Release);
    }

    /// The members at other sites that have the communicator.
    pub(crate) fn made(&self) -> Vec<usize> {
        let made = |site| self.other(site).is_some_and(|o| o.made.load(Ordering::Acquire));
        (0..self.sites.len()).filter(|member| made(self.sites[*member])).collect()
    }

    /// Whether all sites have the communicator.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Places among the other sites of those that read an entry.
    pub(crate) fn readers(&self, audience: Needs) -> Vec<usize> {
        let at = |member: usize| self.others.iter().position(|o| o.site == self.sites[member]);
        match audience {
            Needs::All => (0..self.others.len()).collect(),
            Needs::One(member) => at(member).into_iter().collect(),
            Needs::None => Vec::new(),
        }
    }
}

impl Other {
    /// Whether so many bytes may be sent in a round; if so they are counted.
    fn admit(&self, round: u64, bytes: u64) -> bool {
        if !self.made.load(Ordering::Acquire) {
            return false;
        }
        let mut ahead = lock(&self.ahead);
        let oldest = ahead.keys().next().is_none_or(|oldest| *oldest >= round);
        let total = ahead.values().fold(bytes, |total, bytes| total.saturating_add(*bytes));
        let admitted = oldest || total <= AHEAD_BYTES && ahead.len() < AHEAD_ROUNDS;
        if admitted {
            *ahead.entry(round).or_default() += bytes;
        }
        admitted
    }
}

/// An entry of which not all has come.
#[derive(Debug)]
pub(crate) struct Partial {
    function: &'static str,
    root: i32,
    kind: u8,
    lengths: Vec<u64>,
    total: u64,
    bytes: Vec<u8>,
}

impl Partial {
    /// The entry, for the members at this site.
    fn entry(self, spread: &Spread) -> Option<Entry> {
        let offer = match self.kind {
            NOTHING => Offer::Nothing,
            DATA => Offer::Data(self.bytes),
            _ => {
                if self.lengths.len() != spread.near.len() {
                    return None;
                }
                let mut rows = BTreeMap::new();
                let mut rest = &*self.bytes;
                for (member, len) in spread.near.iter().zip(self.lengths) {
                    let (row, more) = rest.split_at_checked(len as usize)?;
                    rows.insert(*member, row.to_vec());
                    rest = more;
                }
                Offer::Rows(rows)
            }
        };
        Some(Entry { function: self.function, root: self.root, offer, result: None })
    }
}

/// The parts of an offer that members at a site read, and how it is to be put together there.
fn parts<'a>(offer: &'a Offer, wanted: &[usize]) -> (u8, Vec<Source<'a>>) {
    match offer {
        Offer::Nothing => (NOTHING, Vec::new()),
        Offer::Same(span) => (DATA, vec![Source::Span(span)]),
        Offer::Data(bytes) => (DATA, vec![Source::Bytes(bytes)]),
        Offer::Each(spans) => {
            (ROWS, wanted.iter().map(|member| Source::Span(&spans[*member])).collect())
        }
        Offer::Rows(rows) => {
            let row = |member| rows.get(member).map_or(&[][..], |row| &**row);
            (ROWS, wanted.iter().map(|member| Source::Bytes(row(member))).collect())
        }
    }
}

/// Gives the bytes of some parts in chunks, at least one.
fn chunks(space: &Space, parts: &[Source<'_>], mut each: impl FnMut(&[u8])) -> Result {
    let mut row = Vec::new();
    for part in parts {
        match part {
            Source::Bytes(bytes) => {
                let mut bytes = *bytes;
                while row.len() + bytes.len() > CHUNK_BYTES {
                    let (first, rest) = bytes.split_at(CHUNK_BYTES - row.len());
                    row.extend_from_slice(first);
                    each(&row);
                    row.clear();
                    bytes = rest;
                }
                row.extend_from_slice(bytes);
            }
            Source::Span(span) => {
                let mut pieces = Pieces::new((*span).clone(), u64::MAX);
                while pieces.left() > 0 {
                    if row.len() == CHUNK_BYTES {
                        each(&row);
                        row.clear();
                    }
                    let before = pieces.done();
                    pieces.pack(space, (CHUNK_BYTES - row.len()) as u64, &mut row)?;
                    if pieces.done() == before {
                        break;
                    }
                }
            }
        }
    }
    each(&row);
    Ok(())
}

fn number_of(function: &str) -> u16 {
    FUNCTIONS.iter().position(|name| *name == function).unwrap_or(usize::MAX) as u16
}

impl Operation {
    /// Sends this member's entry to the sites that read it and have room for it now.
    pub(crate) fn publish(&mut self, engine: &Engine) -> Result {
        let Some(sites) = engine.world.sites.as_deref() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let Some(spread) = &shared.spread else { return Ok(()) };
        let Some(entry) = self.round.entry(self.me) else { return Ok(()) };
        let mut result = Ok(());
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.retain(|place| {
            let other = &spread.others[*place];
            let at = |member: &usize| spread.sites[*member] == other.site;
            let wanted: Vec<usize> = (0..spread.sites.len()).filter(at).collect();
            let (kind, parts) = parts(&entry.offer, &wanted);
            let bytes = |part: &Source<'_>| match part {
                Source::Span(span) => span.bytes(),
                Source::Bytes(bytes) => bytes.len() as u64,
            };
            let lengths: Vec<u64> = parts.iter().map(bytes).collect();
            if !other.admit(self.number, lengths.iter().sum()) {
                return true;
            }
            let (context, round, member) = (shared.context, self.number, self.me as u32);
            let (function, root) = (number_of(entry.function), entry.root);
            let mut lengths = Some(lengths);
            let sent = chunks(&engine.space, &parts, |bytes| {
                let frame = match lengths.take() {
                    Some(lengths) => Frame::Entry {
                        context,
                        round,
                        member,
                        function,
                        root,
                        kind,
                        lengths,
                        bytes,
                    },
                    None => Frame::Part { context, round, member, bytes },
                };
                sites.send(&engine.world, other.site, &frame);
            });
            if sent.is_err() {
                result = sent;
            }
            false
        });
        self.unsent = unsent;
        result
    }
}

impl Engine {
    /// Sends a contribution to a small collective to all other sites.
    #[cold]
    pub(crate) fn meet_beyond(
        &self,
        shared: &Shared,
        (member, round): (usize, u64),
        code: u64,
        bytes: &[u8],
    ) {
        let (Some(sites), Some(spread)) = (self.world.sites.as_deref(), &shared.spread) else {
            return;
        };
        let (context, member) = (shared.context, member as u32);
        for site in spread.others() {
            let frame = Frame::Slot { context, round, member, code, bytes };
            sites.send(&self.world, site, &frame);
        }
    }

    /// Tells the sites whose members sent something in a round that it is over here.
    pub(crate) fn leave_beyond(&self, shared: &Shared, round: u64, held: BTreeMap<u32, u64>) {
        let Some(sites) = self.world.sites.as_deref() else { return };
        for (site, bytes) in held {
            if let Some(peer) = sites.peer(site) {
                peer.held.fetch_sub(bytes, Ordering::Relaxed);
            }
            if let Some(other) = shared.spread.as_ref().and_then(|spread| spread.other(site)) {
                other.opened.fetch_sub(1, Ordering::Relaxed);
            }
            let context = shared.context;
            sites.send(&self.world, site, &Frame::Left { context, round });
        }
    }

    /// A context that comes from the first of some members, for a communicator that they make
    /// without the others of its parent.
    pub(crate) fn agree(
        &mut self,
        cb: Cb<'_>,
        parent: &Shared,
        tag: i32,
        members: &[u32],
    ) -> Result<u32> {
        let context = parent.context | CONTEXTS_MAX;
        if members[0] == self.me {
            let new = self.world.new_context(self.me)?;
            for member in &members[1..] {
                self.mail.push(&self.world, *member, context, tag, &new.to_le_bytes());
            }
            return Ok(new);
        }
        let envelope = Envelope {
            shared: Arc::new(Shared::new(context, parent.members.clone())),
            source: 0,
            world_source: Some(members[0]),
            tag,
        };
        let waits = |engine: &Self| engine.function.to_owned();
        let bytes = self.block(cb, waits, |engine, _| Ok(engine.mail.take_bytes(&envelope)))?;
        let word = bytes.first_chunk().copied();
        let unreadable = || fault(abi::ERR_INTERN, "a communicator was told without number");
        Ok(u32::from_le_bytes(word.ok_or_else(unreadable)?))
    }
}

/// An entry's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) context: u32,
    pub(super) round: u64,
    pub(super) member: u32,
}

/// What an entry begins with.
pub(super) struct Head {
    pub(super) function: u16,
    pub(super) root: i32,
    pub(super) kind: u8,
    pub(super) lengths: Vec<u64>,
}

impl Sites {
    /// The communicator of a frame, if its members here know it, and the member is at its site.
    fn checked_member(
        &self,
        world: &World,
        site: u32,
        context: u32,
        member: u32,
    ) -> Result<Option<Arc<Shared>>, Wrong> {
        let Some(shared) = world.communicator(context) else { return Ok(None) };
        let spread = shared.spread.as_ref().ok_or("acts in a communicator of others")?;
        match spread.sites.get(member as usize) == Some(&site) {
            true => Ok(Some(shared)),
            false => Err("acts for a member that is not there"),
        }
    }

    pub(super) fn entry_came(
        &self,
        world: &World,
        site: u32,
        at: At,
        head: Head,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let function = FUNCTIONS.get(usize::from(head.function));
        let total = head.lengths.iter().try_fold(0_u64, |total, len| total.checked_add(*len));
        let (Some(function), Some(total)) = (function, total.filter(|total| *total < 1 << 40))
        else {
            return Err("has an entry of no collective");
        };
        let lengths = match head.kind {
            NOTHING => 0..1,
            DATA => 1..2,
            ROWS => 0..usize::MAX,
            _ => 0..0,
        };
        if !lengths.contains(&head.lengths.len()) || bytes.len() as u64 > total {
            return Err("has an entry of no collective");
        }
        let partial = Partial {
            function,
            root: head.root,
            kind: head.kind,
            lengths: head.lengths,
            total,
            bytes: Vec::new(),
        };
        self.part_of(world, site, at, partial, bytes)
    }

    pub(super) fn part_came(
        &self,
        world: &World,
        site: u32,
        at: At,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let Some(peer) = self.peer(site) else { return Err("comes from nowhere") };
        let partial = lock(&peer.desk).partial.remove(&(at.context, at.round, at.member));
        let partial = partial.ok_or("has more of an entry that did not begin")?;
        self.part_of(world, site, at, partial, bytes)
    }

    fn part_of(
        &self,
        world: &World,
        site: u32,
        at: At,
        mut partial: Partial,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let Some(peer) = self.peer(site) else { return Err("comes from nowhere") };
        if partial.bytes.len() as u64 + bytes.len() as u64 > partial.total {
            return Err("has more of an entry than it told");
        }
        let len = bytes.len() as u64;
        if peer.held.fetch_add(len, Ordering::Relaxed) + len > HELD_BYTES {
            return Err("sends more in collectives than may be held");
        }
        partial.bytes.extend_from_slice(bytes);
        if (partial.bytes.len() as u64) < partial.total {
            // A member sends one entry whole before it begins with another.
            let mut desk = lock(&peer.desk);
            if desk.partial.len() >= self.of.len() {
                return Err("begins more entries than it has members");
            }
            desk.partial.insert((at.context, at.round, at.member), partial);
            return Ok(());
        }
        let held = partial.total;
        let kept = match self.checked_member(world, site, at.context, at.member)? {
            Some(shared) => enter(&shared, site, at, partial, held)?.then_some(shared),
            None => None,
        };
        if let Some(shared) = kept {
            world.wake_all(&shared.members);
            return Ok(());
        }
        peer.held.fetch_sub(held, Ordering::Relaxed);
        self.send_later(site, &Frame::Left { context: at.context, round: at.round })
    }

    pub(super) fn left_came(&self, world: &World, site: u32, context: u32, round: u64) {
        let Some(shared) = world.communicator(context) else { return };
        let Some(spread) = &shared.spread else { return };
        if let Some(other) = spread.other(site) {
            lock(&other.ahead).remove(&round);
            world.wake_all(&shared.members);
        }
    }

    pub(super) fn slot_came(
        &self,
        world: &World,
        site: u32,
        at: At,
        code: u64,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let Some(shared) = self.checked_member(world, site, at.context, at.member)? else {
            return Ok(());
        };
        let (fast, member) = (shared.fast(), at.member as usize);
        if bytes.len() > FAST_BYTES || !fast.is_next(member, at.round) {
            return Err("has a contribution out of turn");
        }
        fast.write(member, at.round, code, bytes);
        world.wake_all(&shared.members);
        Ok(())
    }
}

/// Puts an entry into its round; false if nobody here waits for it any more.
fn enter(shared: &Shared, site: u32, at: At, partial: Partial, held: u64) -> Result<bool, Wrong> {
    let Some(spread) = &shared.spread else { return Ok(false) };
    let entry = partial.entry(spread).ok_or("has an entry of no collective")?;
    let mut rounds = lock(&shared.rounds);
    if !rounds.contains_key(&at.round) && shared.all_entered(at.round) {
        return Ok(false);
    }
    let new = || Arc::new(Round::new(shared.members.len()));
    let round = Arc::clone(rounds.entry(at.round).or_insert_with(new));
    let mut held_in = lock(&round.held);
    let first = !held_in.contains_key(&site);
    let other = spread.other(site).filter(|_| first);
    if other.is_some_and(|other| other.opened.fetch_add(1, Ordering::Relaxed) > AHEAD_ROUNDS) {
        return Err("is too many rounds ahead");
    }
    *held_in.entry(site).or_default() += held;
    match round.enter(at.member as usize, entry) {
        true => Ok(true),
        false => Err("enters a round twice"),
    }
}

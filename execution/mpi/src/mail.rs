//! Messages between two ranks: what was sent, what was asked for, and which belong together.

mod saved;

use crate::{
    abi,
    communicator::Shared,
    error::{Fault, Result, fault},
    memory::Space,
    ring::{Consumer, Header, Producer, Ring},
    site::{
        Incoming,
        letter::{self, Address},
    },
    table::Table,
    transfer::{self, Span},
    world::{Body, Waiting, World},
};
use std::{collections::VecDeque, sync::Arc};

/// What is known of a finished operation: the fields of `MPI_Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) source: i32,
    pub(crate) tag: i32,
    pub(crate) error: i32,
    pub(crate) cancelled: bool,
    pub(crate) bytes: u64,
}

impl Status {
    /// The status of what has no message.
    pub(crate) const EMPTY: Self = Self {
        source: abi::ANY_SOURCE,
        tag: abi::ANY_TAG,
        error: abi::SUCCESS,
        cancelled: false,
        bytes: 0,
    };
    /// The status of a receive from MPI_PROC_NULL.
    pub(crate) const NOBODY: Self = Self { source: abi::PROC_NULL, ..Self::EMPTY };
}

/// Which messages a receive or a probe asks for.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) shared: Arc<Shared>,
    /// The source by its rank in the communicator, or any.
    pub(crate) source: i32,
    /// The same by its rank in the world.
    pub(crate) world_source: Option<u32>,
    pub(crate) tag: i32,
}

impl Envelope {
    #[inline]
    fn matches(&self, from: u32, context: u32, tag: i32) -> bool {
        self.shared.context == context
            && self.world_source.is_none_or(|source| source == from)
            && (self.tag == tag || self.tag == abi::ANY_TAG)
    }

    fn status(&self, from: u32, tag: i32, bytes: u64) -> Status {
        let source = match self.source {
            abi::ANY_SOURCE => self.shared.rank_of(from).map_or(abi::UNDEFINED, |rank| rank as i32),
            source => source,
        };
        Status { source, tag, bytes, ..Status::EMPTY }
    }
}

/// How an operation ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) fault: Option<Fault>,
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        Self { status, fault: None }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(crate) enum Work {
    /// A persistent request that was not started.
    Inactive,
    /// A message that waits for its receiver.
    Send(Arc<Waiting>),
    /// A receive that was posted.
    Receive,
    /// A collective.
    Collective,
    /// It is over.
    Done(Ending),
}

/// What `MPI_Start` does.
#[derive(Debug, Clone)]
pub(crate) enum Template {
    Send { mode: Mode, span: (u32, i32, i32), to: i32, tag: i32, communicator: i32 },
    Receive { span: (u32, i32, i32), source: i32, tag: i32, communicator: i32 },
}

/// The four modes of sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Standard,
    Synchronous,
    Buffered,
    Ready,
}

/// What stands behind a request handle.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) template: Option<Template>,
    /// The communicator or window whose error handler is asked.
    pub(crate) communicator: i32,
    /// Whether its handle was freed before it ended.
    pub(crate) orphan: bool,
}

#[derive(Debug)]
struct Posted {
    request: i32,
    envelope: Envelope,
    span: Span,
}

#[derive(Debug)]
enum Content {
    Here(Box<[u8]>),
    There(Arc<Waiting>),
}

/// A message that nobody asked for yet.
#[derive(Debug)]
pub(crate) struct Message {
    from: u32,
    context: u32,
    tag: i32,
    content: Content,
}

impl Message {
    fn bytes(&self) -> u64 {
        match &self.content {
            Content::Here(bytes) => bytes.len() as u64,
            Content::There(waiting) => waiting.bytes,
        }
    }

    /// What it takes of the host's memory.
    fn cost(&self) -> u64 {
        match &self.content {
            Content::Here(bytes) => letter::cost(bytes.len()),
            Content::There(_) => 0,
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(&self.content, Content::There(waiting) if waiting.is_cancelled())
    }
}

/// The messages of one rank.
#[derive(Debug)]
pub(crate) struct Mail {
    me: u32,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    posted: Vec<Posted>,
    unexpected: VecDeque<Message>,
    /// Bytes of these that are here, and what senders elsewhere were told of them.
    kept: u64,
    told: u64,
    pub(crate) requests: Table<Request>,
    /// How many messages waited so far.
    waited: u64,
    /// Messages that `MPI_Mprobe` took out, with the envelope that found them.
    pub(crate) found: Table<(Message, Envelope)>,
    /// Messages that were asked for and are on their way from other sites.
    coming: Vec<Coming>,
    /// Bytes that were sent at once to ranks of other sites.
    sent: Vec<u64>,
    pub(crate) scratch: Vec<u8>,
}

/// A message that comes from another site into the buffer of a request.
#[derive(Debug)]
struct Coming {
    request: i32,
    incoming: Arc<Incoming>,
    status: Status,
    span: Span,
}

/// What became of a message that was taken.
#[derive(Debug)]
pub(crate) enum Taken {
    Here(Ending),
    /// It comes from another site.
    Coming(Arc<Incoming>, Status),
}

/// What the shortest way to a message finds.
pub(crate) enum Direct {
    Here(Ending),
    NotYet,
    /// Something is in the way: the message is to be matched as all are.
    No,
}

/// Ends a receive whose bytes were copied, or were not.
fn ending(mut status: Status, span: &Span, copied: Result) -> Ending {
    let result = copied.and_then(|()| transfer::fits(status.bytes, span.bytes()));
    let Err(fault) = result else { return status.into() };
    if let Fault::Failure(failure) = &fault {
        status.error = failure.class;
    }
    status.bytes = status.bytes.min(span.bytes());
    Ending { status, fault: Some(fault) }
}

impl Mail {
    pub(crate) fn new(me: u32, size: usize) -> Self {
        Self {
            me,
            producers: (0..size).map(|_| Producer::default()).collect(),
            consumers: (0..size).map(|_| Consumer::default()).collect(),
            posted: Vec::new(),
            unexpected: VecDeque::new(),
            kept: 0,
            told: 0,
            requests: Table::default(),
            waited: 0,
            found: Table::new(2),
            coming: Vec::new(),
            sent: vec![0; size],
            scratch: Vec::new(),
        }
    }

    /// Whether a short message may be copied to its receiver at once.
    #[inline]
    pub(crate) fn has_room(&self, world: &World, to: u32, bytes: usize) -> bool {
        match world.beyond(to) {
            Some(sites) => sites.has_room(self.me, to, self.sent[to as usize], bytes),
            None => world.ring_to(self.me, to).backlog_bytes() < world.config().backlog_bytes_max,
        }
    }

    /// Queues bytes at their receiver, which is awake afterwards.
    #[inline]
    pub(crate) fn push(&mut self, world: &World, to: u32, context: u32, tag: i32, bytes: &[u8]) {
        if let Some(sites) = world.beyond(to) {
            self.sent[to as usize] += letter::cost(bytes.len());
            return sites.eager(world, Address { from: self.me, to, context, tag }, bytes);
        }
        let header = Header { context, tag, len: bytes.len() as u32, waiting: None };
        self.producers[to as usize].push(world.ring_to(self.me, to), header, bytes);
        world.wake(to);
    }

    /// A message of this rank that waits for its receiver.
    pub(crate) fn waiting(&mut self, to: u32, bytes: u64, body: Body) -> Arc<Waiting> {
        self.waited += 1;
        Arc::new(Waiting::new((self.me, to), self.waited, bytes, body))
    }

    /// Tells a receiver of a message that waits.
    pub(crate) fn announce(
        &mut self,
        world: &World,
        to: u32,
        context: u32,
        tag: i32,
        waiting: &Arc<Waiting>,
    ) {
        if let Some(sites) = world.beyond(to) {
            return sites.announce(world, Address { from: self.me, to, context, tag }, waiting);
        }
        let header = Header { context, tag, len: 0, waiting: Some(world.offer(waiting)) };
        self.producers[to as usize].push(world.ring_to(self.me, to), header, &[]);
        world.wake(to);
    }

    /// Takes in what the other ranks sent.
    #[inline]
    pub(crate) fn poll(&mut self, world: &World, space: &Space) {
        for from in 0..self.consumers.len() as u32 {
            let Some(ring) = world.ring(from, self.me) else { continue };
            loop {
                if let Some(header) = self.consumers[from as usize].peek(ring) {
                    self.take(world, space, from, ring, header);
                } else if ring.backlog_bytes() == 0 {
                    break;
                } else {
                    for (header, bytes) in self.consumers[from as usize].backlog(ring) {
                        self.arrive(world, space, from, header, &bytes);
                    }
                }
            }
        }
        if !self.coming.is_empty() {
            self.collect();
        }
        if self.kept != self.told {
            self.tell_kept(world);
        }
    }

    /// Tells how much is here that nobody asked for: senders elsewhere are given room by it.
    fn tell_kept(&mut self, world: &World) {
        self.told = self.kept;
        world.tell_kept(self.me, self.kept);
    }

    /// Ends the receives whose messages came whole from other sites.
    #[cold]
    fn collect(&mut self) {
        let over = self.coming.extract_if(.., |coming| coming.incoming.is_over());
        for Coming { request, incoming, status, span } in over.collect::<Vec<_>>() {
            self.finish(request, ending(status, &span, incoming.result()));
        }
    }

    /// Ends a request once its message has come.
    pub(crate) fn expect(
        &mut self,
        request: i32,
        incoming: Arc<Incoming>,
        status: Status,
        span: Span,
    ) {
        self.coming.push(Coming { request, incoming, status, span });
    }

    /// Copies a message that waits at its sender, or asks for it.
    fn fetch(
        &self,
        world: &World,
        space: &Space,
        waiting: &Waiting,
        span: &Span,
        status: Status,
    ) -> Taken {
        let copied = match waiting.body() {
            Some(Body::Guest(source)) => {
                transfer::copy(&world.space(waiting.sender), source, space, span)
            }
            Some(Body::Host(bytes)) => transfer::unpack(space, span, bytes),
            None => Err(fault(abi::ERR_INTERN, "the message's sender was not restored")),
            Some(Body::Away) => match world.beyond(waiting.sender) {
                Some(sites) => {
                    let incoming = sites.ask(world, (self.me, space), waiting, span);
                    return Taken::Coming(incoming, status);
                }
                None => Ok(()),
            },
        };
        waiting.finish();
        world.wake(waiting.sender);
        Taken::Here(ending(status, span, copied))
    }

    /// Whether no message and no receive stands before those that come now.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.posted.is_empty() && self.unexpected.is_empty()
    }

    /// Takes the next message of a rank straight out of its ring, where the mail is clear and the
    /// buffer has no gaps.
    #[inline]
    pub(crate) fn direct(
        &mut self,
        world: &World,
        space: &Space,
        (from, context, tag): (u32, u32, i32),
        (addr, room): (u32, u64),
    ) -> Result<Direct> {
        let Some(ring) = world.ring(from, self.me) else { return Ok(Direct::NotYet) };
        let consumer = &mut self.consumers[from as usize];
        let Some(header) = consumer.peek(ring) else {
            return Ok(if ring.backlog_bytes() > 0 { Direct::No } else { Direct::NotYet });
        };
        let len = header.len as usize;
        let wanted = header.context == context && (header.tag == tag || tag == abi::ANY_TAG);
        if !wanted || header.waiting.is_some() || len as u64 > room {
            return Ok(Direct::No);
        }
        if len <= 64 {
            let mut bytes = [0; 64];
            consumer.take(ring, &mut bytes[..len]);
            space.write(i64::from(addr), &bytes[..len])?;
        } else {
            self.scratch.resize(self.scratch.len().max(len), 0);
            consumer.take(ring, &mut self.scratch[..len]);
            space.write(i64::from(addr), &self.scratch[..len])?;
        }
        let (tag, bytes) = (header.tag, len as u64);
        Ok(Direct::Here(Status { tag, bytes, ..Status::EMPTY }.into()))
    }

    #[inline]
    fn take(&mut self, world: &World, space: &Space, from: u32, ring: &Ring, header: Header) {
        let len = header.len as usize;
        if len <= 64 {
            let mut bytes = [0; 64];
            self.consumers[from as usize].take(ring, &mut bytes[..len]);
            return self.arrive(world, space, from, header, &bytes[..len]);
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.resize(bytes.len().max(len), 0);
        self.consumers[from as usize].take(ring, &mut bytes[..len]);
        self.arrive(world, space, from, header, &bytes[..len]);
        self.scratch = bytes;
    }

    fn arrive(&mut self, world: &World, space: &Space, from: u32, header: Header, bytes: &[u8]) {
        let Header { context, tag, .. } = header;
        let waiting = match header.waiting {
            None => None,
            Some(number) => match world.offered(from, number) {
                Some(waiting) => Some(waiting),
                None => return,
            },
        };
        let position =
            self.posted.iter().position(|posted| posted.envelope.matches(from, context, tag));
        let Some(position) = position else {
            let content = waiting.map_or_else(|| Content::Here(bytes.into()), Content::There);
            let message = Message { from, context, tag, content };
            self.kept += message.cost();
            self.unexpected.push_back(message);
            return self.tell_kept(world);
        };
        if waiting.as_ref().is_some_and(|waiting| !waiting.claim()) {
            return;
        }
        let Posted { request, envelope, span } = self.posted.remove(position);
        let len = waiting.as_ref().map_or(bytes.len() as u64, |waiting| waiting.bytes);
        let status = envelope.status(from, tag, len);
        let taken = match &waiting {
            Some(waiting) => self.fetch(world, space, waiting, &span, status),
            None => Taken::Here(ending(status, &span, transfer::unpack(space, &span, bytes))),
        };
        self.settle(request, taken, span);
    }

    /// Ends a request with what was taken, now or once it has come.
    pub(crate) fn settle(&mut self, request: i32, taken: Taken, span: Span) {
        match taken {
            Taken::Here(ending) => self.finish(request, ending),
            Taken::Coming(incoming, status) => self.expect(request, incoming, status, span),
        }
    }

    /// Ends what a request stands for.
    pub(crate) fn finish(&mut self, handle: i32, ending: Ending) {
        let Some(request) = self.requests.get_mut(handle) else { return };
        request.work = Work::Done(ending);
        if request.orphan {
            self.requests.remove(handle);
        }
    }

    fn find(&mut self, envelope: &Envelope) -> Option<usize> {
        if self.unexpected.is_empty() {
            return None;
        }
        self.unexpected.retain(|message| !message.is_cancelled());
        self.unexpected
            .iter()
            .position(|message| envelope.matches(message.from, message.context, message.tag))
    }

    /// Takes a message out of the queue.
    fn take_out(&mut self, position: usize) -> Option<Message> {
        let message = self.unexpected.remove(position)?;
        self.kept = self.kept.saturating_sub(message.cost());
        Some(message)
    }

    /// Takes a message that is here already, if one matches.
    pub(crate) fn receive(
        &mut self,
        world: &World,
        space: &Space,
        envelope: &Envelope,
        span: &Span,
    ) -> Option<Taken> {
        while let Some(position) = self.find(envelope) {
            let message = self.take_out(position)?;
            if let Some(taken) = self.consume(world, space, &message, envelope, span) {
                return Some(taken);
            }
        }
        None
    }

    /// Copies a message that was taken out; nothing if its sender took it back.
    pub(crate) fn consume(
        &self,
        world: &World,
        space: &Space,
        message: &Message,
        envelope: &Envelope,
        span: &Span,
    ) -> Option<Taken> {
        let status = envelope.status(message.from, message.tag, message.bytes());
        match &message.content {
            Content::Here(bytes) => {
                let copied = transfer::unpack(space, span, bytes);
                Some(Taken::Here(ending(status, span, copied)))
            }
            Content::There(waiting) if waiting.claim() => {
                Some(self.fetch(world, space, waiting, span, status))
            }
            Content::There(_) => None,
        }
    }

    /// Waits for a message under a request.
    pub(crate) fn post(&mut self, request: i32, envelope: Envelope, span: Span) {
        self.posted.push(Posted { request, envelope, span });
    }

    /// Waits no longer; whether it still did.
    pub(crate) fn withdraw(&mut self, request: i32) -> bool {
        let before = self.posted.len();
        self.posted.retain(|posted| posted.request != request);
        self.posted.len() < before
    }

    /// Looks for a message without taking it.
    pub(crate) fn probe(&mut self, envelope: &Envelope) -> Option<Status> {
        let position = self.find(envelope)?;
        let message = &self.unexpected[position];
        Some(envelope.status(message.from, message.tag, message.bytes()))
    }

    /// Takes a message out, to be received later under its handle.
    pub(crate) fn extract(&mut self, envelope: &Envelope) -> Option<(i32, Status)> {
        let position = self.find(envelope)?;
        let message = self.take_out(position)?;
        // From now on it can not be taken back, as its receiver was told of it.
        if let Content::There(waiting) = &message.content
            && !waiting.claim()
        {
            return None;
        }
        let status = envelope.status(message.from, message.tag, message.bytes());
        Some((self.found.add((message, envelope.clone())), status))
    }

    /// Receives a message that was taken out.
    pub(crate) fn receive_found(
        &mut self,
        world: &World,
        space: &Space,
        handle: i32,
        span: &Span,
    ) -> Option<Taken> {
        let (message, envelope) = self.found.remove(handle)?;
        let status = envelope.status(message.from, message.tag, message.bytes());
        Some(match &message.content {
            Content::Here(bytes) => {
                Taken::Here(ending(status, span, transfer::unpack(space, span, bytes)))
            }
            Content::There(waiting) => self.fetch(world, space, waiting, span, status),
        })
    }

    /// Takes the bytes of a message of the engine's own.
    pub(crate) fn take_bytes(&mut self, envelope: &Envelope) -> Option<Box<[u8]>> {
        let position = self.find(envelope)?;
        match self.take_out(position)?.content {
            Content::Here(bytes) => Some(bytes),
            Content::There(_) => None,
        }
    }
}

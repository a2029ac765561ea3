//! Answers to another site: sent by a thread of their own, for those who read must not wait.

use super::{
    CHUNK_BYTES, Link, Peer,
    frame::{Blocks, Frame},
    letter::Wrong,
};
use crate::{
    error::Abort,
    memory::Space,
    transfer::Pieces,
    world::{Body, Waiting, World, lock},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    time::Instant,
};

/// What may be queued before a site that asks for more, and takes no answers, is refused.
const QUEUE_BYTES_MAX: usize = 512 << 20;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Job {
    Frame(Vec<u8>),
    /// A frame that tells that all before it was sent.
    Marker(Vec<u8>),
    /// A message that waited here, piece by piece.
    Message(Outgoing),
    /// Blocks of a memory.
    Blocks {
        ticket: u32,
        offset: u64,
        space: Space,
        blocks: Blocks,
    },
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    ticket: u32,
    waiting: Arc<Waiting>,
    limit: u64,
    done: u64,
    /// Where it lies in the sender's memory, if it does.
    pieces: Option<Pieces>,
}

impl Outgoing {
    /// The first `limit` bytes of a message.
    pub(crate) fn new(ticket: u32, waiting: Arc<Waiting>, limit: u64) -> Self {
        let limit = limit.min(waiting.bytes);
        let pieces = match waiting.body() {
            Some(Body::Guest(span)) => Some(Pieces::new(span.clone(), limit)),
            _ => None,
        };
        Self { ticket, waiting, limit, done: 0, pieces }
    }
}

impl Job {
    /// What it costs to keep it.
    fn cost(&self) -> usize {
        let own = match self {
            Self::Frame(frame) | Self::Marker(frame) => frame.len(),
            Self::Message(_) => 256,
            Self::Blocks { blocks, .. } => size_of_val(&**blocks),
        };
        own + 64
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Whether a job is at work.
    busy: bool,
    closed: bool,
}

/// The queue of what is to be sent to a site.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    queue: Mutex<Queue>,
    bell: Condvar,
}

impl Courier {
    pub(crate) fn push(&self, job: Job) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return;
        }
        queue.bytes += job.cost();
        queue.jobs.push_back(job);
        drop(queue);
        self.bell.notify_all();
    }

    /// Queues an answer, if there is room for what another site asks for.
    pub(crate) fn answer(&self, job: Job) -> Result<(), Wrong> {
        if lock(&self.queue).bytes > QUEUE_BYTES_MAX {
            return Err("asks for more answers than it takes");
        }
        self.push(job);
        Ok(())
    }

    /// Waits until nothing is left to send; false if that takes longer.
    pub(crate) fn rest(&self, deadline: Instant) -> bool {
        let mut queue = lock(&self.queue);
        while queue.busy || !queue.jobs.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.bell.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Forgets what is to be sent.
    fn give_up(&self) {
        let mut queue = lock(&self.queue);
        queue.jobs.clear();
        (queue.bytes, queue.busy, queue.closed) = (0, false, true);
        drop(queue);
        self.bell.notify_all();
    }

    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.bell.notify_all();
    }

    /// The next job; nothing once it is closed and all was sent.
    fn next(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        queue.busy = false;
        if queue.jobs.is_empty() {
            self.bell.notify_all();
        }
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                let streams = |job: &Job| matches!(job, Job::Message(_));
                if matches!(job, Job::Marker(_)) && queue.jobs.iter().any(streams) {
                    // Messages take turns; the marker comes after those that came before it.
                    queue.jobs.push_back(job);
                    continue;
                }
                queue.bytes -= job.cost();
                queue.busy = true;
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Starts the thread that sends to a site; it ends with the world.
pub(crate) fn start(
    site: u32,
    peer: &Peer,
    link: &Arc<dyn Link>,
    world: &Arc<World>,
) -> Result<(), Abort> {
    let (courier, link, world) =
        (Arc::clone(&peer.courier), Arc::clone(link), Arc::downgrade(world));
    let run = move || {
        while let Some(job) = courier.next() {
            match carry(site, &*link, &world, job) {
                Ok(Some(rest)) => courier.push(rest),
                Ok(None) => {}
                Err(abort) => {
                    if let Some(world) = world.upgrade() {
                        world.link_broke(abort);
                    }
                    // Who waits for the queue to be empty shall not wait for ever.
                    courier.give_up();
                    break;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name(format!("mpi-courier-{site}")).spawn(run);
    let refused = |error| Abort::Refused {
        reason: format!("there is no thread to send to site {site}: {error}").into(),
    };
    thread.map(|_| ()).map_err(refused)
}

/// Does a job; gives what is left of it.
fn carry(site: u32, link: &dyn Link, world: &Weak<World>, job: Job) -> Result<Option<Job>, Abort> {
    match job {
        Job::Frame(frame) | Job::Marker(frame) => link.send(site, frame).map(|()| None),
        Job::Message(message) => carry_message(site, link, world, message),
        Job::Blocks { ticket, offset, space, blocks } => {
            let mut row = Vec::new();
            for (addr, len) in blocks {
                // The range was checked when it was asked for, and memories do not shrink.
                row.extend(space.bytes(addr, len as usize).unwrap_or_default());
            }
            link.send(site, Frame::Data { ticket, offset, bytes: &row }.encode()).map(|()| None)
        }
    }
}

fn carry_message(
    site: u32,
    link: &dyn Link,
    world: &Weak<World>,
    mut message: Outgoing,
) -> Result<Option<Job>, Abort> {
    // A world that is dropped has nobody left who waits for it.
    let Some(world) = world.upgrade() else { return Ok(None) };
    let mut row = Vec::new();
    match (&mut message.pieces, message.waiting.body()) {
        (Some(pieces), _) => {
            let space = world.space(message.waiting.sender);
            let packed = pieces.pack(&space, CHUNK_BYTES as u64, &mut row);
            if packed.is_err() {
                let reason = format!(
                    "the message of rank {} lies outside of its memory",
                    message.waiting.sender
                );
                return Err(Abort::Ended { reason: reason.into() });
            }
        }
        (None, Some(Body::Host(bytes))) => {
            let end = message.limit.min(message.done + CHUNK_BYTES as u64);
            row.extend_from_slice(&bytes[message.done as usize..end as usize]);
        }
        (None, _) => {}
    }
    let (ticket, offset) = (message.ticket, message.done);
    message.done += row.len() as u64;
    let frame = match message.limit {
        0 => Frame::Done { ticket },
        _ => Frame::Data { ticket, offset, bytes: &row },
    };
    link.send(site, frame.encode())?;
    if message.done < message.limit {
        return Ok(Some(Job::Message(message)));
    }
    message.waiting.finish();
    world.wake(message.waiting.sender);
    Ok(None)
}

//! Lock-free queues of messages: one for each pair of ranks that talk.
//!
//! A ring has one producer and one consumer. A message takes one slot of a cache line for its
//! header and first 40 bytes, and one more for every 56 bytes after these. The header's first word
//! is written last; it tells the lap, so that a slot is never taken for one of an earlier lap.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Slots of one ring.
const SLOTS: usize = 512;
const HEAD_BYTES: usize = 40;
const MORE_BYTES: usize = 56;

/// What a message is, beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The communicator's context.
    pub(crate) context: u32,
    /// The message's tag.
    pub(crate) tag: i32,
    /// How many bytes follow at once; none for a message that waits at its sender.
    pub(crate) len: u32,
    /// The sender's number of a message that waits, or none.
    pub(crate) waiting: Option<u32>,
}

#[repr(align(64))]
struct Slot([AtomicU64; 8]);

#[repr(align(64))]
struct Padded<T>(T);

/// A queue of messages from one rank to another.
pub(crate) struct Ring {
    slots: Box<[Slot; SLOTS]>,
    /// How many slots were consumed; the producer looks only when it has run out.
    consumed: Padded<AtomicU64>,
    /// Bytes and messages that found no room, in order after those of the ring.
    backlog_len: Padded<AtomicUsize>,
    backlog: Mutex<VecDeque<(Header, Box<[u8]>)>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ring")
    }
}

impl Ring {
    pub(crate) fn new() -> Self {
        let slots: Box<[Slot]> = (0..SLOTS).map(|_| Slot(Default::default())).collect();
        let Ok(slots) = slots.try_into() else { unreachable!("exactly so many were made") };
        Self {
            slots,
            consumed: Padded(AtomicU64::new(0)),
            backlog_len: Padded(AtomicUsize::new(0)),
            backlog: Mutex::default(),
        }
    }

    fn slot(&self, position: u64) -> &[AtomicU64; 8] {
        &self.slots[position as usize % SLOTS].0
    }

    fn lap(position: u64) -> u64 {
        position / SLOTS as u64 + 1
    }

    fn backlog(&self) -> MutexGuard<'_, VecDeque<(Header, Box<[u8]>)>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that wait for room, with something for each message.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog_len.0.load(Ordering::Acquire)
    }
}

fn slots_of(len: usize) -> u64 {
    1 + len.saturating_sub(HEAD_BYTES).div_ceil(MORE_BYTES) as u64
}

fn cost(bytes: &[u8]) -> usize {
    bytes.len() + 64
}

/// The sender's side: where it stands in the ring.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    position: u64,
    consumed: u64,
}

impl Producer {
    /// Queues a message. It never waits: what finds no room goes to the backlog.
    pub(crate) fn push(&mut self, ring: &Ring, header: Header, bytes: &[u8]) {
        let slots = slots_of(bytes.len());
        let end = self.position + slots;
        if end - self.consumed > SLOTS as u64 {
            self.consumed = ring.consumed.0.load(Ordering::Acquire);
        }
        if end - self.consumed > SLOTS as u64 || ring.backlog_bytes() > 0 {
            let mut backlog = ring.backlog();
            backlog.push_back((header, bytes.into()));
            ring.backlog_len.0.fetch_add(cost(bytes), Ordering::Release);
            return;
        }
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES));
        let (whole, rest) = rest.as_chunks::<MORE_BYTES>();
        let mut at = self.position;
        for chunk in whole {
            at += 1;
            let slot = ring.slot(at);
            for (word, bytes) in slot[1..].iter().zip(chunk.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
        }
        if !rest.is_empty() {
            fill(&ring.slot(at + 1)[1..], rest);
        }
        let head = ring.slot(self.position);
        fill(&head[3..], first);
        head[1].store(
            u64::from(header.context) << 32 | u64::from(header.tag as u32),
            Ordering::Relaxed,
        );
        let waiting = header.waiting.map_or(0, |number| u64::from(number) + 1);
        head[2].store(waiting << 16 | u64::from(header.len), Ordering::Relaxed);
        head[0].store(Ring::lap(self.position), Ordering::Release);
        self.position = end;
    }
}

#[inline]
fn fill(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

#[inline]
fn drain(words: &[AtomicU64], bytes: &mut [u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks_mut(8)) {
        let word = word.load(Ordering::Relaxed).to_le_bytes();
        match chunk.first_chunk_mut::<8>() {
            Some(chunk) => *chunk = word,
            None => chunk.copy_from_slice(&word[..chunk.len()]),
        }
    }
}

impl Ring {
    /// Puts a message there that was on its way to a rank that is restored.
    pub(crate) fn refill(&self, header: Header, bytes: Box<[u8]>) {
        let cost = cost(&bytes);
        self.backlog().push_back((header, bytes));
        self.backlog_len.0.fetch_add(cost, Ordering::Release);
    }
}

/// The receiver's side: where it stands in the ring.
#[derive(Debug, Default)]
pub(crate) struct Consumer {
    position: u64,
}

impl Consumer {
    /// The header of the next message in the ring.
    #[inline]
    pub(crate) fn peek(&self, ring: &Ring) -> Option<Header> {
        Self::peek_at(ring, self.position)
    }

    #[inline]
    fn peek_at(ring: &Ring, position: u64) -> Option<Header> {
        let head = ring.slot(position);
        if head[0].load(Ordering::Acquire) != Ring::lap(position) {
            return None;
        }
        let envelope = head[1].load(Ordering::Relaxed);
        let size = head[2].load(Ordering::Relaxed);
        Some(Header {
            context: (envelope >> 32) as u32,
            tag: envelope as u32 as i32,
            len: (size & 0xffff) as u32,
            waiting: (size >> 16).checked_sub(1).map(|number| number as u32),
        })
    }

    /// Takes the message that was just looked at; its bytes go to a buffer of its length.
    #[inline]
    pub(crate) fn take(&mut self, ring: &Ring, bytes: &mut [u8]) {
        let slots = slots_of(bytes.len());
        Self::copy(ring, self.position, bytes);
        self.position += slots;
        ring.consumed.0.store(self.position, Ordering::Release);
    }

    #[inline]
    fn copy(ring: &Ring, position: u64, bytes: &mut [u8]) {
        let len = bytes.len().min(HEAD_BYTES);
        let (first, rest) = bytes.split_at_mut(len);
        drain(&ring.slot(position)[3..], first);
        let (whole, rest) = rest.as_chunks_mut::<MORE_BYTES>();
        let mut at = position;
        for chunk in whole {
            at += 1;
            let slot = ring.slot(at);
            for (word, bytes) in slot[1..].iter().zip(chunk.as_chunks_mut::<8>().0) {
                *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            }
        }
        if !rest.is_empty() {
            drain(&ring.slot(at + 1)[1..], rest);
        }
    }

    /// Copies of all messages that were not taken, while nobody sends.
    pub(crate) fn pending(&self, ring: &Ring) -> Vec<(Header, Box<[u8]>)> {
        let (mut messages, mut position) = (Vec::new(), self.position);
        while let Some(header) = Self::peek_at(ring, position) {
            let mut bytes = vec![0; header.len as usize];
            Self::copy(ring, position, &mut bytes);
            position += slots_of(bytes.len());
            messages.push((header, bytes.into()));
        }
        messages.extend(ring.backlog().iter().cloned());
        messages
    }

    /// Takes the backlog, unless there are older messages in the ring: look there again first.
    pub(crate) fn backlog(&self, ring: &Ring) -> VecDeque<(Header, Box<[u8]>)> {
        // The lock keeps the sender from emptying its backlog into the ring meanwhile, and while
        // there is a backlog, nothing new comes to the ring.
        let mut backlog = ring.backlog();
        if self.peek(ring).is_some() {
            return VecDeque::new();
        }
        ring.backlog_len.0.store(0, Ordering::Release);
        std::mem::take(&mut *backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tag: i32, len: usize) -> Header {
        Header { context: 7, tag, len: len as u32, waiting: None }
    }

    #[test]
    fn messages_keep_their_order_and_bytes_through_laps_and_backlog() {
        let ring = Ring::new();
        let (mut producer, mut consumer) = (Producer::default(), Consumer::default());
        let message = |number: usize| -> Vec<u8> {
            (0..number * 37 % 600).map(|byte| (byte + number) as u8).collect()
        };

        let mut next = 0;
        for number in 0..5000 {
            producer.push(&ring, header(number as i32, message(number).len()), &message(number));
            // Now and then the consumer falls behind, so that the ring overflows.
            if number % 600 != 599 {
                continue;
            }
            loop {
                while let Some(found) = consumer.peek(&ring) {
                    let mut bytes = vec![0; found.len as usize];
                    consumer.take(&ring, &mut bytes);
                    assert_eq!((found.tag as usize, bytes), (next, message(next)));
                    next += 1;
                }
                let rest = consumer.backlog(&ring);
                if rest.is_empty() {
                    break;
                }
                for (found, bytes) in rest {
                    assert_eq!((found.tag as usize, bytes.into_vec()), (next, message(next)));
                    next += 1;
                }
            }
        }

        assert!(next > 4000);
    }

    #[test]
    fn one_side_on_another_thread() {
        let ring = Ring::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::default();
                for number in 0..20_000_u64 {
                    producer.push(&ring, header(number as i32, 8), &number.to_le_bytes());
                }
            });
            let (mut consumer, mut next) = (Consumer::default(), 0_u64);
            while next < 20_000 {
                while consumer.peek(&ring).is_some() {
                    let mut bytes = [0; 8];
                    consumer.take(&ring, &mut bytes);
                    assert_eq!(u64::from_le_bytes(bytes), next);
                    next += 1;
                }
                for (_, bytes) in consumer.backlog(&ring) {
                    assert_eq!(bytes[..], next.to_le_bytes());
                    next += 1;
                }
            }
        });
    }
}

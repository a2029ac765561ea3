//! Records as a process writes and reads them.

use super::{Client, Pin, unexpected};
use crate::{
    Error, Put, Result,
    put::{Record, changed, check_put},
    shared::{
        index::BucketState,
        record::{CHECKED, Header, Place, Slot, State, Texts, class_of},
        slots::Slots,
    },
    wire::{Reply, Request},
};
use std::{
    cell::Cell,
    sync::{Arc, Mutex, PoisonError},
};

/// Up to this size an object's checksum is computed when it is sealed; that of a larger one when
/// its bytes leave memory.
pub(crate) const SUMMED_MAX: usize = 4 << 10;

/// What a process needs to write records.
#[derive(Debug)]
pub(crate) struct Records {
    slots: Mutex<Slots>,
    /// Held by the thread that leaves a record for the node.
    ring: Mutex<()>,
}

impl Records {
    pub(super) fn new(session: u32) -> Self {
        Self { slots: Mutex::new(Slots::new(session)), ring: Mutex::new(()) }
    }
}

/// A sealed object as its record says, kept in place by a pin.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) attributes: Vec<u8>,
    pub(crate) pin: Pin,
}

/// The header of new bytes.
pub(crate) fn new_header(client: &Client, bucket: u32, size: u64, place: Place) -> Header {
    Header::new(client.index.next_version(), bucket, size, place)
}

impl Header {
    /// The same with the checksum of its bytes.
    pub(crate) fn summed(self, crc: u32) -> Self {
        Self { crc, flags: self.flags | CHECKED, ..self }
    }
}

impl Client {
    /// The object of a name, which is kept in place.
    pub(crate) fn find(self: &Arc<Self>, bucket: &str, key: &str) -> Result<Found> {
        let found = self.read(bucket, key, |slot, header| Found {
            header,
            attributes: slot.attributes(&header),
            // Pinned before the chain is looked at again: if the record still counts then, the
            // node sees the pin before it frees what the record refers to.
            pin: self.pin(header.place),
        })?;
        found.ok_or_else(|| Error::no_object(bucket, key))
    }

    /// The header of a name's object, and the pin of what it refers to.
    pub(crate) fn find_bytes(self: &Arc<Self>, bucket: &str, key: &str) -> Result<(Header, Pin)> {
        let found = self.read(bucket, key, |_, header| (header, self.pin(header.place)))?;
        found.ok_or_else(|| Error::no_object(bucket, key))
    }

    /// Reads the record of a name, if it has an object.
    pub(crate) fn read<R>(
        &self,
        bucket: &str,
        key: &str,
        mut read: impl FnMut(Slot<'_>, Header) -> R,
    ) -> Result<Option<R>> {
        self.link.check()?;
        let number = self.bucket(bucket)?;
        let chain = self.index.chain(number, key.as_bytes());
        let (_, found) = chain.read(key.as_bytes(), |found| {
            let (_, slot) = found?;
            let header = slot.header();
            (!header.deleted()).then(|| read(slot, header))
        })?;
        Ok(found)
    }

    /// Whether what a caller asks for may be done as things stand.
    pub(crate) fn check_put(&self, number: u32, bucket: &str, key: &str, put: &Put) -> Result<()> {
        if put.overwrite && put.if_version.is_none() {
            return Ok(());
        }
        let chain = self.index.chain(number, key.as_bytes());
        let (_, newest) =
            chain.read(key.as_bytes(), |found| found.map(|(_, slot)| slot.header()))?;
        check_put(bucket, key, put, newest.as_ref())
    }

    /// Puts the record of new bytes into the index as a caller asked; gives the header that it got. The versions of a name
    /// ascend: whose was drawn before another one that was published earlier draws again.
    pub(crate) fn publish_put(
        &self,
        bucket: &str,
        mut record: Record<'_>,
        put: &Put,
    ) -> Result<Header> {
        loop {
            let ahead = Cell::new(None);
            let check = |newest: Option<&Header>| {
                check_put(bucket, record.key, put, newest)?;
                let own = record.header.version;
                ahead.set(newest.map(|newest| newest.version).filter(|newest| *newest > own));
                match ahead.get() {
                    Some(_) => Err(changed(bucket, record.key, own, ahead.get())),
                    None => Ok(()),
                }
            };
            match (self.publish(bucket, &record, check), ahead.get()) {
                (Err(_), Some(newest)) => {
                    record.header.version = self.index.version_after(newest)?;
                }
                (Err(error), None) => return Err(error),
                // Who waits until the object is durable waits for the journal anyway.
                (Ok(noted), _) if noted && !put.durable => {
                    return self.tell().map(|()| record.header);
                }
                (Ok(_), _) => return Ok(record.header),
            }
        }
    }

    /// The same, checked by `check`. If the node is killed after this the former state does not come back.
    pub(crate) fn publish_change(
        &self,
        bucket: &str,
        record: &Record<'_>,
        check: impl Fn(Option<&Header>) -> Result<()>,
    ) -> Result<()> {
        if self.publish(bucket, record, check)? { self.tell() } else { Ok(()) }
    }

    /// Waits until the node has seen, and handed to the system, what this session left.
    fn tell(&self) -> Result<()> {
        self.ask(&Request::Sync).map(|_| ())
    }

    /// Puts a record into the index, if `check` has no objection to the newest one of the name; it
    /// is asked again whenever that has changed. All processes see it when this returns. Says whether the node's journal
    /// may know what it replaced.
    pub(crate) fn publish(
        &self,
        bucket: &str,
        record: &Record<'_>,
        check: impl Fn(Option<&Header>) -> Result<()>,
    ) -> Result<bool> {
        self.link.check()?;
        let class = class_of(record.key.len(), record.attributes.len(), record.former.len());
        let unit = self.take_slot(class)?;
        let slot = self.index.slot(unit);
        let texts = Texts {
            key: record.key.as_bytes(),
            attributes: record.attributes,
            former: record.former.as_bytes(),
        };
        slot.fill(&record.header, texts);
        let noted = match self.push(unit, record, check) {
            Ok(noted) => noted,
            Err(error) => {
                slot.set_state(State::Free);
                return Err(error);
            }
        };
        self.leave(unit)?;
        self.check_bucket(bucket, record.header.bucket)?;
        Ok(noted)
    }

    fn push(
        &self,
        unit: u32,
        record: &Record<'_>,
        check: impl Fn(Option<&Header>) -> Result<()>,
    ) -> Result<bool> {
        let chain = self.index.chain(record.header.bucket, record.key.as_bytes());
        loop {
            let (head, newest) =
                chain.read(record.key.as_bytes(), |found| found.map(|(_, slot)| slot.header()))?;
            check(newest.as_ref())?;
            let noted = newest.is_some_and(|newest| newest.noted());
            let slot = self.index.slot(unit);
            if noted {
                slot.set_noted(true);
            }
            // From here on a record of a process that dies may be in the table.
            slot.set_state(State::Sealed);
            if chain.push(head, unit, record.key)? {
                return Ok(noted);
            }
        }
    }

    fn take_slot(&self, class: usize) -> Result<u32> {
        let mut slots = self.records.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.take(&self.index, class, |returned| {
            let class = class as u8;
            match self.ask(&Request::Chunk { class, returned })?.0 {
                Reply::Chunk { chunk } if u64::from(chunk) < self.index.chunks() => Ok(chunk),
                _ => Err(unexpected()),
            }
        })
    }

    /// Leaves a record for the node, which is woken if it sleeps.
    fn leave(&self, unit: u32) -> Result<()> {
        let ring = self.records.ring.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.page.push(unit) {
            self.ask(&Request::Sync)?;
        }
        drop(ring);
        if self.index.take_asleep() {
            self.link.wake();
        }
        Ok(())
    }

    /// A bucket that was removed while an object was sealed in it has no objects.
    fn check_bucket(&self, bucket: &str, number: u32) -> Result<()> {
        if self.index.bucket(number) == BucketState::Open {
            return Ok(());
        }
        match self.bucket(bucket)? {
            same if same == number => Ok(()),
            _ => Err(Error::no_bucket(bucket)),
        }
    }
}

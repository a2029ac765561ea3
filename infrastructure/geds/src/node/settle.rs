//! How the node learns of what processes did, and does the same itself.

use super::state::{OWN, State};
use crate::{
    Class, Error, Event, Happening, Put, Result,
    put::{Record, check_put},
    shared::{
        index::{Chain, Head},
        record::{ATTRIBUTES, Header, MOVED, Slot, State as Slotted, Texts, class_of},
        session::{RING, Session},
    },
};
use std::sync::Arc;

/// Records of one name that wait to be seen; a tenant that makes more of them slows itself alone.
const SAME_NAME_MAX: usize = 1 << 16;

impl State {
    /// Looks at all records that processes left; says whether there were any.
    pub(super) fn consume(&mut self) -> bool {
        let pages: Vec<Arc<Session>> =
            self.seats.values().map(|seat| Arc::clone(&seat.page)).collect();
        let retired = std::mem::take(&mut self.retired);
        let mut any = false;
        for page in pages {
            any |= self.consume_page(&page);
        }
        self.forget(retired);
        if any {
            self.flush_journal();
            self.tell_overdue();
            self.shorten_journal();
        }
        any
    }

    /// Looks at what one process left, and no more than was there at once.
    pub(super) fn consume_page(&mut self, page: &Session) -> bool {
        let left = std::iter::from_fn(|| page.take()).take(RING as usize);
        let mut any = false;
        for unit in left {
            any = true;
            self.see(unit);
        }
        any
    }

    /// Looks at a record that somebody says is new.
    pub(super) fn see(&mut self, unit: u32) {
        let index = Arc::clone(&self.index);
        let slot = index.slot(unit);
        if slot.state() != Slotted::Sealed {
            return;
        }
        let header = slot.header();
        if let Some(key) = slot.key(&header) {
            self.settle_or_warn(header.bucket, &key);
        }
    }

    fn settle_or_warn(&mut self, bucket: u32, key: &str) {
        if let Err(error) = self.settle(bucket, key)
            && !self.damaged
        {
            // Once: a tenant that damages its index would fill the log.
            self.damaged = true;
            tracing::error!(key, %error, "a tenant's index is damaged");
        }
    }

    /// The record of a name as the index has it now, which may be newer than what processes have left to be seen.
    pub(super) fn current(&mut self, bucket: &str, key: &str) -> Result<Header> {
        let number = self.names.number(bucket)?;
        self.settle(number, key)?;
        let unit = self.unit(number, key).ok_or_else(|| Error::no_object(bucket, key))?;
        Ok(self.index.slot(unit).header())
    }

    /// Brings what the node knows about a name up to what the index says: counts and tells records
    /// that are new, takes out those that no longer count.
    fn settle(&mut self, bucket: u32, key: &str) -> Result<()> {
        let index = Arc::clone(&self.index);
        let chain = index.chain(bucket, key.as_bytes());
        let units = same_name(&chain, key)?;
        let mut existed = self.names.keys(bucket).is_some_and(|keys| keys.keys.contains_key(key));
        for unit in units.iter().rev() {
            let slot = index.slot(*unit);
            if slot.state() == Slotted::Sealed {
                let header = slot.header();
                slot.set_state(Slotted::Known);
                self.hold(&header, *unit);
                self.tell(bucket, key, &slot, &header, existed);
                if header.class() == Some(Class::Cold)
                    && let Some(keys) = self.names.keys_mut(bucket)
                {
                    keys.any_cold = true;
                }
                existed = !header.deleted();
            }
        }
        let newest = units.first().copied().filter(|unit| {
            !index.slot(*unit).header().deleted() && self.names.keys(bucket).is_some()
        });
        self.keep_backing(bucket, key, newest, &units);
        // The oldest first: while there is one that is older, who reads the chain would take that for the newest.
        for unit in units.iter().rev().filter(|unit| Some(**unit) != newest) {
            self.discard(&chain, *unit)?;
        }
        self.note(bucket, key, newest);
        Ok(())
    }

    /// Takes a record out of the index and frees its slot.
    fn discard(&mut self, chain: &Chain<'_>, unit: u32) -> Result<()> {
        let index = Arc::clone(&self.index);
        let slot = index.slot(unit);
        let (state, header) = (slot.state(), slot.header());
        chain.remove(unit)?;
        if state == Slotted::Known {
            if !header.deleted() {
                self.let_go(header.place, header.size);
            }
            self.free_slot(unit);
        }
        Ok(())
    }

    fn tell(&mut self, bucket: u32, key: &str, slot: &Slot<'_>, header: &Header, existed: bool) {
        let Some(name) = self.names.keys(bucket).map(|keys| keys.name.as_str()) else {
            return;
        };
        if header.flags & MOVED != 0 || !self.feeds.iter().any(|feed| feed.covers(name, key)) {
            return;
        }
        let happenings = happenings(slot, header, existed);
        self.feeds.retain(|feed| {
            !feed.covers(name, key)
                || happenings.iter().all(|what| {
                    let (bucket, key) = (name.to_owned(), key.to_owned());
                    feed.tell(Event { bucket, key, what: what.clone() })
                })
        });
    }

    /// Puts a record of the node's own into the index, and sees it at once.
    pub(super) fn publish(&mut self, record: &Record<'_>, expected: Expected<'_>) -> Result<bool> {
        let index = Arc::clone(&self.index);
        let class = class_of(record.key.len(), record.attributes.len(), record.former.len());
        let unit = self.take_slot(class)?;
        let slot = index.slot(unit);
        let texts = Texts {
            key: record.key.as_bytes(),
            attributes: record.attributes,
            former: record.former.as_bytes(),
        };
        slot.fill(&record.header, texts);
        let chain = index.chain(record.header.bucket, record.key.as_bytes());
        let pushed = push(&chain, unit, record.key, expected);
        if !matches!(pushed, Ok(true)) {
            self.free_slot(unit);
            return pushed;
        }
        self.settle(record.header.bucket, record.key)?;
        Ok(true)
    }

    /// The version of the newest record of a name, deleted or not; 0 if there is none.
    pub(super) fn newest_version(&self, bucket: u32, key: &str) -> Result<u64> {
        let chain = self.index.chain(bucket, key.as_bytes());
        let newest =
            chain.read(key.as_bytes(), |found| found.map(|(_, slot)| slot.header().version));
        newest.map(|(_, version)| version.unwrap_or_default())
    }

    fn take_slot(&mut self, class: usize) -> Result<u32> {
        let Self { index, index_file, chunks, slots, .. } = self;
        slots.take(index, class, |full| {
            if let Some(full) = full {
                chunks.take_back(index, full, OWN);
            }
            chunks.lend(index, index_file, class, OWN)
        })
    }
}

/// What must be at the head for the node's record to be put there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected<'a> {
    /// Exactly this record.
    Same { header: &'a Header, attributes: &'a [u8] },
    /// What a caller asked for, and none of a later version.
    Asked { bucket: &'a str, put: &'a Put },
}

fn push(chain: &Chain<'_>, unit: u32, key: &str, expected: Expected<'_>) -> Result<bool> {
    loop {
        let (head, newest): (Head, _) = chain.read(key.as_bytes(), |found| {
            found.map(|(_, slot)| {
                let header = slot.header();
                (header, slot.attributes(&header))
            })
        })?;
        match expected {
            Expected::Same { header, attributes } => match &newest {
                Some((now, kept)) if now.same_as(header) && kept == attributes => {}
                _ => return Ok(false),
            },
            Expected::Asked { bucket, put } => {
                let newest = newest.as_ref().map(|(header, _)| header);
                check_put(bucket, key, put, newest)?;
                if newest.is_some_and(|newest| newest.version > chain.slot(unit).header().version) {
                    return Ok(false);
                }
            }
        }
        chain.slot(unit).set_state(Slotted::Sealed);
        if chain.push(head, unit, key)? {
            return Ok(true);
        }
    }
}

/// All records of a name, newest first.
fn same_name(chain: &Chain<'_>, key: &str) -> Result<Vec<u32>> {
    let all = chain.walk(chain.head()?).filter(|unit| match unit {
        Ok(unit) => chain.is_of(*unit, key.as_bytes()),
        Err(_) => true,
    });
    all.take(SAME_NAME_MAX).collect()
}

fn happenings(slot: &Slot<'_>, header: &Header, existed: bool) -> Vec<Happening> {
    if header.deleted() {
        return if existed { vec![Happening::Deleted] } else { Vec::new() };
    }
    if header.flags & ATTRIBUTES != 0 {
        return vec![Happening::Attributes];
    }
    if let Some(from) = slot.former(header) {
        return vec![Happening::Renamed { from }];
    }
    let sealed = Happening::Sealed { version: header.version, size: header.size };
    if existed { vec![sealed] } else { vec![Happening::Created, sealed] }
}

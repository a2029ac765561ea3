//! Buckets and their keys in order, as far as the node has seen them.

use crate::{
    Attributes, Bucket, Entry, Error, Listing, Page, Result, Stat, Tier,
    listing::Start,
    shared::{
        index::{BUCKETS_MAX, Index},
        record::{Header, Place},
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

/// Most buckets of a tenant: fewer than their places, so that a place is not used again soon.
const BUCKETS: usize = 1024;

/// What is known about a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// Where its record is.
    pub(super) unit: u32,
    /// Whether the journal has it.
    pub(super) bound: bool,
    /// Whether the journal says that it has bytes in memory alone.
    pub(super) told: bool,
}

/// A bucket and its keys.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) attributes: Attributes,
    pub(super) keys: BTreeMap<Box<str>, Named>,
    /// Objects in memory that lie on disk as well.
    pub(super) backing: BTreeMap<Box<str>, Backing>,
    /// Whether an object of it was ever cold by itself.
    pub(super) any_cold: bool,
}

/// A copy on disk of an object in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backing {
    pub(super) version: u64,
    /// Where it lies in memory.
    pub(super) memory: Place,
    /// Where it lies on disk.
    pub(super) place: Place,
    pub(super) size: u64,
}

/// The buckets of a tenant.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: BTreeMap<String, u32>,
    buckets: HashMap<u32, Keys>,
    last: u32,
}

impl Names {
    pub(super) fn create(
        &mut self,
        name: &str,
        created: u64,
        attributes: Attributes,
    ) -> Result<u32> {
        if self.numbers.contains_key(name) {
            return Err(Error::BucketExists { bucket: name.to_owned() });
        }
        if self.numbers.len() >= BUCKETS {
            return Err(Error::TooMany { what: "buckets".to_owned(), limit: BUCKETS as u64 });
        }
        let place = |number: u32| u64::from(number) % BUCKETS_MAX;
        let taken = |number: u32| self.buckets.keys().any(|used| place(*used) == place(number));
        let mut number = self.last.wrapping_add(1).max(1);
        while taken(number) {
            number = number.wrapping_add(1).max(1);
        }
        self.last = number;
        let keys = Keys {
            name: name.to_owned(),
            created,
            attributes,
            keys: BTreeMap::new(),
            backing: BTreeMap::new(),
            any_cold: false,
        };
        self.numbers.insert(name.to_owned(), number);
        self.buckets.insert(number, keys);
        Ok(number)
    }

    pub(super) fn number(&self, name: &str) -> Result<u32> {
        self.numbers.get(name).copied().ok_or_else(|| Error::no_bucket(name))
    }

    pub(super) fn keys(&self, number: u32) -> Option<&Keys> {
        self.buckets.get(&number)
    }

    pub(super) fn keys_mut(&mut self, number: u32) -> Option<&mut Keys> {
        self.buckets.get_mut(&number)
    }

    pub(super) fn remove(&mut self, number: u32) {
        if let Some(keys) = self.buckets.remove(&number) {
            self.numbers.remove(&keys.name);
        }
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.numbers.values().copied()
    }

    /// Whether an object was ever cold by itself.
    pub(super) fn any_cold(&self) -> bool {
        self.buckets.values().any(|keys| keys.any_cold)
    }

    pub(super) fn objects(&self) -> u64 {
        self.buckets.values().map(|keys| keys.keys.len() as u64).sum()
    }
}

impl Keys {
    pub(super) fn to_bucket(&self) -> Bucket {
        Bucket {
            name: self.name.clone(),
            created: self.created,
            objects: self.keys.len() as u64,
            attributes: self.attributes.clone(),
        }
    }

    /// A page of the keys; `stat` reads the record of one.
    pub(super) fn page(&self, listing: &Listing, stat: impl Fn(u32) -> Stat) -> Page {
        let (mut page, mut start) = (Page::default(), listing.start());
        let limit = listing.limit_in_force();
        loop {
            let Some(mut keys) = self.from(&start) else { return page };
            // Walks on until a group is to be skipped.
            let next = loop {
                let next = keys.next().filter(|(key, _)| key.starts_with(&*listing.prefix));
                let Some((key, named)) = next else { return page };
                if page.entries.len() + page.prefixes.len() == limit {
                    page.next = last(&page);
                    return page;
                }
                if let Some(group) = listing.group(key) {
                    page.prefixes.push(group.to_owned());
                    break Start::behind_all(group);
                }
                page.entries.push(Entry { key: key.to_string(), stat: stat(named.unit) });
            };
            drop(keys);
            start = next;
        }
    }

    fn from(&self, start: &Start) -> Option<impl Iterator<Item = (&Box<str>, &Named)>> {
        let from = match start {
            Start::At(key) => Bound::Included(key.as_str()),
            Start::Behind(key) => Bound::Excluded(key.as_str()),
            Start::End => return None,
        };
        Some(self.keys.range::<str, _>((from, Bound::Unbounded)))
    }
}

/// The last of a page's entries and prefixes in the order of keys.
fn last(page: &Page) -> Option<String> {
    page.entries.last().map(|entry| &entry.key).max(page.prefixes.last()).cloned()
}

/// What a record says about its object.
pub(crate) fn stat_of(header: &Header, attributes: &[u8], tier: Tier) -> Stat {
    let mut attributes = Attributes::decode(attributes).unwrap_or_default();
    let site = if header.away() { attributes.take_site() } else { None };
    Stat {
        size: header.size,
        version: header.version,
        modified: header.modified,
        crc32c: header.crc32c(),
        tier,
        site,
        class: header.class(),
        attributes,
    }
}

/// The tier of a place; pieces may lie anywhere.
pub(crate) fn tier_of(place: Place) -> Tier {
    match place {
        Place::Nowhere | Place::Slab { .. } => Tier::Memory,
        Place::File { .. } => Tier::Disk,
        Place::Pieces { .. } => Tier::Mixed,
        Place::Outside { .. } => Tier::Outside,
    }
}

/// What the record of a unit says about its object.
pub(super) fn stat_at(index: &Index, unit: u32) -> Stat {
    let slot = index.slot(unit);
    let header = slot.header();
    stat_of(&header, &slot.attributes(&header), tier_of(header.place))
}

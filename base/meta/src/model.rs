//! Items, transactions, events and leases.

use bytes::Bytes;
use std::{fmt, time::Duration};

/// A key with its value and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub key: Bytes,
    /// What it holds.
    pub value: Bytes,
    /// The revision that made it, since it was last absent.
    pub create_revision: u64,
    /// The revision that last wrote it.
    pub mod_revision: u64,
    /// How often it was written since it was made; the first time counts.
    pub version: u64,
    /// The lease whose end removes it.
    pub lease: Option<LeaseId>,
}

/// The answer to [`MetaStore::get`](crate::MetaStore::get).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What is at the key.
    pub item: Option<Item>,
    /// The store's revision that this shows.
    pub revision: u64,
}

/// The answer to [`MetaStore::range`](crate::MetaStore::range).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The items, in the order of their keys.
    pub items: Vec<Item>,
    /// The store's revision that this shows.
    pub revision: u64,
    /// Whether more items follow the last one.
    pub more: bool,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key has a value.
    Exists(Bytes),
    /// The key has none.
    Absent(Bytes),
    /// The key was last written at this revision; 0 stands for an absent key.
    ModRevision(Bytes, u64),
    /// The key holds exactly this value.
    Value(Bytes, Bytes),
    /// The lease granted at this fencing revision is still held.
    LeaseHeld(LeaseId, u64),
}

impl Compare {
    /// The key has a value.
    pub fn exists(key: impl Into<Bytes>) -> Self {
        Self::Exists(key.into())
    }

    /// The key has none.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::Absent(key.into())
    }

    /// The key was last written at `revision`; 0 stands for an absent key.
    pub fn mod_revision(key: impl Into<Bytes>, revision: u64) -> Self {
        Self::ModRevision(key.into(), revision)
    }

    /// The key holds exactly `value`.
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Value(key.into(), value.into())
    }

    /// `lease` is still held.
    pub fn lease_held(lease: &Lease) -> Self {
        Self::LeaseHeld(lease.id, lease.revision)
    }
}

/// A step of a transaction. Steps see what the ones before them did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Reads a key.
    Get(Bytes),
    /// Writes a key, and ties it to this lease and no other.
    Put {
        /// Which.
        key: Bytes,
        /// What it will hold.
        value: Bytes,
        /// The lease whose end removes it; `None` frees it from an earlier one.
        lease: Option<LeaseId>,
    },
    /// Removes a key; an absent one stays so.
    Delete(Bytes),
}

impl Op {
    /// Reads `key`.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get(key.into())
    }

    /// Writes `value` at `key`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// Writes `value` at `key` until `lease` ends.
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: Some(lease) }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete(key.into())
    }
}

/// If all compares hold then one list of steps, otherwise the other; all at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold, all of it.
    pub compares: Vec<Compare>,
    /// The steps if it does. A key may be changed by one of them only.
    pub then: Vec<Op>,
    /// The steps if it does not.
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// One without conditions or steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds a step for when all conditions hold.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }

    /// Adds a step for when a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The store's revision afterwards: that of the changes, if there were any.
    pub revision: u64,
    /// An answer for each step of the branch that ran.
    pub responses: Vec<OpResponse>,
}

/// What a step found or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResponse {
    /// What is at the key.
    Get(Option<Item>),
    /// The key was written.
    Put,
    /// Whether there was something to remove.
    Delete {
        /// False if the key was absent already.
        existed: bool,
    },
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which key.
    pub key: Bytes,
    /// The revision of the change.
    pub revision: u64,
    /// How it changed.
    pub change: Change,
}

/// How a key changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was written; this is what it became.
    Put(Item),
    /// It was removed.
    Delete {
        /// What it was, if the engine still knows.
        previous: Option<Item>,
    },
}

/// The name of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A promise that ends unless it is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The revision of the grant: the fencing number to compare and to hand on. A later holder's
    /// is higher.
    pub revision: u64,
    /// How long it runs without being kept alive.
    pub ttl: Duration,
}

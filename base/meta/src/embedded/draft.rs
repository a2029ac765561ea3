//! One commit while it is being written: the changes of all requests that share it.

use super::{
    Committed,
    tables::{
        EventKey, EventRow, HISTORY, HISTORY_BYTES, ITEMS, ItemRow, LEASE_KEYS, LEASES, META,
        OLDEST, REVISION, Stored, event_bytes, event_row, item, item_row, row_bytes,
    },
};
use crate::{
    Change, Compare, Config, Error, Event, Item, Lease, LeaseId, Op, OpResponse, Result, Txn,
    TxnOutcome,
};
use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use std::time::Duration;

/// The numbers of the whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) revision: u64,
    /// The first revision that the history still has.
    pub(super) oldest: u64,
    pub(super) history_bytes: u64,
}

impl State {
    /// Of an empty store. Revision 0 is left to say that a key is absent.
    pub(super) const EMPTY: Self = Self { revision: 1, oldest: 1, history_bytes: 0 };

    pub(super) fn committed(self) -> Committed {
        Committed { revision: self.revision, oldest: self.oldest }
    }

    pub(super) fn save(self, txn: &WriteTransaction) -> Stored<()> {
        let mut table = txn.open_table(META)?;
        table.insert(REVISION, self.revision)?;
        table.insert(OLDEST, self.oldest)?;
        table.insert(HISTORY_BYTES, self.history_bytes)?;
        Ok(())
    }
}

pub(super) struct Draft<'t> {
    items: Table<'t, &'static [u8], ItemRow>,
    history: Table<'t, EventKey, EventRow>,
    leases: Table<'t, u64, u64>,
    lease_keys: Table<'t, (u64, &'static [u8]), ()>,
    state: State,
    next_event: EventKey,
    effects: Effects,
}

/// What the rest of the engine has to know once the commit is on disk.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) events: Vec<Event>,
    pub(super) granted: Vec<Lease>,
    pub(super) ended: Vec<LeaseId>,
}

impl<'t> Draft<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, state: State) -> Stored<Self> {
        Ok(Self {
            items: txn.open_table(ITEMS)?,
            history: txn.open_table(HISTORY)?,
            leases: txn.open_table(LEASES)?,
            lease_keys: txn.open_table(LEASE_KEYS)?,
            state,
            next_event: (0, 0),
            effects: Effects::default(),
        })
    }

    /// Runs a transaction; an inner error means that it was refused and changed nothing.
    pub(super) fn txn(&mut self, txn: &Txn) -> Stored<Result<TxnOutcome>> {
        let succeeded = self.all_hold(&txn.compares)?;
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        if let Some(lease) = self.lost_lease(ops)? {
            return Ok(Err(Error::LeaseNotFound { lease }));
        }
        let revision = self.state.revision + 1;
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(self.step(op, revision)?);
        }
        if self.effects.events.last().is_some_and(|event| event.revision == revision) {
            self.state.revision = revision;
        }
        Ok(Ok(TxnOutcome { succeeded, revision: self.state.revision, responses }))
    }

    fn all_hold(&self, compares: &[Compare]) -> Stored<bool> {
        for compare in compares {
            if !self.holds(compare)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&self, compare: &Compare) -> Stored<bool> {
        Ok(match compare {
            Compare::Exists(key) => self.items.get(&key[..])?.is_some(),
            Compare::Absent(key) => self.items.get(&key[..])?.is_none(),
            Compare::ModRevision(key, revision) => {
                self.items.get(&key[..])?.map_or(0, |row| row.value().1) == *revision
            }
            Compare::Value(key, value) => {
                self.items.get(&key[..])?.is_some_and(|row| row.value().4 == &value[..])
            }
            Compare::LeaseHeld(lease, revision) => {
                // A lease is named by the revision of its grant.
                lease.0 == *revision && self.leases.get(lease.0)?.is_some()
            }
        })
    }

    /// The first lease that a put names and nobody holds.
    fn lost_lease(&self, ops: &[Op]) -> Stored<Option<LeaseId>> {
        for op in ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && self.leases.get(lease.0)?.is_none()
            {
                return Ok(Some(*lease));
            }
        }
        Ok(None)
    }

    fn step(&mut self, op: &Op, revision: u64) -> Stored<OpResponse> {
        match op {
            Op::Get(key) => Ok(OpResponse::Get(self.get(key)?)),
            Op::Put { key, value, lease } => {
                self.put(key, value, *lease, revision)?;
                Ok(OpResponse::Put)
            }
            Op::Delete(key) => {
                let existed = self.delete(key, revision)?;
                Ok(OpResponse::Delete { existed })
            }
        }
    }

    fn get(&self, key: &[u8]) -> Stored<Option<Item>> {
        Ok(self.items.get(key)?.map(|row| item(key, row.value())))
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: Option<LeaseId>,
        revision: u64,
    ) -> Stored<()> {
        let before = self.get(key)?;
        let before_lease = before.as_ref().and_then(|item| item.lease);
        let item = Item {
            key: key.clone(),
            value: value.clone(),
            create_revision: before.as_ref().map_or(revision, |item| item.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(1, |item| item.version + 1),
            lease,
        };
        if before_lease != lease {
            self.untie(key, before_lease)?;
            if let Some(lease) = lease {
                self.lease_keys.insert((lease.0, &key[..]), ())?;
            }
        }
        self.items.insert(&key[..], item_row(&item))?;
        self.record(Event { key: key.clone(), revision, change: Change::Put(item) })
    }

    fn delete(&mut self, key: &Bytes, revision: u64) -> Stored<bool> {
        let Some(before) = self.get(key)? else { return Ok(false) };
        self.untie(key, before.lease)?;
        self.items.remove(&key[..])?;
        let change = Change::Delete { previous: Some(before) };
        self.record(Event { key: key.clone(), revision, change })?;
        Ok(true)
    }

    fn untie(&mut self, key: &[u8], lease: Option<LeaseId>) -> Stored<()> {
        if let Some(lease) = lease {
            self.lease_keys.remove((lease.0, key))?;
        }
        Ok(())
    }

    fn record(&mut self, event: Event) -> Stored<()> {
        let (revision, index) = self.next_event;
        let index = if revision == event.revision { index } else { 0 };
        self.next_event = (event.revision, index + 1);
        if let Some(row) = event_row(&event) {
            self.history.insert((event.revision, index), row)?;
            self.state.history_bytes += event_bytes(&event);
        }
        self.effects.events.push(event);
        Ok(())
    }

    /// Grants a lease, named by the revision that this takes.
    pub(super) fn grant(&mut self, config: &Config, ttl_ms: u64) -> Stored<Result<Lease>> {
        let limit = config.leases_max;
        if self.leases.len()? >= limit {
            return Ok(Err(Error::TooManyLeases { limit }));
        }
        self.state.revision += 1;
        let revision = self.state.revision;
        self.leases.insert(revision, ttl_ms)?;
        let lease = Lease { id: LeaseId(revision), revision, ttl: Duration::from_millis(ttl_ms) };
        self.effects.granted.push(lease);
        Ok(Ok(lease))
    }

    /// Ends a lease and removes its keys, all at one revision.
    pub(super) fn end_lease(&mut self, lease: LeaseId) -> Stored<Result<u64>> {
        if self.leases.remove(lease.0)?.is_none() {
            return Ok(Err(Error::LeaseNotFound { lease }));
        }
        self.state.revision += 1;
        let revision = self.state.revision;
        for key in self.keys_of(lease)? {
            self.delete(&key, revision)?;
        }
        self.effects.ended.push(lease);
        Ok(Ok(revision))
    }

    fn keys_of(&self, lease: LeaseId) -> Stored<Vec<Bytes>> {
        let none: &[u8] = &[];
        let rows = self.lease_keys.range((lease.0, none)..(lease.0 + 1, none))?;
        rows.map(|row| Ok(Bytes::copy_from_slice(row?.0.value().1))).collect()
    }

    /// Forgets the history before `revision`.
    pub(super) fn compact(&mut self, revision: u64) -> Stored<Result<()>> {
        let current = self.state.revision;
        if revision > current {
            return Ok(Err(Error::FutureRevision { requested: revision, current }));
        }
        self.forget_before(revision)?;
        Ok(Ok(()))
    }

    /// Forgets what the history holds beyond its limits: an eighth more, so that it happens now
    /// and then instead of at every commit.
    pub(super) fn trim(&mut self, config: &Config) -> Stored<()> {
        let max_revisions = config.history_max_revisions;
        let revisions = self.state.revision + 1 - self.state.oldest;
        if revisions > max_revisions {
            let kept = max_revisions - max_revisions / 8;
            self.forget_before(self.state.revision + 1 - kept)?;
        }
        let max_bytes = config.history_max_bytes;
        if self.state.history_bytes > max_bytes {
            let kept = max_bytes - max_bytes / 8;
            let from = self.beyond(self.state.history_bytes - kept)?;
            self.forget_before(from.min(self.state.revision))?;
        }
        Ok(())
    }

    /// The revision after the one with which the oldest events make up `bytes`.
    fn beyond(&self, bytes: u64) -> Stored<u64> {
        let mut sum = 0;
        for row in self.history.iter()? {
            let (at, row) = row?;
            sum += row_bytes(&row.value());
            if sum >= bytes {
                return Ok(at.value().0 + 1);
            }
        }
        Ok(self.state.revision)
    }

    fn forget_before(&mut self, revision: u64) -> Stored<()> {
        if revision <= self.state.oldest {
            return Ok(());
        }
        let mut bytes = 0;
        for row in self.history.extract_from_if(..(revision, 0), |_, _| true)? {
            bytes += row_bytes(&row?.1.value());
        }
        self.state.history_bytes = self.state.history_bytes.saturating_sub(bytes);
        self.state.oldest = revision;
        Ok(())
    }

    pub(super) fn finish(self) -> (State, Effects) {
        (self.state, self.effects)
    }
}

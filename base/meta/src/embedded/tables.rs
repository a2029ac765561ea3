//! The tables of the file, their rows, and what is read from them.

use crate::{Change, Config, Event, Item, LeaseId, Page, Reading};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition};

/// The result of working on the file; the path is added where it leaves the engine.
pub(super) type Stored<T> = Result<T, redb::Error>;

/// Numbers of the whole store. Every format has this table, so that any program can tell whether
/// it may read the others.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("cloudskin_meta");
pub(super) const FORMAT: &str = "format";
pub(super) const REVISION: &str = "revision";
pub(super) const OLDEST: &str = "oldest";
pub(super) const HISTORY_BYTES: &str = "history_bytes";

/// create revision, mod revision, version, lease (0: none), value
pub(super) type ItemColumns<'a> = (u64, u64, u64, u64, &'a [u8]);
pub(super) type ItemRow = ItemColumns<'static>;
/// The items by key.
pub(super) const ITEMS: TableDefinition<'_, &[u8], ItemRow> = TableDefinition::new("items");

/// (revision, index within it)
pub(super) type EventKey = (u64, u32);
/// change, key, and the item: as it became by a put, as it was before a delete
pub(super) type EventColumns<'a> = (u8, &'a [u8], ItemColumns<'a>);
pub(super) type EventRow = EventColumns<'static>;
/// The events, oldest first.
pub(super) const HISTORY: TableDefinition<'_, EventKey, EventRow> = TableDefinition::new("history");
const PUT: u8 = 0;
const DELETE: u8 = 1;

/// Time to live in milliseconds, by lease.
pub(super) const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");
/// The keys of each lease.
pub(super) const LEASE_KEYS: TableDefinition<'_, (u64, &[u8]), ()> =
    TableDefinition::new("lease_keys");

/// What an event takes beside its key and value, roughly.
const EVENT_OVERHEAD_BYTES: u64 = 64;

pub(super) fn item(key: &[u8], row: ItemColumns<'_>) -> Item {
    let (create_revision, mod_revision, version, lease, value) = row;
    Item {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        create_revision,
        mod_revision,
        version,
        lease: (lease != 0).then_some(LeaseId(lease)),
    }
}

pub(super) fn item_row(item: &Item) -> ItemColumns<'_> {
    let lease = item.lease.map_or(0, |lease| lease.0);
    (item.create_revision, item.mod_revision, item.version, lease, &item.value)
}

/// The row of an event; a delete of ours always knows what was there.
pub(super) fn event_row(event: &Event) -> Option<EventColumns<'_>> {
    match &event.change {
        Change::Put(item) => Some((PUT, &event.key, item_row(item))),
        Change::Delete { previous } => {
            previous.as_ref().map(|item| (DELETE, &event.key[..], item_row(item)))
        }
    }
}

fn event(revision: u64, row: EventColumns<'_>) -> Stored<Event> {
    let (change, key, row) = row;
    let item = item(key, row);
    let key = item.key.clone();
    let change = match change {
        PUT => Change::Put(item),
        DELETE => Change::Delete { previous: Some(item) },
        other => return Err(redb::Error::Corrupted(format!("an event of unknown kind {other}"))),
    };
    Ok(Event { key, revision, change })
}

/// What an event counts for against `history_max_bytes` and `watch_recent_max_bytes`.
pub(super) fn event_bytes(event: &Event) -> u64 {
    let value = match &event.change {
        Change::Put(item) => item.value.len(),
        Change::Delete { previous } => previous.as_ref().map_or(0, |item| item.value.len()),
    };
    size_bytes(&event.key, value)
}

pub(super) fn row_bytes(row: &EventColumns<'_>) -> u64 {
    size_bytes(row.1, row.2.4.len())
}

fn size_bytes(key: &[u8], value: usize) -> u64 {
    (key.len() + value) as u64 + EVENT_OVERHEAD_BYTES
}

/// A number that every store has.
pub(super) fn number(
    table: &impl ReadableTable<&'static str, u64>,
    name: &'static str,
) -> Stored<u64> {
    let row = table.get(name)?;
    row.map(|row| row.value())
        .ok_or_else(|| redb::Error::Corrupted(format!("the number `{name}` is missing")))
}

pub(super) fn get(txn: &ReadTransaction, key: &[u8]) -> Stored<Reading> {
    let revision = number(&txn.open_table(META)?, REVISION)?;
    let row = txn.open_table(ITEMS)?.get(key)?;
    Ok(Reading { item: row.map(|row| item(key, row.value())), revision })
}

pub(super) fn range(
    txn: &ReadTransaction,
    config: &Config,
    prefix: &[u8],
    limit: usize,
    after: Option<&[u8]>,
) -> Stored<Page> {
    let revision = number(&txn.open_table(META)?, REVISION)?;
    let items = txn.open_table(ITEMS)?;
    let limit = match limit {
        0 => config.range_max_items,
        limit => limit.min(config.range_max_items),
    };
    let first = after.map_or_else(|| prefix.to_vec(), next_key).max(prefix.to_vec());
    let mut page = Page { items: Vec::new(), revision, more: false };
    let mut bytes = 0;
    for row in items.range(&first[..]..)? {
        let (key, value) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        if page.items.len() == limit || bytes >= config.range_max_bytes {
            page.more = true;
            break;
        }
        let item = item(key.value(), value.value());
        bytes += item.key.len() + item.value.len();
        page.items.push(item);
    }
    Ok(page)
}

/// The smallest key above `key`.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// What of the history a watcher gets next.
pub(super) enum Past {
    /// These events, all there are up to and including a revision.
    Events(Vec<Event>, u64),
    /// The history begins only here.
    Compacted(u64),
}

/// Events from revision `from` to `to`: as many whole revisions as make up `max_events`. Many
/// that do not match end a batch too, so that the look at the disk stays short.
pub(super) fn past(
    txn: &ReadTransaction,
    config: &Config,
    prefix: &[u8],
    from: u64,
    to: u64,
) -> Stored<Past> {
    let oldest = number(&txn.open_table(META)?, OLDEST)?;
    if from < oldest {
        return Ok(Past::Compacted(oldest));
    }
    let mut events: Vec<Event> = Vec::new();
    let (mut through, mut seen, mut bytes) = (from, 0, 0);
    for row in txn.open_table(HISTORY)?.range((from, 0)..=(to, u32::MAX))? {
        let (at, row) = row?;
        let (revision, _) = at.value();
        let full = seen >= config.watch_batch_max_events || bytes >= config.range_max_bytes as u64;
        if full && revision > through {
            return Ok(Past::Events(events, revision - 1));
        }
        (through, seen) = (revision, seen + 1);
        if row.value().1.starts_with(prefix) {
            bytes += row_bytes(&row.value());
            events.push(event(revision, row.value())?);
        }
    }
    Ok(Past::Events(events, to))
}

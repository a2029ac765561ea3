//! One transaction over resources and what goes with them.

use super::{
    cache::{Change, Id},
    owed::Owed,
};
use api::{Kind, Resource};
use meta::{Compare, Op, Txn};
use types::Epoch;

/// Where all resources are.
pub(super) const RESOURCES: &str = "resource/";
/// Where the highest epochs are.
pub(super) const ISSUED: &str = "issued/";
/// Where calls that sites are owed are.
pub(super) const OWED: &str = "owed/";

/// Where the resources of a kind and tenant are.
pub(super) fn prefix(kind: Kind, tenant: &str) -> String {
    format!("{RESOURCES}{}/{tenant}/", kind.path())
}

/// Where a resource is.
pub(super) fn key(kind: Kind, id: &Id) -> String {
    format!("{}{}", prefix(kind, &id.tenant), id.name)
}

/// Changes that happen together or not at all.
#[derive(Debug, Default)]
pub(super) struct Batch {
    txn: Txn,
    changes: Vec<Change>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Writes a resource over the one of the revision in its metadata; as a new one without.
    pub(super) fn put(&mut self, mut resource: Resource) {
        let key = key(resource.kind, &Id::of(&resource));
        let expected = resource.metadata.resource_version.take().unwrap_or_default();
        let value = serde_json::to_vec(&resource).expect("a resource is plain data");
        self.txn.compares.push(Compare::mod_revision(key.clone(), expected));
        self.txn.then.push(Op::put(key, value));
        self.changes.push(Change::Put(Box::new(resource)));
    }

    /// Removes a resource if it still is at its revision.
    pub(super) fn remove(&mut self, resource: &Resource) {
        let (kind, id) = (resource.kind, Id::of(resource));
        let expected = resource.metadata.resource_version.unwrap_or_default();
        self.txn.compares.push(Compare::mod_revision(key(kind, &id), expected));
        self.txn.then.push(Op::delete(key(kind, &id)));
        if kind == Kind::Service {
            self.txn.then.push(Op::delete(format!("{ISSUED}{}", resource.metadata.uid)));
        }
        self.changes.push(Change::Gone(kind, id));
    }

    /// Removes a resource whatever it became.
    pub(super) fn forget(&mut self, kind: Kind, id: Id) {
        self.txn.then.push(Op::delete(key(kind, &id)));
        self.changes.push(Change::Gone(kind, id));
    }

    /// Records that this epoch of a service was given out.
    pub(super) fn issue(&mut self, uid: &str, epoch: Epoch) {
        self.txn.then.push(Op::put(format!("{ISSUED}{uid}"), epoch.to_string()));
        self.changes.push(Change::Issued(uid.to_owned(), epoch));
    }

    /// Records that a site must hear this; `key` orders what a site hears.
    pub(super) fn owe(&mut self, key: &str, owed: Owed) {
        let value = serde_json::to_vec(&owed).expect("a call is plain data");
        self.txn.then.push(Op::put(format!("{OWED}{key}"), value));
        self.changes.push(Change::Owed(key.to_owned(), Box::new(owed)));
    }

    /// Records that it was answered.
    pub(super) fn settle(&mut self, key: &str) {
        self.txn.then.push(Op::delete(format!("{OWED}{key}")));
        self.changes.push(Change::Settled(key.to_owned()));
    }

    /// The transaction, and what the cache learns if it succeeds.
    pub(super) fn into_parts(self) -> (Txn, Vec<Change>) {
        (self.txn, self.changes)
    }
}

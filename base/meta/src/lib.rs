//! Revisioned metadata: what the control plane knows, and everything that changed it.
//!
//! A [`MetaStore`] is a map from keys to values with one global revision. A [`Txn`] changes many
//! keys at one revision or none at all; a [`Watch`] delivers every change from a revision on, or
//! says precisely that the history no longer reaches back so far. A [`Lease`] ties keys to a
//! holder that must keep reporting; whoever acts as its holder proves it inside the transaction
//! with [`Compare::LeaseHeld`] and the lease's fencing revision, never by having read a key.
//!
//! The semantics are those of etcd v3, so that an engine over etcd maps one to one. The engine
//! here is [`Embedded`], one redb file of one process. Every engine runs [`conformance::all`].
//!
//! Start at [`MetaStore::txn`] for changes and at [`Embedded::open`] for a store.

mod config;
pub mod conformance;
mod embedded;
mod error;
mod model;
mod store;
mod watch;

pub use config::{Config, ConfigError};
pub use embedded::{Embedded, FORMAT_VERSION};
pub use error::{Error, Result};
pub use model::{
    Change, Compare, Event, Item, Lease, LeaseId, Op, OpResponse, Page, Reading, Txn, TxnOutcome,
};
pub use store::{BoxFuture, MetaStore};
pub use watch::{Watch, WatchBatch, WatchSource};

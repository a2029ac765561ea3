//! Triggers: what happens below a prefix has a module run, once for each object.
//!
//! What is to be done is not kept in a queue of its own: it is the difference between the names that are there and the
//! records of what was done ([`record`]), so nothing that was sealed while nobody listened is missed. A claim is
//! a lease with a fencing number; whoever has lost it cannot finish. Events of the store only wake.
//!
//! Start at [`Triggers::add`] and [`Runner::run`]. How a module is run is the caller's, by [`Execute`]. All is kept in the
//! bucket [`TRIGGERS`], on disk: `def/NAME` what a trigger is, `module/DIGEST` its module, `job/ID/KEY` what is
//! known about the object `KEY` for it.

mod define;
mod ledger;
mod look;
pub mod record;
mod room;
mod runner;

pub use define::{Definition, Event, Events, MODULE_MAX_BYTES, Rules, TRIGGERS_MAX, Trigger};
pub use ledger::{Claim, Counts, Job, Letter};
pub use look::Look;
pub use runner::{Execute, Outcome, Runner, Stop};

use crate::Geds;

/// The bucket of all that is known about triggers.
pub const TRIGGERS: &str = "triggers.cloudskin.internal";

/// The attribute that says how many triggers in a row led to an object, as a decimal number.
pub const HOPS: &str = "trigger-hops";

/// The triggers of a tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Triggers {
    store: Geds,
}

impl Triggers {
    /// Those that are kept in a store.
    pub fn of(store: Geds) -> Self {
        Self { store }
    }

    /// The store.
    pub fn store(&self) -> &Geds {
        &self.store
    }
}

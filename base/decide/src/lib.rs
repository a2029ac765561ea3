//! Pure decisions: a snapshot and the time go in, actions come out.
//!
//! Nothing here waits, stores or sends. The orchestrator takes a snapshot ([`ServiceView`],
//! [`SitesView`]), asks, and carries the answer out; tests and simulations do the same with a
//! clock of their own. Start at [`reconcile`] for who may hold a service, at [`place`] for where
//! it goes, and at [`migration::step`] for how it moves. Where the ranks and threads of parallel
//! programs go is in [`plan`]; [`simulate`] tries that on traces of jobs.

pub mod migration;
mod placement;
pub mod plan;
mod reconcile;
pub mod simulate;
mod view;

pub use placement::{Request, Verdict, place};
pub use reconcile::{Action, Cause, Observation, reconcile, stale};
pub use view::{HeldView, Lease, MigrationView, ServiceView, SiteView, SitesView};

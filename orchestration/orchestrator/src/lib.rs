//! The continuum: a control plane, sites, and the services that move between them.
//!
//! [`control`] is the control plane: resources over REST, reconciliation, migrations. [`site`] is
//! a site's agent: workers, ingress, checkpoints; [`store`] its objects. [`dns`] answers for services' names. [`client`]
//! is the user's side of REST, [`camera`] plays video to a service, and [`supervisor`] keeps a
//! whole continuum running on one machine. [`trust`] is what connects it to other machines, and
//! [`python`] runs functions that users bring along.

pub mod camera;
pub mod client;
pub mod control;
pub mod dns;
mod measured;
mod outgoing;
pub mod python;
mod retention;
pub mod site;
pub mod store;
pub mod supervisor;
pub mod trust;

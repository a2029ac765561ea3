//! A digital twin of sites: what latency, load and stalls would be, drawn from a seed.
//!
//! [`calibrate`] learns its [`Parameters`] from a trace, [`likeness`] says how like the trace the twin
//! is. A [`World`] is a day of a [`Scenario`] with those parameters: a service, whose users move,
//! at edge sites or in the cloud.

mod calibrate;
mod parameters;
mod queue;
mod random;
mod scenario;
mod site;
mod statistics;
#[cfg(test)]
mod tests;
mod world;

pub use calibrate::{Likeness, calibrate, generate, likeness};
pub use parameters::{Memory, Parameters, SiteParameters};
pub use scenario::{Scenario, Service, Waves};
pub use statistics::{Statistic, statistics};
pub use world::World;

//! A digital twin of sites: what latency, load and stalls would be, drawn from a seed.
//!
//! [`calibrate`] learns its [`Parameters`] from a trace, [`likeness`] says how like the trace the twin
//! is. A [`World`] is a day of a [`Scenario`] with those parameters: a service, whose users move,
//! at edge sites or in the cloud. [`Game::play`] takes any [`crate::policy::Policy`] through it, and a
//! [`Contest`] compares the known ones in worlds that none of them has seen. In a [`Fleet`] thousands
//! of sites carry services that are load for each other.

mod calibrate;
mod compare;
mod fleet;
mod learn;
mod oracle;
mod parameters;
mod play;
pub(crate) mod queue;
mod random;
mod scenario;
mod site;
mod statistics;
#[cfg(test)]
mod tests;
mod world;

pub use calibrate::{Likeness, calibrate, generate, likeness};
pub use compare::{Contender, Contest, Fit, Results, Standing};
pub use fleet::{Fleet, FleetReport};
pub use learn::{Trial, reactive_rule};
pub use parameters::{Memory, Parameters, SiteParameters};
pub use play::{CloudOnly, EdgeOnly, Game, Outcome, Rules};
pub use scenario::{Scenario, Service, Waves};
pub use statistics::{Statistic, statistics};
pub use world::World;

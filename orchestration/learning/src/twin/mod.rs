//! A digital twin of sites: what latency, load and stalls would be, drawn from a seed.
//!
//! [`calibrate`] learns its [`Parameters`] from a trace, [`likeness`] says how like the trace the twin
//! is. A [`World`] is a day of a [`Scenario`] with those parameters: a service, whose users move,
//! at edge sites or in the cloud. [`Game::play`] takes any [`crate::policy::Policy`] through it, and a
//! [`Contest`] compares the known ones in worlds that none of them has seen.

mod calibrate;
mod compare;
mod learn;
mod oracle;
mod parameters;
mod play;
mod queue;
mod random;
mod scenario;
mod site;
mod statistics;
#[cfg(test)]
mod tests;
mod world;

pub use calibrate::{Likeness, calibrate, generate, likeness};
pub use compare::{Contender, Contest, Fit, Results, Standing};
pub use learn::Trial;
pub use parameters::{Memory, Parameters, SiteParameters};
pub use play::{EdgeOnly, Game, Outcome, Rules};
pub use scenario::{Scenario, Service, Waves};
pub use statistics::{Statistic, statistics};
pub use world::World;

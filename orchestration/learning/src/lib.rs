//! The learning plane: from telemetry to a forecast, from a forecast to a decision.
//!
//! Start at [`Trace`] for what was measured, at [`features`] for what a model may see of it, at
//! [`policy::Policy`] for what decides whether a service moves, and at [`replay::replay`] for what
//! such a policy would have been worth; [`agent`] makes one of what users declare, and [`twin`] plays
//! any in days that nobody recorded. [`trajectory::Tracker`] says where a vehicle will be, and [`advise`]
//! how a service will behave at places and which is best. Models of all kinds are trained by
//! [`model::train`] and kept in a [`catalog::Catalog`]; a [`Watch`] says when one no longer fits what is
//! [`Recorded`], and a [`catalog::Renewal`] trains a candidate for it. Decisions are pure: the past and
//! the time go in, and nothing here reads a clock.

pub mod advise;
pub mod agent;
pub mod catalog;
mod cost;
mod document;
mod error;
pub mod features;
pub mod forecast;
pub mod model;
mod monitor;
pub mod policy;
mod predict;
pub mod recorded;
pub mod replay;
mod rightsize;
mod trace;
pub mod trajectory;
pub mod twin;
mod watch;
pub mod weigh;

pub use cost::{Cost, Prices};
pub use error::{Error, Result};
pub use monitor::{Drift, Monitor};
pub use predict::{Past, Prediction, Predictor, Reason};
pub use recorded::Recorded;
pub use rightsize::{Sizing, rightsize};
pub use trace::{Sample, SiteTrace, Stretch, Trace};
pub use watch::{Lately, Noted, Watch};

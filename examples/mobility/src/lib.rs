//! A live service that moves between two sites under a street camera, and the proof that nobody
//! who uses it could tell.
//!
//! [`run`] starts a continuum of its own, plays a video to `street-counter` while the service
//! moves edge → cloud → edge, asks the name server every 10 ms, plays the same frames to a
//! second instance that never moves, and returns everything that was seen as a [`Record`].
//! [`Summary::of`] judges a record without touching anything; [`page::render`] draws it.
//!
//! Start at [`Options::full`] and [`run`].

mod config;
mod continuum;
mod error;
mod judge;
mod live;
mod machine;
pub mod page;
mod pictures;
mod probe;
pub mod qos;
mod run;
mod summary;
pub mod vehicle;

pub use config::{Leg, Options, Part};
pub use error::{Error, Result};
pub use judge::{DnsFigures, Latency, Switch, Tally};
pub use live::{Moved, Played};
pub use machine::Machine;
pub use pictures::{Picture, pictures};
pub use probe::{Outcome, Seen};
pub use run::{Record, run};
pub use summary::{PartSummary, Promise, Summary, Verdict, lines};

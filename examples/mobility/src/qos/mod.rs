//! The whole loop, live: recorded load, two policies side by side, and what each was worth.
//!
//! Two instances of `street-counter`, each of a tenant of its own with its own share of the edge,
//! get the same frames at the same time, at a rate that was recorded; one is looked after by a
//! reactive policy, the other by a proactive one. All runs as in earnest: sites measure, the control
//! plane's agents forecast and decide, cells migrate, DNS follows. Start at [`Setup::full`] and
//! [`run`]; [`Summary::of`] judges without touching anything.

mod calibrate;
mod load;
mod page;
mod play;
mod quota;
mod record;
mod setup;
mod steps;
mod summary;

pub use load::Load;
pub use page::render;
pub use play::{Move, Played, Tick};
pub(crate) use play::{decisions, moves, watch};
pub(crate) use record::loop_of;
pub use record::{Record, run};
pub use setup::{CAPACITY_FPS, SLA_MS, Setup, TIME_SCALE};
pub(crate) use setup::{POLICY, SERVICE};
pub use steps::{Step, steps};
pub use summary::{Figures, Summary};

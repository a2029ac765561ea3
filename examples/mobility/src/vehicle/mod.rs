//! A vehicle that drives along sites, and a service that follows it, live.
//!
//! A bus with a camera drives through a small town with an edge site at each of four places. Three
//! tenants have the same service and get the same frames from it at the same time: one stays where it
//! began, one goes after the bus, and one is told by tracks of other buses where it will be. The bus
//! pushes its position into the control plane's telemetry; whether and where to move is decided there,
//! by policies. Start at [`Setup::full`] and [`run`]; [`Summary::of`] judges without touching anything.

mod page;
mod play;
mod record;
mod road;
mod setup;
mod summary;
mod table;
mod tell;

pub use page::render;
pub use play::{Frame, Run};
pub use record::{Record, Truth, run};
pub use road::{Drive, SITES, history, roads};
pub use setup::{SLA_MS, Setup};
pub use summary::{Figures, Foresight, Step, Summary, steps};
pub use table::table;

//! What every process tells about itself: structured log lines and OpenMetrics.
//!
//! Start at [`init_logs`] in `main`, and at [`Registry`] for `/metrics`. The kinds of metric are
//! re-exported in [`metrics`], so that crates need no second dependency.

mod logs;
mod process;
mod registry;

pub use logs::{Format, LogError, Logs, init_logs};
pub use prometheus_client::{encoding, metrics};
pub use registry::{CONTENT_TYPE, Registry};

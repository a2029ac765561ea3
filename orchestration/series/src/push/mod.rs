//! Series that others send: Prometheus' remote write and OpenTelemetry's metrics.

mod messages;
mod otlp;
mod remote_write;

pub use otlp::{OTLP_MAX_BYTES, Otlp, read_otlp};
pub use remote_write::{WRITE_MAX_BYTES, read_remote_write, remote_write};

use crate::{Description, Labels, Sample};

/// What was sent.
#[derive(Debug, Default)]
pub struct Pushed {
    /// Samples by series.
    pub batch: Vec<(Labels, Sample)>,
    /// What metrics are, by name.
    pub descriptions: Vec<(String, Description)>,
}

//! Telemetry: series of measured values, kept on disk and queried in PromQL.
//!
//! Start at [`Store`]: it takes samples and finds them again.

mod error;
mod labels;
mod matcher;
mod sample;
mod store;

pub use error::{Error, Result};
pub use labels::{LABEL_MAX_BYTES, LABELS_MAX, Labels, NAME, is_label_name, is_metric_name};
pub use matcher::{Matcher, Test};
pub use sample::Sample;
pub use store::{Appended, Description, Limits, Series, Stats, Store};

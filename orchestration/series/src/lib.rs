//! Telemetry: series of measured values, kept on disk and queried in PromQL.
//!
//! Start at [`Store`]: it takes samples and finds them again. Queries are in [`query`], pages that are
//! fetched in [`scrape`], what others send in [`push`], and Prometheus' HTTP API over all of it in [`http`].

mod error;
pub mod exposition;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
mod labels;
mod matcher;
pub mod push;
pub mod query;
mod sample;
pub mod scrape;
mod store;

pub use error::{Error, Result};
pub use labels::{LABEL_MAX_BYTES, LABELS_MAX, Labels, NAME, is_label_name, is_metric_name};
pub use matcher::{Matcher, Test};
pub use sample::Sample;
pub use store::{Appended, Description, Limits, Series, Stats, Store};

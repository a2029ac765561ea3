//! Buckets and objects of GEDS for whoever speaks S3.
//!
//! An [`Endpoint`] serves the stores of some tenants over HTTP/1.1; each access key sees the
//! buckets of its tenant. It checks signatures and checksums itself, as bytes pass by; the crate
//! `s3s` finds out which operation a request is, reads documents and writes them.
//!
//! Start at [`Endpoint::new`]. Requests pass `serve::front`; what the operations do is in `ops`.

mod conditions;
mod config;
mod cors;
mod digest;
mod error;
mod fault;
mod form;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod hostile;
mod metrics;
mod ops;
mod patience;
mod payload;
mod range;
mod record;
mod serve;
mod sign;
mod store;
mod tags;
mod target;

pub use config::{Config, Key};
pub use error::Error;
pub use metrics::Metrics;
pub use serve::Endpoint;

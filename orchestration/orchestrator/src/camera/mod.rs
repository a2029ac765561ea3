//! A camera for services: plays a video to a service, one HTTP request for each frame.
//!
//! The camera is an open loop: frame `i` is due at the start plus `i / fps` whatever became of
//! the ones before it, and its latency counts from when it was due. It finds the service
//! through the continuum's name server and honours the TTL, so it follows migrations as any
//! client would; a frame whose connection broke is sent again under the same request id.
//!
//! Start at [`play`]. Decoding is in `source`, name resolution in `resolve`, HTTP in `lane`.

mod config;
mod error;
mod jpeg;
mod lane;
mod pace;
mod pgm;
mod play;
mod report;
mod resolve;
mod source;
#[cfg(test)]
mod tests;

pub use config::{Distances, Options, Picture};
pub use error::{Error, Result};
pub use pace::Pace;
pub use play::play;
pub use report::{AddressUse, Answer, Latency, Report};

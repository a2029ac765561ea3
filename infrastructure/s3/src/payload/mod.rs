//! The bodies of requests, as bytes that were checked on their way.

mod body;
mod chunks;
mod expected;
mod ingest;

pub(crate) use body::Body;
#[cfg(test)]
pub(crate) use chunks::Decoder;
pub(crate) use expected::{Expected, given as given_checksum};
pub(crate) use ingest::{Ingest, Sink};

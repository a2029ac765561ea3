//! Memory that processes share: regions, the index of names, and the page of each process.
//!
//! Everything here may be overwritten at any moment by another process of the same tenant: each
//! access is checked against the bounds of its region, each walk is bounded, and nothing that is read is
//! trusted to be what this crate wrote.

pub(crate) mod index;
pub(crate) mod record;
mod region;
pub(crate) mod session;
pub(crate) mod slots;

pub(crate) use region::{Access, Region, memory_file};

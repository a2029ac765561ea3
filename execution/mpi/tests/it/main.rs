//! What programs may rely on, with ranks as threads over plain memory.

mod collectives;
mod environment;
mod guest;
mod header;
mod onesided;
mod point;
mod sites;
mod types;

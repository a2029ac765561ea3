//! What programs may rely on, with ranks as threads over plain memory.

mod attributes;
mod collectives;
mod disturbed;
mod environment;
mod graphs;
mod guest;
mod header;
mod onesided;
mod patterns;
mod point;
mod seeds;
mod sites;
mod stopping;
mod types;

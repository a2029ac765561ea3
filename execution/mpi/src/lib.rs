//! MPI-3 for ranks that are threads of one process, or of one process at each of several sites.
//!
//! A [`World`] has as many ranks as a program asked for; each is a [`Rank`], whose methods are the
//! functions of MPI, with pointers into the guest's [`Memory`] and handles of `include/mpi.h`.
//! Messages of up to 2 KiB go through lock-free rings; longer ones are copied once, from the
//! sender's memory to the receiver's. Reductions combine in rank order, so that results do not
//! depend on who comes first. A call that waits polls for a while and then parks its thread; when
//! all ranks wait for each other, the world ends with a sentence that tells who waits for what.
//!
//! A world at several sites ([`World::spread`], [`connection`]) has the same semantics and results.
//!
//! A rank can leave a call that waits and make it again later ([`World::ask_to_stop`], [`BLOCKING`]);
//! meanwhile it can be saved ([`Rank::save`], [`World::save`]) and restored in another world, at
//! another site ([`World::restored_spread`]).
//!
//! Start at [`World::new`]; [`functions!`] is the table for those who bind the functions.
//! `engine` has the state of a rank and how it waits, `mail` the matching of messages, `ring` the
//! queues, `collective` how members act together, `site` what goes between sites, `underway` how a
//! call is interrupted and made again, `save` and `image` the bytes of what is saved, and `memory`
//! all that is unsafe.

#![allow(clippy::too_many_arguments, reason = "MPI's functions have as many")]

mod abi;
mod attribute;
mod basic;
mod blocking;
mod collective;
mod communicator;
mod config;
pub mod connection;
mod darray;
mod datatype;
mod engine;
mod environment;
mod error;
mod functions;
mod graph;
mod group;
mod image;
mod known;
mod mail;
mod memory;
mod movement;
mod neighbour;
mod offer;
mod op;
mod point;
mod quad;
mod recipe;
mod reduction;
mod request;
mod ring;
mod save;
mod site;
mod stop;
mod table;
mod topology;
mod transfer;
mod types;
mod underway;
mod window;
mod world;

/// `mpi.h`, which declares [`FUNCTIONS`] to programs in C and C++.
pub const HEADER: &str = include_str!("../include/mpi.h");

pub use blocking::BLOCKING;
pub use config::Config;
pub use engine::{Callback, Outcome, Rank};
pub use error::Abort;
pub use functions::FUNCTIONS;
pub use memory::Memory;
pub use site::{Link, Placement};
pub use stop::{NotStopped, Stopped};
pub use world::World;

//! Ephemeral objects kept close to the code that reads them.
//!
//! A process joins its host's node with [`Geds::open`], or holds a node of its own with
//! [`Config::alone`]. Objects lie in buckets; each is written once, sealed, and then never
//! changes: writing a name again makes a new version. Sealed bytes that are in memory are read as a
//! borrowed [`View`] without a copy.
//!
//! Start at [`Geds::put`] and [`Geds::view`]; [`Geds::create`] writes what has no known size, and [`Node`] serves the
//! processes of a host.
//!
//! Inside, `shared` is the memory that processes share, `client` what a process does in it by itself, `node` what
//! it asks for; `disk` and `backend` are the tiers below.

mod attributes;
mod backend;
mod checkpoint;
mod client;
mod config;
mod copies;
mod disk;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod geds;
mod listing;
mod names;
mod node;
mod object;
mod outside;
mod put;
mod relocate;
mod remote;
mod shared;
mod stat;
pub mod trigger;
mod view;
mod wire;
mod writer;

pub use attributes::{ATTRIBUTES_MAX_BYTES, Attributes};
pub use backend::{Backend, BackendConfig, BackendState, Class};
pub use checkpoint::{CHECKPOINTS, Checkpoint};
pub use config::{Config, Limits, Usage};
pub use copies::Part;
pub use error::{Error, Result};
pub use event::{Event, Happening, Scope, Subscription};
pub use geds::Geds;
pub use listing::{Entry, Listing, PAGE_MAX_ENTRIES, Page};
pub use names::{KEY_MAX_BYTES, NameError, check_bucket, check_key, is_internal};
pub use node::Node;
pub use object::Object;
pub use relocate::{Destination, Relocated, Unmoved};
pub use remote::Site;
pub use stat::{Bucket, Lost, Put, Stat, Tier};
pub use types::ErrorKind;
pub use view::View;
pub use writer::Writer;

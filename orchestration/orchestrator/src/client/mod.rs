//! What a command line or a program needs to talk to a control plane.
//!
//! [`Contexts`] finds which control plane and which token, [`Client`] speaks REST to it,
//! [`manifest`] reads the files that users apply. [`wait`] and [`migrate`] follow what happens
//! after a request until it is done.
//!
//! Start at [`Contexts::resolve`] and [`Client::new`].

mod blob;
mod context;
mod diff;
mod error;
pub mod manifest;
pub mod migrate;
mod rest;
mod sse;
pub mod wait;
mod watch;

pub(crate) use context::xdg;
pub use context::{Context, Contexts, Given};
pub use diff::{documents, is_same, unified, yaml};
pub use error::{Error, Result};
pub use rest::{Applied, Change, Client, LogPiece, Snapshot};
pub use watch::Watch;

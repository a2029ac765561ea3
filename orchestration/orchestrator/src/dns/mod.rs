//! The embedded authoritative name server of a continuum.
//!
//! A [`Zone`] maps `<service>.<tenant>.svc.cloudskin.internal.` to the addresses that serve it
//! now. [`Zone::apply`] switches any number of names at once: a query sees all of a change or
//! none of it, and a name that is switched is never without an answer. [`serve`] answers over
//! UDP and TCP; outsiders may copy the zone (AXFR) and change it (RFC 2136) with a TSIG [`Key`].
//!
//! Start at [`Zone::new`]. What is answered is decided in `answer`, `update` and `transfer`.

mod answer;
mod config;
mod error;
mod handler;
mod key;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod transfer;
mod update;
mod zone;

pub use config::Config;
pub use error::{Error, Result};
pub use key::Key;
pub use server::{Server, serve};
pub use stats::Stats;
pub use zone::{ADDRESSES_MAX, Change, NAMES_MAX, Zone};

//! Who is who between machines: the control plane's certificate authority, the identities that it
//! gives to sites, the tokens that let a site join, and TLS with both.
//!
//! Nothing here is used on loopback. What is bound wider speaks TLS 1.3 alone, and each side shows
//! a certificate of the one [`Authority`] that both know; only users, who show their token, may
//! come without one. A certificate names its holder ([`Party`]), and a connection is for one
//! party: an address that leads to somebody else ends in a failed handshake.
//!
//! Start at [`Authority::open`] and [`Identity`]. The first connection of a site, which knows
//! nothing but a [`JoinToken`], is in `join`; what both sides of TLS demand is in `tls`.

mod authority;
mod error;
mod files;
mod identity;
mod join;
mod party;
mod registry;
mod request;
mod strangers;
mod tls;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Fingerprint, Issued};
pub use error::{Error, Result};
pub(crate) use identity::Grant;
pub use identity::Identity;
pub(crate) use join::Joining;
pub use join::{JoinTicket, JoinToken, JoinTokens};
pub use party::Party;
pub(crate) use registry::Keys;
pub use registry::Registry;
pub use request::SigningRequest;
pub(crate) use strangers::{Stranger, Strangers};
pub(crate) use tls::{
    Caller, Connector, Expected, Expects, HTTP, HTTP2, INGRESS, PEER, STATE, Stream, accept,
    caller, connect, control_server, joining, roots_of, user,
};

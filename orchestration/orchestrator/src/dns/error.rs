//! What can go wrong when a zone is made, changed or served.

use super::zone::{ADDRESSES_MAX, NAMES_MAX};
use std::{io, net::SocketAddr};
use types::{ErrorKind, NameError};

/// A failure of the name server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zone's own name cannot be used.
    #[error(
        "`{origin}` cannot be the name of a zone: write a domain name such as `cloudskin.internal.`"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A time to live that would make a switch too slow.
    #[error(
        "the TTL of {ttl_seconds} s is too long: clients would follow a migration late; use at most {max_seconds} s"
    )]
    Ttl {
        /// What was given.
        ttl_seconds: u32,
        /// The longest that is allowed.
        max_seconds: u32,
    },
    /// A tenant or service whose name is not one DNS label.
    #[error("`{text}` cannot be part of a domain name")]
    Label {
        /// What was given.
        text: String,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// The whole name is longer than DNS allows.
    #[error("the domain name of service `{service}` of tenant `{tenant}` is longer than 255 bytes")]
    NameTooLong {
        /// The service.
        service: String,
        /// Its tenant.
        tenant: String,
    },
    /// A change that would leave a name without an address.
    #[error("`{name}` was given no address: name one, or remove the name")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// More addresses than one answer can usefully carry.
    #[error("`{name}` was given {count} addresses: at most {ADDRESSES_MAX} are allowed")]
    TooManyAddresses {
        /// The name.
        name: String,
        /// How many were given.
        count: usize,
    },
    /// The zone is full; nothing was changed.
    #[error("the zone holds {NAMES_MAX} names, which is its limit; nothing was changed")]
    Full,
    /// A key that cannot sign.
    #[error("the TSIG key cannot be used: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen for DNS queries on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full => ErrorKind::Exhausted,
            Self::Listen { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }
}

/// A result of the name server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

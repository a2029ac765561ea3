//! Settings of a zone.

use super::Key;
use serde::Deserialize;
use std::net::IpAddr;

/// Longest TTL: the design promises that clients follow a migration within it.
pub(super) const TTL_MAX_SECONDS: u32 = 5;

/// One zone and who may change it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The domain that this zone answers for.
    pub origin: String,
    /// How long clients may keep an answer, in seconds; at most 5.
    pub ttl_seconds: u32,
    /// Addresses of the name server itself, `ns.<origin>`.
    pub name_server: Vec<IpAddr>,
    /// The zone's first serial; by default the seconds since 1970, so that a restart goes on
    /// from a higher one.
    pub serial: Option<u32>,
    /// Lets its holders copy the zone from anywhere and change it.
    #[serde(skip)]
    pub key: Option<Key>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: "cloudskin.internal.".to_owned(),
            ttl_seconds: 2,
            name_server: vec![IpAddr::from([127, 0, 0, 1])],
            serial: None,
            key: None,
        }
    }
}

//! A place with compute.

use crate::Condition;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use types::{Bytes, Cpu};

/// What is wanted of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SiteSpec {
    /// Takes no new services while true.
    pub cordoned: bool,
}

/// What is known of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SiteStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts; `Ready` holds while the site's lease does.
    pub conditions: Vec<Condition>,
    /// Whether its agent is connected and its lease holds.
    pub ready: bool,
    /// Where its ingress is reached, and its peers' listener unless `peerAddress` says otherwise.
    pub address: Option<IpAddr>,
    /// Where its peers' listener is reached, over mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<IpAddr>,
    /// The ingress' port.
    pub ingress_port: u16,
    /// The port for other sites.
    pub peer_port: u16,
    /// Processor time that it offers.
    pub cpu: Cpu,
    /// Memory that it offers.
    pub memory: Bytes,
    /// Version of its agent.
    pub version: String,
    /// Milliseconds since the Unix epoch of its agent's last word.
    pub last_seen: u64,
    /// How many services it runs.
    pub services: u32,
    /// Its store of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<SiteStore>,
}

/// Where a site's store of objects is. It begins when it is first used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteStore {
    /// Where S3 clients connect, on the site's own machine.
    pub s3: SocketAddr,
    /// Where the stores of other sites connect.
    pub sites: SocketAddr,
    /// The folder on the site's machine in which its sockets and keys are.
    pub folder: String,
}

//! What a supervisor says of itself in `state.json`.

use super::{Network, process::Identity};
use api::Problem;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where the supervisor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not everything is ready yet.
    Starting,
    /// Everything was ready.
    Ready,
    /// It is ending everything.
    Stopping,
    /// It gave up; the problem says why.
    Failed,
}

/// A continuum of this machine, as its supervisor last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub(super) supervisor: Identity,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why, when it failed.
    pub problem: Option<Problem>,
    /// Milliseconds since the Unix epoch.
    pub started: u64,
    /// The control plane's REST.
    pub url: String,
    /// Where other machines reach it, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<SocketAddr>,
    /// The loopback network.
    pub network: Network,
    /// Our DNS.
    pub dns: SocketAddr,
    /// The local ingress.
    pub ingress: SocketAddr,
    /// The sites' names.
    pub sites: Vec<String>,
    /// The processes.
    pub children: Vec<ChildState>,
}

/// One process of a continuum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildState {
    /// Which.
    pub name: String,
    /// Its number, while it runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_end: Option<String>,
}

impl State {
    /// Whether the supervisor that wrote this still runs.
    pub fn is_alive(&self) -> bool {
        self.supervisor.is_alive()
    }

    /// The supervisor's number.
    pub fn pid(&self) -> i32 {
        self.supervisor.pid
    }
}

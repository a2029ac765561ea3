//! What one site's agent is told at its start.

use super::{groups::CpuSets, reach::Trust};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};
use types::{Bytes, Cpu};

/// Settings of one site's agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The site's name.
    pub name: String,
    /// For selection; `tier: edge`.
    pub labels: BTreeMap<String, String>,
    /// The control plane: `http://HOST:PORT` with a token, `https://HOST:PORT` with certificates.
    pub control_url: String,
    /// How it and the control plane and other sites know each other.
    pub trust: Trust,
    /// Where the ingress listens; without certificates also the peers' listener and migrations.
    /// It has no token: who reaches it uses the site's services.
    pub address: IpAddr,
    /// The ingress' port; 0 lets the system choose.
    pub ingress_port: u16,
    /// The port for other sites without certificates; 0 lets the system choose.
    pub peer_port: u16,
    /// All that the site remembers; safe to delete while the agent and its workers are down.
    pub data_dir: PathBuf,
    /// The program that runs a worker.
    pub worker_program: PathBuf,
    /// Its arguments before `--socket S --token-file T --data DIR`.
    pub worker_args: Vec<String>,
    /// Processor time that the site offers.
    pub cpu: Cpu,
    /// Memory that the site offers.
    pub memory: Bytes,
    /// The processors of its workers.
    pub cpu_sets: CpuSets,
    /// The site's store of objects, if it has one.
    pub store: Option<StoreConfig>,
    /// The agent's version, for people.
    pub version: String,
    /// What may be in use at once.
    pub limits: SiteLimits,
}

/// The process that holds a site's objects.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before `--site NAME --folder DIR`. Its standard input is the listener for S3, its standard output
    /// that for other sites' stores.
    pub args: Vec<String>,
    /// Most memory for the objects of one tenant, at its start and whatever policies say.
    pub memory: Bytes,
    /// The port for S3 clients, on the site's own address or else on 127.0.0.1; another one if it is taken.
    pub s3_port: u16,
    /// The port for the stores of other sites, where these reach the site; another one if it is taken.
    pub sites_port: u16,
}

/// Limits of one site's agent; each protects the others from one greedy user.
#[derive(Debug, Clone)]
pub struct SiteLimits {
    /// Most connections to the ingress; further ones wait to be accepted.
    pub connections_max: usize,
    /// Most bytes of request bodies that the ingress holds at once.
    pub buffered_bytes_max: u64,
    /// Most requests that wait for one service while it moves or restarts.
    pub waiting_requests_max: usize,
    /// How long an upload may stand still.
    pub upload_idle: Duration,
    /// How long a worker may say nothing before it is taken to hang, and killed.
    pub worker_silence: Duration,
    /// Largest module.
    pub module_bytes_max: u64,
    /// Largest checkpoint that a peer may leave here.
    pub checkpoint_bytes_max: u64,
    /// How long a peer's checkpoint is kept after it was last replaced.
    pub checkpoint_age_max: Duration,
    /// How long the control plane must have been away before policies are asked here: links break
    /// and come back.
    pub policies_after: Duration,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            buffered_bytes_max: 1 << 30,
            waiting_requests_max: 1024,
            upload_idle: Duration::from_secs(30),
            worker_silence: Duration::from_secs(20),
            module_bytes_max: 512 << 20,
            checkpoint_bytes_max: 8 << 30,
            checkpoint_age_max: Duration::from_secs(7 * 24 * 3600),
            policies_after: Duration::from_secs(5),
        }
    }
}

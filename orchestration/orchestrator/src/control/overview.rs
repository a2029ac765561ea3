//! What a control plane says of itself: the answer at [`api::paths::STATUS`].

use super::state::State;
use api::service::Phase;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// What a control plane is and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Its release.
    pub version: String,
    /// The store's revision.
    pub revision: u64,
    /// Its names.
    pub dns: DnsOverview,
    /// The ingress that routes by host, if there is one.
    pub ingress: Option<SocketAddr>,
    /// In order of name.
    pub sites: Vec<SiteOverview>,
    /// How many services are in which phase.
    pub services: BTreeMap<String, u32>,
    /// Milliseconds that a site's lease holds.
    pub lease_ms: u64,
}

/// Where names are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsOverview {
    /// All names end with this.
    pub zone: String,
    /// Where the server listens, if it does.
    pub address: Option<SocketAddr>,
}

/// One site in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteOverview {
    /// Its name.
    pub name: String,
    /// Whether its agent is connected and its lease holds.
    pub ready: bool,
    /// Takes no new services.
    pub cordoned: bool,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// Its ingress' port.
    pub ingress_port: u16,
    /// For selection.
    pub labels: BTreeMap<String, String>,
    /// How many services it was assigned.
    pub services: u32,
}

/// The control plane as it is now.
pub(super) fn now(state: &State) -> Overview {
    let (zone, address) = state.names.zone();
    let mut services: BTreeMap<String, u32> = BTreeMap::new();
    state.cache(|cache| {
        for service in cache.services.values() {
            *services.entry(phase_name(service.status.phase)).or_default() += 1;
        }
    });
    Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: state.cache(|cache| cache.revision),
        dns: DnsOverview { zone, address },
        ingress: state.config.ingress,
        sites: sites(state),
        services,
        lease_ms: u64::try_from(state.config.lease.as_millis()).unwrap_or(u64::MAX),
    }
}

fn phase_name(phase: Phase) -> String {
    format!("{phase:?}")
}

fn sites(state: &State) -> Vec<SiteOverview> {
    let now = state.clock.monotonic();
    state.both(|cache, live| {
        let views = super::views::sites(cache, live, state.lease());
        let all = views.sites.iter();
        all.filter_map(|(name, view)| {
            let status = &cache.sites.get(name)?.status;
            Some(SiteOverview {
                name: name.clone(),
                ready: views.ready(name, now),
                cordoned: view.cordoned,
                address: status.address,
                ingress_port: status.ingress_port,
                labels: view.labels.clone(),
                services: view.services,
            })
        })
        .collect()
    })
}

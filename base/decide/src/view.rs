//! The snapshots that decisions are taken on.

use api::{
    link::HeldState,
    service::{OnSiteLost, Placement, Resources},
};
use std::{collections::BTreeMap, time::Duration};
use types::{Bytes, Cpu, Epoch};

/// How long a site's word holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// A site serves `restart` services for at most so long after a beat that was answered.
    pub length: Duration,
    /// For clocks that do not run alike: what is waited beyond the lease before another site
    /// takes over.
    pub margin: Duration,
}

/// One site as it is known now.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteView {
    /// For selection.
    pub labels: BTreeMap<String, String>,
    /// Takes no new services.
    pub cordoned: bool,
    /// Its agent has a connection.
    pub connected: bool,
    /// Monotonic time of its last beat.
    pub last_beat: Duration,
    /// Processor time that it offers.
    pub cpu: Cpu,
    /// Memory that it offers.
    pub memory: Bytes,
    /// Processor time of what it was assigned.
    pub cpu_used: Cpu,
    /// Memory of what it was assigned.
    pub memory_used: Bytes,
    /// How many services it was assigned.
    pub services: u32,
}

/// All sites, and the terms of their leases.
#[derive(Debug, Clone, PartialEq)]
pub struct SitesView {
    /// The same for every site.
    pub lease: Lease,
    /// By name.
    pub sites: BTreeMap<String, SiteView>,
}

impl SitesView {
    /// When the site's lease ends; nothing for a site that is not known.
    pub fn expires(&self, site: &str) -> Option<Duration> {
        Some(self.sites.get(site)?.last_beat + self.lease.length)
    }

    /// When another site may take over what this one holds; at once for one that was removed.
    pub fn takeover(&self, site: &str) -> Duration {
        self.expires(site).map_or(Duration::ZERO, |expires| expires + self.lease.margin)
    }

    /// Whether the site's agent is connected and its lease holds.
    pub fn ready(&self, site: &str, now: Duration) -> bool {
        self.sites.get(site).is_some_and(|view| view.connected)
            && self.expires(site).is_some_and(|expires| now < expires)
    }
}

/// One service: what is wanted, what is stored, what sites report.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Where it may run.
    pub placement: Placement,
    /// What it needs.
    pub resources: Resources,
    /// What happens when its site is lost.
    pub on_site_lost: OnSiteLost,
    /// It is to go.
    pub deleting: bool,
    /// The site that holds the epoch, by the store.
    pub site: Option<String>,
    /// The epoch of that site.
    pub epoch: Epoch,
    /// The highest epoch that was ever given out, aborted migrations included.
    pub issued: Epoch,
    /// A migration by the store.
    pub migration: Option<MigrationView>,
    /// What its site says it holds of it: a site that gets it back may still forward for an
    /// earlier epoch.
    pub held: Vec<HeldView>,
}

/// A migration in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationView {
    /// The site that receives.
    pub to: String,
    /// The epoch that it will hold.
    pub epoch: Epoch,
}

/// A service as one site holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// Under which it is held.
    pub epoch: Epoch,
    /// What the site does with it.
    pub state: HeldState,
    /// Why, when it failed.
    pub message: String,
    /// The control plane owes this site the last call of a transaction about this service.
    pub call_pending: bool,
}

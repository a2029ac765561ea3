//! Snapshots for `decide`, made of what is stored and what sites say.

use super::{
    cache::{Cache, Service},
    sites::Sites,
};
use decide::{HeldView, Lease, MigrationView, ServiceView, SiteView, SitesView};
use std::collections::BTreeMap;

/// Every stored site.
pub(super) fn sites(cache: &Cache, live: &Sites, lease: Lease) -> SitesView {
    let mut sites: BTreeMap<String, SiteView> = cache
        .sites
        .iter()
        .map(|(name, site)| {
            let heard = live.get(name);
            let view = SiteView {
                labels: site.resource.metadata.labels.clone(),
                cordoned: site.spec.cordoned,
                connected: heard.is_some_and(|heard| heard.conn.is_some()),
                last_beat: heard.map(|heard| heard.last_beat).unwrap_or_default(),
                cpu: site.status.cpu,
                memory: site.status.memory,
                cpu_used: types::Cpu(0),
                memory_used: types::Bytes(0),
                services: 0,
            };
            (name.clone(), view)
        })
        .collect();
    for service in cache.services.values() {
        let coming = service.status.migration.as_ref().map(|migration| &migration.to);
        for site in service.status.site.iter().chain(coming) {
            if let Some(view) = sites.get_mut(site) {
                view.services += 1;
                view.cpu_used.0 = view.cpu_used.0.saturating_add(service.spec.resources.cpu.0);
                view.memory_used.0 =
                    view.memory_used.0.saturating_add(service.spec.resources.memory.0);
            }
        }
    }
    SitesView { lease, sites }
}

/// One service.
pub(super) fn service(cache: &Cache, live: &Sites, service: &Service) -> ServiceView {
    let status = &service.status;
    ServiceView {
        placement: service.spec.placement.clone(),
        resources: service.spec.resources.clone(),
        on_site_lost: service.spec.on_site_lost,
        deleting: service.deleting(),
        site: status.site.clone(),
        epoch: status.epoch,
        issued: cache.issued(service),
        migration: status
            .migration
            .as_ref()
            .map(|migration| MigrationView { to: migration.to.clone(), epoch: migration.epoch }),
        held: status
            .site
            .as_deref()
            .map(|site| held(cache, live, site, service))
            .unwrap_or_default(),
    }
}

fn held(cache: &Cache, live: &Sites, site: &str, service: &Service) -> Vec<HeldView> {
    let reported = live.get(site).and_then(|live| live.held.get(service.uid()));
    let all = reported.into_iter().flatten();
    all.map(|held| HeldView {
        epoch: held.epoch,
        state: held.state,
        message: held.message.clone(),
        call_pending: cache.owes(site, service.uid()),
    })
    .collect()
}

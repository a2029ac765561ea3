//! What each site is told to run.

use super::{
    agents,
    cache::{Cache, Id},
    runs,
    sites::Sites,
    state::State,
    views,
};
use crate::trust::Keys;
use api::{
    cell::Form,
    link::{Assignment, CellAssignment, Desired, Peer, StartState},
    site::SiteStatus,
};
use decide::HeldView;
use std::{collections::BTreeMap, net::SocketAddr};
use types::{Digest, Epoch};

/// Tells every connected site what changed for it. A site that is owed a verdict hears that
/// first: it must not drop what it is about to be told to forward.
pub(super) fn push(state: &State) {
    let keys = state.registry.keys();
    let models = agents::models(state);
    for conn in state.sites(|sites| sites.connected()) {
        let desired = state.both(|cache, sites| {
            let owed = cache.owed.values().any(|owed| owed.site == conn.site());
            (!owed).then(|| of(cache, sites, (&keys, &models), conn.site()))
        });
        if let Some(desired) = desired {
            conn.tell(desired);
        }
    }
}

/// All that `site` shall run, to whom the `keys` say that its peers' names belong, and the models
/// of its policies.
pub(super) fn of(
    cache: &Cache,
    sites: &Sites,
    (keys, models): (&Keys, &BTreeMap<Id, Digest>),
    site: &str,
) -> Desired {
    Desired {
        revision: cache.revision,
        services: services(cache, site),
        cells: cells(cache, sites, site),
        peers: peers(cache, sites, keys, site),
        drop: drops(cache, sites, site),
        policies: agents::assignments(cache, models, site),
    }
}

fn services(cache: &Cache, site: &str) -> Vec<Assignment> {
    let own = cache.services.values().filter(|service| {
        let stays = !service.deleting() || service.status.migration.is_some();
        stays && service.status.site.as_deref() == Some(site)
    });
    own.filter_map(|service| assignment(service, service.status.epoch)).collect()
}

/// A service under this epoch. Only the first epoch begins without a checkpoint.
pub(super) fn assignment(service: &super::cache::Service, epoch: Epoch) -> Option<Assignment> {
    let metadata = &service.resource.metadata;
    let module = service.spec.module_digest()?;
    // Another module cannot read the snapshot.
    let restored = service.status.restored.as_ref().filter(|restored| restored.module == module);
    Some(Assignment {
        tenant: metadata.tenant.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        epoch,
        module,
        spec: service.spec.clone(),
        restore: epoch > Epoch(1),
        snapshot: restored.map(|r| StartState { epoch: r.epoch, digest: r.digest }),
    })
}

fn cells(cache: &Cache, live: &Sites, site: &str) -> Vec<CellAssignment> {
    let own = cache
        .runs()
        .filter(|cell| runs::is_at(cell, site) && cell.status.ended.is_none() && !cell.deleting());
    let grants = super::lending::grants(cache, live, site);
    own.filter_map(|cell| {
        let (_, digest) = cell.spec.module.rsplit_once('@')?;
        let mut spec = cell.spec.clone();
        if spec.place.take().is_some() {
            site.clone_into(&mut spec.site);
        }
        if let (Some(Form::Threads(threads)), Some(cpus)) = (&mut spec.form, grants.get(cell.uid()))
        {
            threads.cpus = *cpus;
        }
        Some(CellAssignment {
            tenant: cell.resource.metadata.tenant.clone(),
            name: cell.resource.metadata.name.clone(),
            uid: cell.uid().to_owned(),
            module: digest.parse().ok()?,
            ranks: runs::ranks_at(cell, site),
            incarnation: cell.status.ranks.as_ref().map_or(0, |ranks| ranks.incarnation),
            spec,
        })
    })
    .collect()
}

fn peers(cache: &Cache, sites: &Sites, keys: &Keys, site: &str) -> Vec<Peer> {
    let others = cache.sites.iter().filter(|(name, other)| {
        // A machine that joined under another name is where its former self is still noted.
        let replaced = || holder(cache, sites, name, place(&other.status)).is_some();
        *name != site && (is_connected(sites, name) || !replaced())
    });
    others
        .filter_map(|(name, other)| {
            let address = other.status.address?;
            Some(Peer {
                site: name.clone(),
                address: SocketAddr::new(
                    other.status.peer_address.unwrap_or(address),
                    other.status.peer_port,
                ),
                ingress: SocketAddr::new(address, other.status.ingress_port),
                key: keys.get(name).cloned(),
                store: other.status.store.as_ref().map(|store| store.sites),
            })
        })
        .collect()
}

/// Where a site's listener for peers on other machines is.
fn place(status: &SiteStatus) -> Option<SocketAddr> {
    status.peer_address.map(|address| SocketAddr::new(address, status.peer_port))
}

fn is_connected(sites: &Sites, site: &str) -> bool {
    sites.get(site).is_some_and(|live| live.conn.is_some())
}

/// Another site that is connected and reached at this very place.
pub(super) fn holder<'a>(
    cache: &'a Cache,
    sites: &Sites,
    site: &str,
    at: Option<SocketAddr>,
) -> Option<&'a str> {
    let at = at?;
    let mut others = cache.sites.iter().filter(|(name, _)| *name != site);
    others
        .find(|(name, other)| place(&other.status) == Some(at) && is_connected(sites, name))
        .map(|(name, _)| name.as_str())
}

fn drops(cache: &Cache, sites: &Sites, site: &str) -> Vec<(String, Epoch)> {
    let Some(live) = sites.get(site) else { return Vec::new() };
    let mut drops: Vec<(String, Epoch)> = live
        .held
        .values()
        .flatten()
        .filter_map(|held| {
            let service = cache.service_by_uid(&held.uid);
            let view = service.map(|service| views::service(cache, sites, service));
            let held_view = HeldView {
                epoch: held.epoch,
                state: held.state,
                message: String::new(),
                call_pending: cache.owes(site, &held.uid),
            };
            let epoch = decide::stale(view.as_ref(), site, &held_view)?;
            Some((held.uid.clone(), epoch))
        })
        .collect();
    drops.sort();
    drops
}

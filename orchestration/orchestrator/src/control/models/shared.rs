//! A catalog that sites share: its copy here is kept as what is shared, and while that is away it is used as it is.

use super::{Models, lock};
use crate::{
    control::{Error, Result, agents::apart, state::State},
    store::{self, ModelShelf},
};
use api::DEFAULT_TENANT;
use geds::{Config, Geds};
use learning::catalog::Catalog;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use types::ErrorKind;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Folders of the sites' stores that are on this machine: any of them sees all buckets.
    stores: Arc<Mutex<Vec<PathBuf>>>,
    /// How the last look at it went.
    last: Mutex<Option<Told>>,
}

/// A condition of each model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Shared {
    /// The catalog at an address, with its copy in a folder.
    pub(super) fn catalog(&self, address: &str, copy: &Path) -> Result<Catalog> {
        let stores = self.stores.clone();
        let shelf = ModelShelf::new(address, Box::new(move || join(&lock(&stores).clone())))
            .map_err(|reason| Error::refuse(ErrorKind::Invalid, reason))?;
        Ok(Catalog::shared(copy, Arc::new(shelf)))
    }

    /// What is told of each model; nothing of a catalog that is not shared.
    pub(super) fn told(&self, catalog: &Catalog) -> Option<Told> {
        let address = catalog.address()?;
        let first = || Told {
            holds: false,
            reason: "Away",
            message: format!("`{address}` was not reached yet: what came last is used"),
        };
        Some(lock(&self.last).clone().unwrap_or_else(first))
    }
}

/// Joins the first store that answers.
fn join(stores: &[PathBuf]) -> std::result::Result<Geds, Box<dyn std::error::Error + Send + Sync>> {
    let mut why = "no site with a store is on this machine".to_owned();
    for folder in stores.iter().filter(|folder| store::is_ours(folder)) {
        match store::socket(folder, DEFAULT_TENANT) {
            Err(problem) => why = problem.message,
            Ok(socket) => match Geds::open(Config::join(socket)) {
                Ok(joined) => return Ok(joined),
                Err(error) => why = types::chain(&error),
            },
        }
    }
    Err(why.into())
}

/// Takes what is new, until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    let mut looks = interval(state.config.models_interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        *lock(&state.models.shared.stores) = stores(&state);
        let asked = state.clone();
        let Ok(told) = apart(move || asked.models.look_at_shared()).await else { continue };
        let before = lock(&state.models.shared.last).replace(told.clone());
        if before.as_ref() == Some(&told) {
            continue;
        }
        match told.holds {
            true => info!(message = told.message, "models are shared"),
            false => warn!(message = told.message, "models are not as they are shared"),
        }
    }
}

/// Where the stores of connected sites are.
fn stores(state: &State) -> Vec<PathBuf> {
    let folder = |store: &api::site::SiteStore| PathBuf::from(&store.folder);
    state.cache(|cache| {
        cache.sites.values().filter_map(|site| site.status.store.as_ref().map(folder)).collect()
    })
}

impl Models {
    fn look_at_shared(&self) -> Told {
        let came = match self.catalog.refresh() {
            Ok(came) => came,
            Err(error) => {
                let message = format!("{}: what came last is used", types::chain(&error));
                return Told { holds: false, reason: "Away", message };
            }
        };
        // A number stands for other bytes only where somebody has made the bucket anew.
        lock(&self.records).retain(|version, _| !came.versions.contains(version));
        if !came.passed_by.is_empty() {
            let message = came.passed_by.join("; ");
            return Told { holds: false, reason: "PassedBy", message };
        }
        let address = self.catalog.address().unwrap_or_default();
        Told { holds: true, reason: "Current", message: format!("as in `{address}`") }
    }
}

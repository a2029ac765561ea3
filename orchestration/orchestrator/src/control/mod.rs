//! The control plane: what users want, which site holds what, and how a service moves.
//!
//! Users apply resources over REST; agents of sites dial in over one WebSocket each. In between a
//! loop takes snapshots, asks the crate `decide`, and carries out what it says. Everything durable
//! is in a [`MetaStore`]; what is in memory is rebuilt from it, so that the process may be killed
//! at any line.
//!
//! Start at [`Control::open`]. Writes go through `state` and `batch`, sessions with sites are in
//! `session`, the loop is `converge`, migrations are `migrate`, REST is `rest`.

mod advice;
mod agents;
mod apply;
mod batch;
mod blobs;
mod blocks;
mod cache;
mod config;
mod conn;
mod converge;
mod decisions;
mod desired;
mod error;
mod lending;
mod losses;
mod metrics;
mod migrate;
mod models;
mod names;
mod overview;
mod owed;
mod planner;
mod ranks;
mod rest;
mod restore;
mod runs;
mod server;
mod session;
mod sites;
mod state;
mod status;
mod sweeper;
mod telemetry;
#[cfg(test)]
mod tests;
mod views;

pub use agents::CatalogModels;
pub use config::Config;
pub use error::{Error, Result};
pub use names::Names;
pub use overview::{DnsOverview, Overview, SiteOverview};
pub use planner::check_quotas;
pub use server::Listeners;

use meta::MetaStore;
use state::State;
use std::{future::Future, sync::Arc};
use types::{Clock, Token};

/// A control plane over one store.
#[derive(Debug, Clone)]
pub struct Control {
    state: Arc<State>,
}

impl Control {
    /// Reads the store, makes or reads the tokens in the data folder, and points every name at
    /// the site that holds its service.
    ///
    /// # Errors
    /// [`Error`] if the folder, a token or the store cannot be used.
    pub async fn open(
        config: Config,
        store: Arc<dyn MetaStore>,
        names: Arc<dyn Names>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let state = State::open(config, store, names, clock).await?;
        Ok(Self { state: Arc::new(state) })
    }

    /// What users show on REST; in `token` of the data folder.
    pub fn token(&self) -> &Token {
        &self.state.user_token
    }

    /// What agents of sites show; in `site-token` of the data folder.
    pub fn site_token(&self) -> &Token {
        &self.state.site_token
    }

    /// Serves REST and the sites on `listeners`, and keeps converging, until `shutdown` is done.
    ///
    /// # Errors
    /// [`Error`] if migrations that were cut off cannot be ended, or the listener has no address.
    pub async fn run(
        self,
        listeners: impl Into<Listeners>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        migrate::recover(&self.state).await?;
        ranks::recover(&self.state).await?;
        let converging = tokio::spawn(converge::run(self.state.clone()));
        self.state.tasks.spawn(sweeper::run(self.state.clone()));
        self.state.tasks.spawn(advice::run(self.state.clone()));
        self.state.tasks.spawn(agents::run(self.state.clone()));
        self.state.tasks.spawn(telemetry::run(self.state.clone()));
        self.state.tasks.spawn(telemetry::upkeep(self.state.clone()));
        self.state.tasks.spawn(models::run(self.state.clone()));
        let served = server::serve(self.state.clone(), listeners.into(), shutdown).await;
        self.state.stop.cancel();
        self.state.tasks.close();
        self.state.tasks.wait().await;
        // Only a panic in the loop ends it with an error, and that has been printed.
        let _ = converging.await;
        served
    }
}

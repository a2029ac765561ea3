//! Settings of the control plane.

use super::{Error, Result};
use crate::store::ModelShelf;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use types::ErrorKind;

/// Addresses, times and limits of one control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where tokens and blobs are kept.
    pub data_dir: PathBuf,
    /// The catalog's folder: models that policies forecast with. Of a catalog that is shared, its copy.
    pub models: PathBuf,
    /// Where sites share the catalog, if they do: `geds://bucket/prefix`.
    pub shared_models: Option<String>,
    /// The address that [`Control::run`](super::Control::run) is given a listener for; its host
    /// is accepted in `Host` and `Origin`.
    pub listen: SocketAddr,
    /// Where other machines reach it over TLS, if they do.
    pub bind: Option<SocketAddr>,
    /// Further hosts that are accepted in `Host` and `Origin`, without port.
    pub hosts: Vec<String>,
    /// The ingress that routes `http://<service>.localhost` by host, if there is one.
    pub ingress: Option<SocketAddr>,
    /// How long a site may serve `restart` services without an answer to its beat.
    pub lease: Duration,
    /// What is waited beyond the lease before another site takes over.
    pub margin: Duration,
    /// How long the source of a migration forwards late requests: the names' TTL and some grace.
    pub forward_grace: Duration,
    /// How long a site may take for a call that only needs a moment.
    pub call_timeout: Duration,
    /// How long the target of a migration may take to fetch, compile and instantiate a module.
    pub prepare_timeout: Duration,
    /// How long the state of a service may travel.
    pub transfer_timeout: Duration,
    /// Largest JSON document that is read.
    pub document_max_bytes: usize,
    /// Largest blob: a snapshot of a cell with 4 GiB of memory fits.
    pub blob_max_bytes: u64,
    /// Most uploads at a time.
    pub uploads_max: usize,
    /// Most watches over REST at a time; each holds a connection.
    pub watches_max: usize,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most decisions that are kept per tenant; the oldest go first.
    pub decisions_max: usize,
    /// Most cells of one tenant that have not ended at one site; each is a process of some 30 MiB
    /// besides its own memory.
    pub running_cells_max: usize,
    /// Most ended cells that are kept per tenant; the oldest go first.
    pub ended_cells_max: usize,
    /// Between the end of one move by which ranks come together and the next.
    pub compaction_pause: Duration,
    /// Between two looks at the metrics of all sites.
    pub scrape_interval: Duration,
    /// What of them is kept.
    pub telemetry: series::Limits,
    /// Between two looks at the catalog of models.
    pub models_interval: Duration,
    /// Between two looks at what models in use said, and what came.
    pub drift_interval: Duration,
    /// How long a blob stays that no resource mentions and nobody asks for.
    pub blob_retention: Duration,
}

impl Config {
    /// The defaults for this data folder and address.
    pub fn new(data_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            // Beside its own: a continuum has one catalog.
            models: data_dir.with_file_name("models"),
            shared_models: None,
            data_dir,
            listen,
            bind: None,
            hosts: Vec::new(),
            ingress: None,
            lease: Duration::from_secs(3),
            margin: Duration::from_secs(1),
            forward_grace: Duration::from_secs(10),
            call_timeout: Duration::from_secs(10),
            prepare_timeout: Duration::from_secs(60),
            transfer_timeout: Duration::from_secs(120),
            document_max_bytes: 1 << 20,
            blob_max_bytes: 5 << 30,
            uploads_max: 16,
            watches_max: 256,
            connections_max: 1024,
            decisions_max: 2000,
            running_cells_max: 64,
            ended_cells_max: 1000,
            compaction_pause: Duration::from_secs(30),
            scrape_interval: Duration::from_secs(15),
            models_interval: Duration::from_secs(5),
            drift_interval: Duration::from_secs(60),
            telemetry: series::Limits::default(),
            blob_retention: Duration::from_secs(24 * 3600),
        }
    }

    /// Has the catalog elsewhere: in a folder, or shared at `geds://bucket/prefix`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn use_models(&mut self, place: &str) -> Result<()> {
        if !place.starts_with("geds://") {
            self.models = place.into();
            return Ok(());
        }
        let nobody = || Err("nobody is asked yet".into());
        let shelf = ModelShelf::new(place, Box::new(nobody))
            .map_err(|reason| Error::refuse(ErrorKind::Invalid, reason))?;
        self.models = shelf.copy_in(&self.data_dir);
        self.shared_models = Some(place.to_owned());
        Ok(())
    }
}

//! Runners of triggers beside a store.

use crate::commands::geds::{store::socket, triggers::execute::Here};
use geds::{
    Geds,
    trigger::{Runner, Stop, Triggers},
};
use orchestrator::store::Beside;
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// How long another runner waits for what this one has begun, when it does nothing any more.
const LEASE: Duration = Duration::from_secs(15);

/// One runner for each tenant, until they are stopped.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    stop: Stop,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Runners {
    pub(super) fn start(stores: &[(String, Geds)], folder: &Path) -> anyhow::Result<Self> {
        let runners = Self::default();
        for (tenant, store) in stores {
            runners.add(store, std::path::absolute(socket(folder, tenant))?)?;
        }
        Ok(runners)
    }

    fn add(&self, store: &Geds, socket: PathBuf) -> anyhow::Result<()> {
        let triggers = Triggers::of(store.clone());
        let runner = Runner::new(triggers.clone(), Here::new(socket, triggers)?, LEASE);
        let stop = self.stop.clone();
        let thread = std::thread::Builder::new().name("triggers".into());
        let thread = thread.spawn(move || runner.run(&stop))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Ends what runs; it is begun again by the next runner.
    pub(super) fn stop(&self) {
        self.stop.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // It has said what was wrong.
            let _ = thread.join();
        }
    }
}

impl Beside for Runners {
    fn begin(&self, tenant: &str, store: &Geds, socket: &Path) {
        if let Err(error) = self.add(store, socket.to_owned()) {
            tracing::error!(tenant, %error, "triggers' modules are not run");
        }
    }

    fn end(&self) {
        self.stop();
    }
}

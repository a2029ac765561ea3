//! Runners of triggers beside a store.

use crate::commands::geds::{store::socket, triggers::execute::Here};
use geds::{
    Geds,
    trigger::{Runner, Stop, Triggers},
};
use std::{path::Path, thread::JoinHandle, time::Duration};

/// How long another runner waits for what this one has begun, when it does nothing any more.
const LEASE: Duration = Duration::from_secs(15);

/// One runner for each tenant, until they are stopped.
#[derive(Debug, Default)]
pub(super) struct Runners {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Runners {
    pub(super) fn start(stores: &[(String, Geds)], folder: &Path) -> anyhow::Result<Self> {
        let mut runners = Self::default();
        for (tenant, store) in stores {
            let triggers = Triggers::of(store.clone());
            let socket = std::path::absolute(socket(folder, tenant))?;
            let runner = Runner::new(triggers.clone(), Here::new(socket, triggers)?, LEASE);
            let stop = runners.stop.clone();
            let thread = std::thread::Builder::new().name("triggers".into());
            runners.threads.push(thread.spawn(move || runner.run(&stop))?);
        }
        Ok(runners)
    }

    /// Ends what runs; it is begun again by the next runner.
    pub(super) fn stop(self) {
        self.stop.stop();
        for thread in self.threads {
            // It has said what was wrong.
            let _ = thread.join();
        }
    }
}

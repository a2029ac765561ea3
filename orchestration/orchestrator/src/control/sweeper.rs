//! Removes blobs that nothing needs any more.

use super::{Result, batch::RESOURCES, state::State, state::items};
use crate::retention::{self, Swept};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(3600);

/// Sweeps now and then until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = state.stop.cancelled() => return,
        }
        match sweep(&state, state.config.blob_retention).await {
            Ok(Swept { files: 0, .. }) => {}
            Ok(Swept { files, bytes }) => tracing::info!(files, bytes, "unused blobs removed"),
            Err(error) => {
                tracing::warn!(error = types::chain(&error), "unused blobs stay");
            }
        }
    }
}

/// Removes the blobs that no resource mentions and nobody asked for within `retention`.
pub(super) async fn sweep(state: &State, retention: Duration) -> Result<Swept> {
    let mut in_use = HashSet::new();
    for item in items(&*state.store, RESOURCES).await? {
        retention::mentioned(&item.value, &mut in_use);
    }
    retention::mentioned(super::agents::in_use(state).as_bytes(), &mut in_use);
    state.blobs.sweep(retention, &in_use)
}

//! Removes modules and compiled code that the site has not needed for long.

use super::core::Core;
use crate::retention::{self, Swept};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(3600);

/// How long a module stays that no service here uses: it can be fetched and compiled again.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Sweeps now and then.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        match sweep(&core, RETENTION) {
            Ok(Swept { files: 0, .. }) => {}
            Ok(Swept { files, bytes }) => tracing::info!(files, bytes, "unused modules removed"),
            Err(error) => tracing::warn!(%error, "unused modules stay"),
        }
    }
}

/// Removes what no service, wanted or held, runs and nobody asked for within `retention`.
pub(crate) fn sweep(core: &Core, retention: Duration) -> std::io::Result<Swept> {
    let state = core.read(|inner| serde_json::to_vec(&inner.state))?;
    let mut in_use = HashSet::new();
    retention::mentioned(&state, &mut in_use);
    let mut swept = Swept::default();
    // Workers keep compiled code in the site's folder, under the modules' digests.
    for folder in ["modules", "code"] {
        let part = retention::sweep(&core.config.data_dir.join(folder), retention, &in_use)?;
        swept.files += part.files;
        swept.bytes += part.bytes;
    }
    Ok(swept)
}

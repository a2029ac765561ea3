//! Keeps the site's certificate valid: asks for the next one long before the last day.

use super::core::Core;
use crate::trust::{Grant, Identity};
use api::Problem;
use std::{sync::Arc, time::Duration};
use types::ErrorKind;

/// How often the certificate is looked at. A third of its validity is left when it is renewed, so
/// that a control plane may be away for weeks.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Looks for ever; does nothing without certificates.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(identity) = core.reach.identity().cloned() else { return };
    loop {
        if identity.wants_renewal() {
            match renew(&core, &identity).await {
                Ok(()) => {
                    tracing::info!(expires = identity.expires(), "the certificate is renewed")
                }
                Err(error) => tracing::warn!(%error, "the certificate is not renewed yet"),
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn renew(core: &Core, identity: &Identity) -> Result<(), Problem> {
    let failed = |error: &crate::trust::Error| Problem::from_error(error.kind(), error);
    let request = identity.request().map_err(|error| failed(&error))?;
    let url = format!("{}{}", core.config.control_url.trim_end_matches('/'), api::paths::RENEW);
    let answer = core.http.post(&url, &request).await?;
    let grant: Grant = serde_json::from_slice(&answer).map_err(|error| {
        Problem::new(ErrorKind::Unsupported, format!("`{url}` answered something else: {error}"))
    })?;
    identity.take(&grant).map_err(|error| failed(&error))
}

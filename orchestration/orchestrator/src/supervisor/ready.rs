//! Waiting until a continuum serves.

use super::{Error, Result};
use crate::client::Client;
use api::{Kind, site::SiteStatus};
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// How often is asked; what is asked for takes a few of these.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the control plane is well and every site is ready. `progress` hears what is
/// missing whenever that changes.
///
/// # Errors
/// [`Error::NotReady`] says what is missing after `limit`.
pub async fn await_ready(
    client: &Client,
    sites: &[String],
    limit: Duration,
    logs: &Path,
    mut progress: impl FnMut(&str),
) -> Result<()> {
    let started = Instant::now();
    let mut told = String::new();
    loop {
        let Some(waiting) = missing(client, sites).await else { return Ok(()) };
        if waiting != told {
            progress(&waiting);
            told.clone_from(&waiting);
        }
        if started.elapsed() >= limit {
            let (limit_s, logs) = (limit.as_secs(), logs.to_owned());
            return Err(Error::NotReady { limit_s, waiting, logs });
        }
        sleep(PAUSE).await;
    }
}

/// What is not ready, as a sentence; nothing once all is.
async fn missing(client: &Client, sites: &[String]) -> Option<String> {
    if let Err(error) = client.healthy().await {
        let cause = match error.kind() {
            // The expected state of the first moments needs no explanation.
            types::ErrorKind::Unavailable => String::new(),
            _ => format!(" ({})", types::chain(&error)),
        };
        return Some(format!("the control plane does not answer{cause}"));
    }
    let known = match client.list(Kind::Site, &[]).await {
        Ok(list) => list.items,
        Err(error) => return Some(types::chain(&error)),
    };
    let is_ready = |name: &&String| {
        let site = known.iter().find(|site| site.metadata.name == **name);
        site.is_some_and(|site| site.status::<SiteStatus>().ready)
    };
    let absent: Vec<_> =
        sites.iter().filter(|name| !is_ready(name)).map(|name| format!("site {name}")).collect();
    let verb = if absent.len() == 1 { "is" } else { "are" };
    (!absent.is_empty()).then(|| format!("{} {verb} not ready", absent.join(" and ")))
}

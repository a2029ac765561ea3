//! What other programs need to find a site's store.

use super::store::{folder_of, open_in, sites, wait};
use crate::{exit::Failure, output, session::Session};
use anyhow::Context;
use api::{Kind, site::SiteStatus};
use clap::Args;
use orchestrator::store::{S3_KEYS, s3_keys};
use std::process::ExitCode;
use types::ErrorKind;

/// Print what S3 clients and Python need to find the store of a site
///
/// The lines are for a shell: where the store is joined, the S3 endpoint, and the tenant's key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(cloudskin geds env --site edge)\"
  aws s3 ls s3://lab")]
pub(super) struct Env {}

pub(super) fn print(session: &Session, site: Option<&str>) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let site = match site {
        Some(site) => Some(wait(client.get(Kind::Site, site))?),
        None => sites(&client)?.into_iter().next(),
    };
    let none = || {
        let text = "no site with a store is on this machine: start one with `cloudskin up`";
        Failure::error(ErrorKind::NotFound, text)
    };
    let site = site.ok_or_else(none)?;
    let status: SiteStatus = site.status();
    let (folder, store) = folder_of(&site)?.zip(status.store).ok_or_else(none)?;
    // It begins if it does not run, and a tenant that is new to it gets a key.
    let socket = open_in(&folder, client.tenant())?;
    let file = folder.join(S3_KEYS);
    let keys = s3_keys(&file, &[client.tenant().to_owned()])?;
    let key = keys.iter().find(|key| key.tenant == client.tenant());
    let key = key.with_context(|| format!("`{}` has no key of the tenant", file.display()))?;
    output::print(&format!(
        "export CLOUDSKIN_GEDS='{}'\nexport AWS_ENDPOINT_URL=http://{}\n\
         export AWS_ACCESS_KEY_ID='{}'\nexport AWS_SECRET_ACCESS_KEY='{}'\n\
         export AWS_DEFAULT_REGION=us-east-1\n",
        socket.display(),
        store.s3,
        key.access_key,
        key.secret,
    ))?;
    Ok(ExitCode::SUCCESS)
}

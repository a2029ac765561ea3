//! A store's place among those of other sites.

use crate::exit::Failure;
use anyhow::Context;
use clap::Args;
use geds::{Node, Site};
use meta::Embedded;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};
use types::{ErrorKind, SystemClock};

/// Who this store is to those of other sites.
#[derive(Debug, Args)]
#[command(next_help_heading = "Other sites")]
pub(super) struct SiteArgs {
    /// The name of this site; without --identity on this machine alone
    #[arg(long, value_name = "NAME", conflicts_with = "identity")]
    site: Option<String>,
    /// The file in which `cloudskin join` keeps this site's certificate and key
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Where stores of other sites connect
    #[arg(long, value_name = "ADDRESS")]
    listen_sites: Option<SocketAddr>,
    /// Another site and its store's address; again for the next one
    #[arg(long = "peer", value_name = "SITE=ADDRESS")]
    peers: Vec<Peer>,
    /// Who keeps which site is the home of which bucket: this site, or a peer [default: each is asked]
    #[arg(long, value_name = "SITE")]
    directory: Option<String>,
}

#[derive(Debug, Clone)]
struct Peer {
    site: String,
    address: SocketAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no peer: write SITE=ADDRESS:PORT");
        let (site, address) = text.split_once('=').ok_or_else(wrong)?;
        types::check_name(site).map_err(|error| error.to_string())?;
        let address = address.parse().map_err(|_| wrong())?;
        Ok(Self { site: site.to_owned(), address })
    }
}

impl SiteArgs {
    /// Lets a node and those of other sites use each other's buckets, if this is asked for; where it listens for them.
    pub(super) fn join(&self, node: &Node, folder: &Path) -> anyhow::Result<Option<SocketAddr>> {
        let mut site = match (&self.site, &self.identity) {
            (_, Some(identity)) => Site::secured(identity)?,
            (Some(name), None) => Site::plain(name),
            (None, None) => return self.nobody().map(|()| None),
        };
        if let Some(address) = self.listen_sites {
            site = site.listen(address);
        }
        for peer in &self.peers {
            site = site.peer(&peer.site, peer.address);
        }
        site = match &self.directory {
            None => site,
            Some(other) if self.peers.iter().any(|peer| peer.site == *other) => {
                site.directory_at(other)
            }
            Some(other) if self.site.as_ref().is_some_and(|own| own != other) => {
                let message = format!("`{other}` is neither this site nor a --peer");
                return Err(Failure::error(ErrorKind::Invalid, message));
            }
            Some(_) => site.directory(directory(folder)?),
        };
        Ok(node.join_sites(site)?)
    }

    /// Whether anything is said about other sites.
    pub(super) fn is_asked(&self) -> bool {
        self.site.is_some()
            || self.identity.is_some()
            || self.listen_sites.is_some()
            || !self.peers.is_empty()
            || self.directory.is_some()
    }

    fn nobody(&self) -> anyhow::Result<()> {
        if !self.is_asked() {
            return Ok(());
        }
        let message =
            "this site has no name: give it one with --site, or its certificate with --identity";
        Err(Failure::error(ErrorKind::Invalid, message.to_owned()))
    }
}

/// Which site is the home of which bucket, kept here.
fn directory(folder: &Path) -> anyhow::Result<Arc<Embedded>> {
    let path = folder.join("homes.redb");
    let store = Embedded::open(&path, meta::Config::default(), Arc::new(SystemClock::new()))
        .with_context(|| format!("cannot open `{}`", path.display()))?;
    Ok(Arc::new(store))
}

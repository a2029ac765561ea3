//! Where the store is.

use crate::{exit::Failure, output, session::Session};
use api::{Kind, Resource, site::SiteStatus};
use clap::Args;
use geds::{Config, Geds};
use orchestrator::{client::Client, store::is_ours, supervisor::DataFolder};
use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use types::ErrorKind;

/// Where `cloudskin serve geds` keeps its files if it is not told.
pub(crate) fn default_folder() -> anyhow::Result<PathBuf> {
    Ok(DataFolder::default_root()?.with_file_name("cloudskin-geds"))
}

/// The socket through which programs join a tenant's store.
pub(crate) fn socket(folder: &Path, tenant: &str) -> PathBuf {
    folder.join(format!("{tenant}.sock"))
}

/// Makes a bucket if there is none, and says so.
pub(crate) fn make_bucket(store: &Geds, bucket: &str) -> anyhow::Result<()> {
    match store.create_bucket(bucket) {
        Ok(_) => {
            output::complain(&format!("bucket `{bucket}` was made"));
            Ok(())
        }
        Err(geds::Error::BucketExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Which store is meant.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The socket of a node, or a folder for a store that this command alone uses [default: the
    /// socket of `cloudskin serve geds`]
    #[arg(
        long,
        global = true,
        env = "CLOUDSKIN_GEDS",
        hide_env_values = true,
        value_name = "PATH"
    )]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store that is meant.
    pub(crate) fn open(&self, session: &Session) -> anyhow::Result<Geds> {
        self.place(session)?.open(session.tenant())
    }

    /// The store that is named; else that of `serve geds`, if it runs; else that of a site of this machine.
    pub(crate) fn place(&self, session: &Session) -> anyhow::Result<Place> {
        if let Some(path) = &self.store {
            let path = std::path::absolute(path)?;
            return Ok(if path.is_dir() { Place::Alone(path) } else { Place::Shared(path) });
        }
        let path = socket(&default_folder()?, session.tenant());
        if UnixStream::connect(&path).is_ok() {
            return Ok(Place::Shared(path));
        }
        Ok(Place::Shared(nearest(session)?.unwrap_or(path)))
    }
}

/// Where a store is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A folder that one process uses alone.
    Alone(PathBuf),
    /// The socket of a node.
    Shared(PathBuf),
}

impl Place {
    /// Opens or joins it.
    pub(crate) fn open(&self, tenant: &str) -> anyhow::Result<Geds> {
        match self {
            Self::Alone(folder) => Ok(Geds::open(Config::alone(folder).tenant(tenant))?),
            Self::Shared(socket) => join(socket),
        }
    }

    /// The socket that other processes join it through.
    pub(crate) fn socket(self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Shared(socket) => Ok(socket),
            Self::Alone(folder) => {
                let message = format!(
                    "`{}` is a folder that one process uses alone: name the socket of `cloudskin serve geds`",
                    folder.display()
                );
                Err(Failure::error(ErrorKind::Invalid, message))
            }
        }
    }
}

fn join(path: &Path) -> anyhow::Result<Geds> {
    if !path.exists() {
        let message = format!(
            "there is no store at `{}`: start a continuum with `cloudskin up` or a store alone with `cloudskin serve geds`, or name its \
             socket, or a folder, with --store or CLOUDSKIN_GEDS",
            path.display()
        );
        return Err(Failure::error(ErrorKind::Unavailable, message));
    }
    Ok(Geds::open(Config::join(path))?)
}

/// The store of a site of the continuum.
pub(crate) fn of_site(session: &Session, name: &str) -> anyhow::Result<Place> {
    let client = session.client()?;
    let site = match wait(client.get(Kind::Site, name)) {
        Ok(site) => site,
        Err(error) => match kept_here(name)?.filter(|_| is_unreachable(&error)) {
            Some(folder) => {
                return Ok(Place::Shared(open_in(&folder, client.tenant())?));
            }
            None => return Err(error),
        },
    };
    let Some(folder) = folder_of(&site)? else {
        let message = format!("site `{name}` has no store: its agent is of an older release");
        return Err(Failure::error(ErrorKind::Unsupported, message));
    };
    Ok(Place::Shared(open_in(&folder, client.tenant())?))
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(orchestrator::client::Error::kind);
    matches!(kind, Some(ErrorKind::Unavailable | ErrorKind::Timeout))
}

/// Where a site of this machine usually has its store: it serves on while the control plane cannot be reached.
fn kept_here(name: &str) -> anyhow::Result<Option<PathBuf>> {
    if types::check_name(name).is_err() {
        return Ok(None);
    }
    let up = DataFolder::default_root()?;
    let joined = up.with_file_name("cloudskin-sites").join(name);
    let folders = [up.join("sites").join(name), joined].map(|site| site.join("store"));
    Ok(folders.into_iter().find(|folder| is_ours(folder)))
}

/// The socket of the store of the first site that is on this machine, if there is a continuum.
fn nearest(session: &Session) -> anyhow::Result<Option<PathBuf>> {
    let Ok(client) = session.client() else { return Ok(None) };
    let Ok(sites) = sites(&client) else { return Ok(None) };
    let Some(folder) = sites.iter().find_map(|site| folder_of(site).ok()?) else { return Ok(None) };
    open_in(&folder, client.tenant()).map(Some)
}

/// The sites of this machine that have a store and are ready.
pub(super) fn sites(client: &Client) -> anyhow::Result<Vec<Resource>> {
    let mut sites = wait(client.list(Kind::Site, &[]))?.items;
    sites.retain(|site| {
        let is_here = || folder_of(site).is_ok_and(|folder| folder.is_some());
        site.status::<SiteStatus>().ready && is_here()
    });
    Ok(sites)
}

/// The folder of a site's store, which has to be on this machine; none if it has no store.
pub(super) fn folder_of(site: &Resource) -> anyhow::Result<Option<PathBuf>> {
    let Some(store) = site.status::<SiteStatus>().store else { return Ok(None) };
    let folder = PathBuf::from(store.folder);
    if is_ours(&folder) {
        return Ok(Some(folder));
    }
    let message = format!(
        "site `{}` is on another machine: run this there, or at a site of this one, which sees the \
         same buckets",
        site.metadata.name
    );
    Err(Failure::error(ErrorKind::Unsupported, message))
}

/// Where the store of that folder is joined; it begins if it does not run.
pub(super) fn open_in(folder: &Path, tenant: &str) -> anyhow::Result<PathBuf> {
    orchestrator::store::socket(folder, tenant)
        .map_err(|problem| Failure::error(problem.kind, problem.message))
}

/// These commands have no runtime of their own.
pub(super) fn wait<T, E: Into<anyhow::Error>>(
    asking: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(asking).map_err(Into::into)
}

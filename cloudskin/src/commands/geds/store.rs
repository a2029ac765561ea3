//! Where the store is.

use crate::{exit::Failure, output};
use clap::Args;
use geds::{Config, Geds};
use orchestrator::supervisor::DataFolder;
use std::path::{Path, PathBuf};
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
    /// The socket that other processes join it through.
    pub(crate) fn socket(&self, tenant: &str) -> anyhow::Result<PathBuf> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => socket(&default_folder()?, tenant),
        };
        if path.is_dir() {
            let message = format!(
                "`{}` is a folder that one process uses alone: name the socket of `cloudskin serve geds`",
                path.display()
            );
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        Ok(std::path::absolute(path)?)
    }

    /// Opens it.
    pub(crate) fn open(&self, tenant: &str) -> anyhow::Result<Geds> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => socket(&default_folder()?, tenant),
        };
        if path.is_dir() {
            return Ok(Geds::open(Config::alone(path).tenant(tenant))?);
        }
        if !path.exists() {
            let message = format!(
                "there is no store at `{}`: start one with `cloudskin serve geds`, or name its \
                 socket, or a folder, with --store or CLOUDSKIN_GEDS",
                path.display()
            );
            return Err(Failure::error(ErrorKind::Unavailable, message));
        }
        Ok(Geds::open(Config::join(path))?)
    }
}

//! Which site is the home of which bucket.

use super::{
    Sites,
    message::{Answer, Request},
};
use crate::{Error, Result};
use meta::{Compare, MetaStore, Op, Txn};
use std::{
    fmt::Debug,
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::Duration,
};

/// Where homes stand in the store.
const PREFIX: &str = "geds/homes/";
/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who knows which site is the home of which bucket, where that is no node: a control plane, say.
pub trait Directory: Debug + Send + Sync {
    /// The home of a bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be asked.
    fn home(&self, tenant: &str, bucket: &str) -> Result<Option<String>>;

    /// Makes the site that asks the home of a bucket, unless there is one; gives the home.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be asked.
    fn claim(&self, tenant: &str, bucket: &str) -> Result<String>;

    /// The site that asks is no longer the home of a bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be asked.
    fn disclaim(&self, tenant: &str, bucket: &str) -> Result<()>;
}

/// Who knows the homes of buckets.
#[derive(Debug, Clone)]
pub(super) enum Homes {
    /// This node.
    Here(Arc<dyn MetaStore>),
    /// That of this site.
    At(String),
    /// Somebody else.
    By(Arc<dyn Directory>),
    /// Each knows its own: all are asked.
    Ask,
}

fn key(tenant: &str, bucket: &str) -> Vec<u8> {
    format!("{PREFIX}{tenant}/{bucket}").into_bytes()
}

/// Waits for a store, whatever thread this is.
fn wait<T: Send + 'static>(
    store: &Arc<dyn MetaStore>,
    act: impl AsyncFnOnce(Arc<dyn MetaStore>) -> meta::Result<T> + Send + 'static,
) -> Result<T> {
    let (store, (sender, receiver)) = (Arc::clone(store), sync_channel(1));
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let done = runtime
            .map_err(|error| error.to_string())
            .and_then(|runtime| runtime.block_on(act(store)).map_err(|error| types::chain(&error)));
        let _ = sender.send(done);
    };
    thread::Builder::new()
        .name("geds-homes".to_owned())
        .spawn(run)
        .map_err(Error::io("start a thread"))?;
    let failed = |why: String| Error::Unavailable(format!("the directory of buckets: {why}"));
    match receiver.recv_timeout(PATIENCE) {
        Ok(done) => done.map_err(failed),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn get(store: &Arc<dyn MetaStore>, tenant: &str, bucket: &str) -> Result<Option<String>> {
    let key = key(tenant, bucket);
    let item = wait(store, async move |store| store.get(&key).await)?.item;
    Ok(item.and_then(|item| String::from_utf8(item.value.to_vec()).ok()))
}

/// The home after this site asked to be it: the first that asked.
fn claim(store: &Arc<dyn MetaStore>, tenant: &str, bucket: &str, site: &str) -> Result<String> {
    let (at, value) = (key(tenant, bucket), site.to_owned());
    let claim = Txn {
        compares: vec![Compare::absent(at.clone())],
        then: vec![Op::put(at, value)],
        otherwise: Vec::new(),
    };
    wait(store, async move |store| store.txn(claim).await)?;
    let home = get(store, tenant, bucket)?;
    home.ok_or_else(|| Error::Unavailable("the bucket is just being removed".to_owned()))
}

fn disclaim(store: &Arc<dyn MetaStore>, tenant: &str, bucket: &str, site: &str) -> Result<()> {
    let (at, value) = (key(tenant, bucket), site.to_owned());
    let disclaim = Txn {
        compares: vec![Compare::value(at.clone(), value)],
        then: vec![Op::delete(at)],
        otherwise: Vec::new(),
    };
    wait(store, async move |store| store.txn(disclaim).await).map(|_| ())
}

impl Sites {
    /// The home of a bucket that is not this node's.
    pub(super) fn home(&self, tenant: &str, bucket: &str) -> Result<Option<String>> {
        let (tenant, bucket) = (tenant.to_owned(), bucket.to_owned());
        match &self.homes {
            Homes::Here(store) => get(store, &tenant, &bucket),
            Homes::At(site) => match self.peer(site)?.ask(&Request::Whose { tenant, bucket })? {
                Answer::Home(home) => Ok(home),
                _ => Err(super::lane::unexpected()),
            },
            Homes::By(directory) => directory.home(&tenant, &bucket),
            Homes::Ask => self.ask_all(&tenant, &bucket),
        }
    }

    /// Asks all others whether they are the home of a bucket. None is an answer only if all have given it.
    fn ask_all(&self, tenant: &str, bucket: &str) -> Result<Option<String>> {
        let mut silent = None;
        for peer in self.peers() {
            let request = Request::Bucket { tenant: tenant.to_owned(), bucket: bucket.to_owned() };
            match peer.ask(&request) {
                Ok(Answer::Bucket(_)) => return Ok(Some(peer.site.clone())),
                Ok(_) => {}
                Err(Error::NoBucket { .. }) => {}
                Err(error) => silent = Some(error),
            }
        }
        silent.map_or(Ok(None), Err)
    }

    /// Makes this site the home of a bucket, unless another one is.
    pub(super) fn claim(&self, tenant: &str, bucket: &str) -> Result<()> {
        let own = &self.own.site;
        let home = match &self.homes {
            Homes::Here(store) => claim(store, tenant, bucket, own)?,
            Homes::At(site) => {
                let (tenant, bucket) = (tenant.to_owned(), bucket.to_owned());
                match self.peer(site)?.ask(&Request::Claim { tenant, bucket })? {
                    Answer::Home(Some(home)) => home,
                    _ => return Err(super::lane::unexpected()),
                }
            }
            Homes::By(directory) => directory.claim(tenant, bucket)?,
            Homes::Ask => match self.ask_all(tenant, bucket) {
                Ok(Some(home)) => home,
                // Who cannot be asked cannot object.
                Ok(None) | Err(_) => own.clone(),
            },
        };
        if home == *own {
            return Ok(());
        }
        Err(Error::BucketExists { bucket: bucket.to_owned() })
    }

    /// This site is no longer the home of a bucket.
    pub(super) fn disclaim(&self, tenant: &str, bucket: &str) -> Result<()> {
        match &self.homes {
            Homes::Here(store) => disclaim(store, tenant, bucket, &self.own.site),
            Homes::At(site) => {
                let (tenant, bucket) = (tenant.to_owned(), bucket.to_owned());
                self.peer(site)?.ask(&Request::Disclaim { tenant, bucket }).map(|_| ())
            }
            Homes::By(directory) => directory.disclaim(tenant, bucket),
            Homes::Ask => Ok(()),
        }
    }

    /// What this node says as the keeper of the directory, to another site.
    pub(super) fn as_directory(&self, site: &str, request: &Request) -> Result<Answer> {
        let Homes::Here(store) = &self.homes else {
            return Err(Error::Invalid("this node keeps no directory of buckets".to_owned()));
        };
        match request {
            Request::Whose { tenant, bucket } => get(store, tenant, bucket).map(Answer::Home),
            Request::Claim { tenant, bucket } => {
                claim(store, tenant, bucket, site).map(|home| Answer::Home(Some(home)))
            }
            Request::Disclaim { tenant, bucket } => {
                disclaim(store, tenant, bucket, site).map(|()| Answer::Done)
            }
            _ => Err(super::lane::unexpected()),
        }
    }
}

//! What a tenant's processes have to do with other sites: asked of the home of a bucket, for all of this node.

use super::{
    Ask, Sites,
    fetch::Cache,
    follow::Follows,
    kept,
    lane::unexpected,
    message::{Answer, Name, Request},
    peer::Peer,
    sums::Sums,
};
use crate::{
    Bucket, Error, Geds, Limits, Result, Stat, client::Client, is_internal, node::tenant::Tenant,
    wire::Reply,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};
use types::ErrorKind;

/// Between two tries to claim what could not be claimed.
const CLAIM_PAUSE: Duration = Duration::from_secs(2);

/// How many other sites are asked for their buckets at once.
const ASKED_AT_ONCE: usize = 16;

/// Most buckets whose homes are remembered.
const HOMES_MAX: usize = 16 << 10;
/// Most bytes of one answer to a process: it asks for the next ones.
const READ_MAX_BYTES: u64 = 1 << 20;

/// What one tenant has to do with other sites.
#[derive(Debug)]
pub(crate) struct Far {
    sites: Weak<Sites>,
    pub(super) name: String,
    pub(super) tenant: Weak<Tenant>,
    /// The node's own session, which never asks other sites.
    pub(super) geds: Geds,
    pub(super) follows: Follows,
    pub(super) cache: Cache,
    /// Of what was sent to other sites.
    pub(super) sums: Sums,
    homes: Mutex<HashMap<String, String>>,
}

impl Far {
    pub(super) fn open(
        sites: &Arc<Sites>,
        name: &str,
        tenant: &Arc<Tenant>,
        limits: &Limits,
    ) -> Result<Arc<Self>> {
        let far = Self {
            sites: Arc::downgrade(sites),
            name: name.to_owned(),
            tenant: Arc::downgrade(tenant),
            geds: Geds::of(Client::of_node(tenant)?),
            follows: Follows::default(),
            cache: Cache::new(limits),
            sums: Sums::default(),
            homes: Mutex::default(),
        };
        let far = Arc::new(far);
        far.claim_all(sites);
        Ok(far)
    }

    /// Buckets that were made before there were other sites. A site that is cut off has its own all the same: what
    /// cannot be claimed now is claimed later.
    fn claim_all(self: &Arc<Self>, sites: &Sites) {
        let buckets =
            self.geds.buckets_here().unwrap_or_default().into_iter().map(|bucket| bucket.name);
        let mut left: Vec<_> = buckets.filter(|bucket| !is_internal(bucket)).collect();
        self.claim_some(sites, &mut left);
        if left.is_empty() {
            return;
        }
        let far = Arc::downgrade(self);
        let later = move || {
            while !left.is_empty() {
                thread::sleep(CLAIM_PAUSE);
                let Some(far) = far.upgrade() else { return };
                let Ok(sites) = far.sites() else { return };
                far.claim_some(&sites, &mut left);
            }
        };
        if let Err(error) = thread::Builder::new().name("geds-claims".into()).spawn(later) {
            tracing::warn!(%error, "the directory does not learn of this site's buckets");
        }
    }

    /// Stops at the first that the directory cannot be asked about.
    fn claim_some(&self, sites: &Sites, left: &mut Vec<String>) {
        while let Some(bucket) = left.last() {
            if let Err(error) = sites.claim(&self.name, bucket) {
                tracing::warn!(bucket, %error, "the directory does not have this site as its home");
                if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) {
                    return;
                }
            }
            left.pop();
        }
    }

    pub(super) fn stop(&self) {
        self.follows.stop();
    }

    pub(super) fn sites(&self) -> Result<Arc<Sites>> {
        self.sites.upgrade().ok_or_else(|| Error::Unavailable("it ends".to_owned()))
    }

    pub(super) fn own(&self) -> Result<String> {
        Ok(self.sites()?.own.site.clone())
    }

    pub(super) fn peer(&self, site: &str) -> Result<Arc<Peer>> {
        self.sites()?.peer(site)
    }

    pub(super) fn name_of(&self, bucket: &str, key: &str) -> Name {
        let (tenant, bucket) = (self.name.clone(), bucket.to_owned());
        Name { tenant, bucket, key: key.to_owned() }
    }

    /// Whether this node is the home of a bucket.
    pub(super) fn is_home(&self, bucket: &str) -> bool {
        self.geds.client().bucket(bucket).is_ok()
    }

    /// Makes this node the home of a bucket that is about to be made.
    pub(crate) fn claim(&self, bucket: &str) -> Result<()> {
        if is_internal(bucket) {
            // Each node has its own.
            return Ok(());
        }
        self.sites()?.claim(&self.name, bucket)
    }

    /// The bucket was removed.
    pub(crate) fn disclaim(&self, bucket: &str) {
        if is_internal(bucket) {
            return;
        }
        let disclaimed = self.sites().and_then(|sites| sites.disclaim(&self.name, bucket));
        if let Err(error) = disclaimed {
            tracing::warn!(bucket, %error, "the directory still has a bucket that was removed");
        }
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The home of a bucket, and whether that was remembered.
    fn home_or_known(&self, bucket: &str) -> Result<(String, bool)> {
        if is_internal(bucket) {
            return Err(Error::no_bucket(bucket));
        }
        if let Some(home) = self.homes().get(bucket) {
            return Ok((home.clone(), true));
        }
        let sites = self.sites()?;
        let home = sites.home(&self.name, bucket)?;
        // If the directory names this site, the bucket was lost here.
        let home = home.filter(|home| *home != sites.own.site);
        let home = home.ok_or_else(|| Error::no_bucket(bucket))?;
        let mut homes = self.homes();
        if homes.len() >= HOMES_MAX {
            homes.clear();
        }
        homes.insert(bucket.to_owned(), home.clone());
        Ok((home, false))
    }

    /// The home of a bucket that is not this node's.
    pub(super) fn home(&self, bucket: &str) -> Result<String> {
        self.home_or_known(bucket).map(|(home, _)| home)
    }

    /// Lets something be done at the home of a bucket; once more if it has another one by now.
    pub(super) fn at_home<R>(&self, bucket: &str, act: impl Fn(&Peer) -> Result<R>) -> Result<R> {
        let (home, known) = self.home_or_known(bucket)?;
        let peer = self.peer(&home)?;
        match act(&peer) {
            Err(Error::NoBucket { .. }) if known => {
                self.homes().remove(bucket);
                let peer = self.peer(&self.home(bucket)?)?;
                act(&peer)
            }
            done => done,
        }
    }

    fn ask_home(&self, bucket: &str, request: &Request) -> Result<Answer> {
        self.at_home(bucket, |peer| peer.ask(request))
    }

    /// Does what a process of this node asks for.
    pub(crate) fn handle(self: &Arc<Self>, ask: Ask) -> Result<Reply> {
        match ask {
            Ask::Fetch { bucket, key } => self.fetch(&bucket, &key),
            Ask::Read { bucket, key, version, offset, len } => {
                let mut bytes = vec![0; len.min(READ_MAX_BYTES) as usize];
                let count = self.read_into(&bucket, &key, version, offset, &mut bytes)?;
                bytes.truncate(count);
                Ok(Reply::Bytes(bytes))
            }
            Ask::Buckets => self.buckets().map(Reply::Buckets),
            Ask::Follow { bucket } => self.follow(&bucket).map(|_| Reply::Done),
            Ask::Replicate { bucket, key, version, sites } => {
                self.replicate(&bucket, &key, version, sites)?;
                Ok(Reply::Done)
            }
            Ask::Seal { bucket, key, put, size, crc32c } => {
                // From the first version on: what replaces it must be heard of.
                self.follow(&bucket)?;
                let name = self.name_of(&bucket, &key);
                let request = Request::Seal { name, put, size, crc32c };
                let sealed = self.ask_home(&bucket, &request)?;
                self.keep_bucket(&bucket)?;
                reply(sealed)
            }
            other => self.ask_simply(other),
        }
    }

    /// What is one question to the home.
    fn ask_simply(&self, ask: Ask) -> Result<Reply> {
        let tenant = self.name.clone();
        let (bucket, request) = match ask {
            Ask::Bucket { bucket } => (bucket.clone(), Request::Bucket { tenant, bucket }),
            Ask::List { bucket, listing } => {
                (bucket.clone(), Request::List { tenant, bucket, listing })
            }
            Ask::BucketAttributes { bucket, attributes } => {
                (bucket.clone(), Request::BucketAttributes { tenant, bucket, attributes })
            }
            Ask::DeleteBucket { bucket } => {
                (bucket.clone(), Request::DeleteBucket { tenant, bucket })
            }
            Ask::Stat { bucket, key } => {
                let name = self.name_of(&bucket, &key);
                (bucket, Request::Stat { name })
            }
            Ask::Delete { bucket, key, if_version } => {
                let name = self.name_of(&bucket, &key);
                (bucket, Request::Delete { name, if_version })
            }
            Ask::Attributes { bucket, key, attributes, if_version } => {
                let name = self.name_of(&bucket, &key);
                (bucket, Request::Attributes { name, attributes, if_version })
            }
            Ask::Copy { bucket, from, to, put, rename } => {
                let name = self.name_of(&bucket, &from);
                (bucket, Request::Copy { name, to, put, rename })
            }
            _ => return Err(unexpected()),
        };
        let mut reply = self.ask_home(&bucket, &request).and_then(reply)?;
        let own = self.own()?;
        let here = |stat: &mut Stat| _ = stat.site.take_if(|site| *site == own);
        match &mut reply {
            Reply::Stat(stat) => here(stat),
            Reply::Page(page) => page.entries.iter_mut().for_each(|entry| here(&mut entry.stat)),
            _ => {}
        }
        Ok(reply)
    }

    /// The buckets of all other sites that answer.
    fn buckets(&self) -> Result<Vec<Bucket>> {
        let mut all = Vec::new();
        for some in self.sites()?.peers().chunks(ASKED_AT_ONCE) {
            thread::scope(|scope| {
                let ask = |peer: &Arc<Peer>| {
                    let (peer, tenant) = (Arc::clone(peer), self.name.clone());
                    let ask = move || (peer.ask(&Request::Buckets { tenant }), peer);
                    thread::Builder::new().spawn_scoped(scope, ask)
                };
                let asked: Vec<_> = some.iter().filter_map(|peer| ask(peer).ok()).collect();
                for (answer, peer) in asked.into_iter().filter_map(|asked| asked.join().ok()) {
                    match answer {
                        Ok(Answer::Buckets(buckets)) => all.extend(buckets),
                        Ok(_) => {}
                        Err(error) => {
                            tracing::warn!(site = peer.site, %error, "its buckets are left out");
                        }
                    }
                }
            });
        }
        Ok(all)
    }

    /// Makes the bucket in which copies are kept, if there is none.
    pub(super) fn keep_bucket(&self, bucket: &str) -> Result<()> {
        let tenant = self.tenant.upgrade();
        let tenant = tenant.ok_or_else(|| Error::Unavailable("it ends".to_owned()))?;
        tenant.make_kept(&kept(bucket))
    }

    /// Lets other sites keep copies, until there are so many.
    fn replicate(&self, bucket: &str, key: &str, version: u64, wanted: u8) -> Result<()> {
        let request = Request::Keep { name: self.name_of(bucket, key), version };
        let mut made = 0;
        let mut why = "there are no other sites".to_owned();
        for peer in self.sites()?.peers() {
            if made == wanted {
                break;
            }
            match peer.ask(&request) {
                Ok(_) => made += 1,
                Err(error) => why = error.to_string(),
            }
        }
        if made >= wanted {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "object `{key}` is sealed, but {made} of {wanted} other sites have a copy: {why}"
        )))
    }
}

fn reply(answer: Answer) -> Result<Reply> {
    match answer {
        Answer::Done => Ok(Reply::Done),
        Answer::Bucket(bucket) => Ok(Reply::Bucket { number: 0, bucket }),
        Answer::Page(page) => Ok(Reply::Page(page)),
        Answer::Stat(stat) => Ok(Reply::Stat(stat)),
        Answer::Was(was) => Ok(Reply::Was(was)),
        _ => Err(unexpected()),
    }
}

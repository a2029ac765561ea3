//! A catalog's shelf in the ephemeral store: models that all sites of a continuum share, as objects of a bucket.
//!
//! Which site has the bucket does not matter: a seal is conditional at the bucket's home, wherever that is, and an
//! object is on disk there before it counts as put.

use geds::{Error as StoreError, Geds, Listing, Put};
use learning::{Error, Result, catalog::Shelf};
use std::{
    collections::BTreeMap,
    error::Error as Cause,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Joins the store.
pub type Join = dyn Fn() -> std::result::Result<Geds, Box<dyn Cause + Send + Sync>> + Send + Sync;

/// Models below a prefix of a bucket.
pub struct ModelShelf {
    address: String,
    bucket: String,
    /// Empty, or ending with `/`.
    prefix: String,
    join: Box<Join>,
    joined: Mutex<Option<Geds>>,
}

impl fmt::Debug for ModelShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelShelf").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ModelShelf {
    /// The models at an address such as `geds://lab/models`. The store is joined when it is first asked, and again after
    /// it could not be reached.
    ///
    /// # Errors
    /// A text that is no such address.
    pub fn new(address: &str, join: Box<Join>) -> std::result::Result<Self, String> {
        let wrong = |reason: &str| format!("`{address}` is no place for models: {reason}");
        let rest =
            address.strip_prefix("geds://").ok_or_else(|| wrong("write geds://bucket/prefix"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        geds::check_bucket(bucket).map_err(|error| wrong(&error.to_string()))?;
        let mut prefix = prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() {
            geds::check_key(&prefix).map_err(|error| wrong(&error.to_string()))?;
            prefix.push('/');
        }
        let bucket = bucket.to_owned();
        let address = format!("geds://{bucket}/{prefix}").trim_end_matches('/').to_owned();
        Ok(Self { address, bucket, prefix, join, joined: Mutex::default() })
    }

    /// Where a copy of these models is kept, below a folder for such copies: another one for each address.
    pub fn copy_in(&self, root: &Path) -> PathBuf {
        let digest = blake3::hash(self.address.as_bytes()).to_hex();
        root.join("catalogs").join(&digest[..16])
    }

    /// Asks the store; what cannot be reached is joined anew the next time.
    fn ask<T>(&self, act: impl FnOnce(&Geds) -> geds::Result<T>) -> Result<T> {
        let away = |source| Error::Away { place: self.address.clone(), source };
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let store = match joined.take() {
            Some(store) => store,
            None => (self.join)().map_err(away)?,
        };
        let done = act(&store);
        if done.is_ok() {
            *joined = Some(store);
        }
        done.map_err(|error| away(Box::new(error)))
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn page(&self, store: &Geds, listing: &Listing) -> geds::Result<geds::Page> {
        match store.list(&self.bucket, listing) {
            // Whoever puts the first model makes it.
            Err(StoreError::NoBucket { .. }) => Ok(geds::Page::default()),
            page => page,
        }
    }
}

/// What a key has.
enum Got {
    Nothing,
    Bytes(Vec<u8>, u64),
    TooMuch(u64),
    Damaged(String),
}

/// An object that the store has lost costs itself alone.
fn damage(error: StoreError) -> geds::Result<Got> {
    match error {
        StoreError::Lost { .. } | StoreError::Corrupt { .. } => {
            Ok(Got::Damaged(types::chain(&error)))
        }
        other => Err(other),
    }
}

/// What is there is something else than was said.
fn is_other(error: &StoreError) -> bool {
    matches!(error, StoreError::Exists { .. } | StoreError::Changed { .. })
}

impl Shelf for ModelShelf {
    fn address(&self) -> &str {
        &self.address
    }

    fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        self.ask(|store| {
            let mut listing = Listing::prefix(self.key(prefix));
            let mut found = BTreeMap::new();
            loop {
                let page = self.page(store, &listing)?;
                for entry in page.entries {
                    let key = entry.key.strip_prefix(&self.prefix).unwrap_or(&entry.key);
                    found.insert(key.to_owned(), entry.stat.version);
                }
                match page.next {
                    Some(next) => listing.after = Some(next),
                    None => return Ok(found),
                }
            }
        })
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let read = self.ask(|store| {
            let object = match store.object(&self.bucket, &self.key(key)) {
                Err(StoreError::NoObject { .. } | StoreError::NoBucket { .. }) => {
                    return Ok(Got::Nothing);
                }
                Err(error) => return damage(error),
                Ok(object) => object,
            };
            if object.len() > limit {
                return Ok(Got::TooMuch(object.len()));
            }
            let version = object.stat().version;
            match object.bytes() {
                Ok(bytes) => Ok(Got::Bytes(bytes.to_vec(), version)),
                Err(error) => damage(error),
            }
        })?;
        match read {
            Got::Nothing => Ok(None),
            Got::Bytes(bytes, version) => Ok(Some((bytes, version))),
            Got::TooMuch(size) => {
                let what = format!("`{}/{key}`, {size} bytes,", self.address);
                Err(Error::TooMuch { what, limit })
            }
            Got::Damaged(reason) => {
                let path = PathBuf::from(format!("{}/{key}", self.address));
                Err(Error::Damaged { path, reason })
            }
        }
    }

    fn put(&self, key: &str, bytes: &[u8], over: Option<u64>) -> Result<Option<u64>> {
        let put = over.map_or_else(Put::default, Put::if_version).durable();
        self.ask(|store| {
            let seal = || store.put(&self.bucket, &self.key(key), bytes, put.clone());
            let sealed = match seal() {
                Err(StoreError::NoBucket { .. }) if over.is_none() => {
                    match store.create_bucket(&self.bucket) {
                        Ok(_) | Err(StoreError::BucketExists { .. }) => seal(),
                        Err(error) => Err(error),
                    }
                }
                sealed => sealed,
            };
            match sealed {
                Ok(stat) => Ok(Some(stat.version)),
                Err(error) if is_other(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.ask(|store| match store.delete(&self.bucket, &self.key(key), None) {
            Err(StoreError::NoBucket { .. }) => Ok(()),
            done => done.map(drop),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geds::{Config, Limits, Node, Site};
    use learning::catalog::conformance;
    use std::net::{Ipv4Addr, SocketAddr};
    use testkit::Folder;

    fn shelf(address: &str, store: &Geds) -> ModelShelf {
        let store = store.clone();
        ModelShelf::new(address, Box::new(move || Ok(store.clone()))).unwrap()
    }

    #[test]
    fn buckets_here_and_of_another_site_are_shelves() {
        let folder = Folder::new();
        let alone = Geds::open(Config::alone(folder.join("alone"))).unwrap();
        conformance::all(&shelf("geds://lab", &alone));
        conformance::all(&shelf("geds://lab/a/b/", &alone));

        let at = |name: &str| {
            let node = Node::start(folder.join(name)).unwrap();
            let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let address = node.join_sites(Site::plain(name).listen(free)).unwrap().unwrap();
            let store = node.geds("default", &Limits::default()).unwrap();
            (node, address, store)
        };
        let ((cloud, cloud_at, home), (edge, edge_at, away)) = (at("cloud"), at("edge"));
        cloud.set_peer("edge", Some(edge_at)).unwrap();
        edge.set_peer("cloud", Some(cloud_at)).unwrap();
        home.create_bucket("lab").unwrap();
        conformance::all(&shelf("geds://lab/models", &away));
        // What one writes the other replaces.
        let (one, other) = (shelf("geds://lab/models", &home), shelf("geds://lab/models", &away));
        let state = other.put("a/stages", b"1", None).unwrap().unwrap();
        assert_eq!(one.get("a/stages", 10).unwrap(), Some((b"1".to_vec(), state)));
        let next = one.put("a/stages", b"2", Some(state)).unwrap().unwrap();
        assert_eq!(other.put("a/stages", b"3", Some(state)).unwrap(), None);
        assert_eq!(other.list("a/").unwrap()["a/stages"], next);
        assert_eq!(other.get("a/stages", 10).unwrap(), Some((b"2".to_vec(), next)));
        drop((cloud, home, one));
        let error = other.list("").unwrap_err();
        assert_eq!(error.kind(), types::ErrorKind::Unavailable, "{error}");
    }

    #[test]
    fn a_place_is_a_bucket_and_perhaps_a_prefix() {
        let place = |text: &str| {
            ModelShelf::new(text, Box::new(|| Err("nobody".into()))).map(|shelf| shelf.address)
        };
        assert_eq!(place("geds://lab/").unwrap(), "geds://lab");
        assert_eq!(place("geds://lab/a/b/").unwrap(), "geds://lab/a/b");
        for wrong in ["models", "geds://", "geds://Lab/a", "s3://lab"] {
            assert!(place(wrong).unwrap_err().contains("no place for models"), "{wrong}");
        }
    }
}

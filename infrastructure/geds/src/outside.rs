//! Buckets with storage outside: what is missing here is read there.

use crate::{
    Attributes, Backend, BackendConfig, BackendState, Error, Geds, Listing, Put, Result, Writer,
    backend::Outside,
    client::unexpected,
    wire::{Reply, Request},
};

/// The attribute that says which version outside an object was read from.
pub(crate) const ETAG: &str = "backend-etag";

impl Geds {
    /// Registers storage outside for a bucket, for this handle and its clones. From now on an object that is
    /// not here is read from there when it is opened, viewed or asked about, and kept as any other.
    ///
    /// What is written here goes there by [`export`](Self::export); what is deleted here stays there, and comes
    /// back when it is asked for.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn register(&self, bucket: &str, backend: Backend) -> Result<()> {
        self.bucket(bucket)?;
        self.client().set_backend(bucket, Some(backend));
        Ok(())
    }

    /// Forgets the storage outside of a bucket.
    pub fn unregister(&self, bucket: &str) {
        self.client().set_backend(bucket, None);
    }

    /// Makes a back end the lowest tier of a bucket, until the node ends: it keeps the keys in memory alone, unless
    /// [`BackendConfig::keep`] says otherwise.
    /// Attached again, it takes the place of the former one.
    ///
    /// Objects are written there in the background, under the same names, when half of what the high-water mark allows is
    /// in use, those of [`Class::Cold`](crate::Class::Cold) buckets before; what is overwritten or deleted here is by and
    /// by replaced or removed there. What is missing here and is there becomes an object of the bucket when it is opened,
    /// viewed, asked about or deleted: its bytes stay there, and are read in blocks, which are kept as long as nobody
    /// needs the room.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; as [`Backend::open`].
    pub fn attach(&self, bucket: &str, backend: BackendConfig) -> Result<()> {
        self.ask(&Request::Attach { bucket: bucket.to_owned(), backend }).map(|_| ())
    }

    /// Takes the back end from a bucket. What lies there alone cannot be read until it is attached again.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn detach(&self, bucket: &str) -> Result<()> {
        self.ask(&Request::Detach { bucket: bucket.to_owned() }).map(|_| ())
    }

    /// The back ends that are attached, and how they do.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn backends(&self) -> Result<Vec<BackendState>> {
        match self.ask(&Request::Backends)? {
            Reply::Backends(backends) => Ok(backends),
            _ => Err(unexpected()),
        }
    }

    /// Looks in the bucket's back end for an object that is not here.
    pub(crate) fn adopt(&self, bucket: &str, key: &str) -> Result<()> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.ask_apart(&Request::Adopt { bucket, key }).map(|_| ())
    }

    /// Reads all objects from outside whose keys begin so and that are not here, and says how many. Each by itself: an
    /// error leaves those before it read.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bucket without storage outside; [`Error::Denied`],
    /// [`Error::Unavailable`] and [`Error::Corrupt`] as it fails.
    pub fn import(&self, bucket: &str, prefix: &str) -> Result<u64> {
        let backend = self.backend_of(bucket)?;
        let mut done = 0;
        for key in backend.names(bucket, prefix)? {
            if !self.has_object(bucket, &key)? && self.fetch(&backend, bucket, &key)? {
                done += 1;
            }
        }
        Ok(done)
    }

    /// Writes all objects whose keys begin so outside, and says how many; without `overwrite` those that are there
    /// already are left as they are. Markers of folders stay here. Each by itself: an error leaves those before it written.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn export(&self, bucket: &str, prefix: &str, overwrite: bool) -> Result<u64> {
        let backend = self.backend_of(bucket)?;
        let (mut listing, mut done) = (Listing::prefix(prefix), 0);
        loop {
            let page = self.list(bucket, &listing)?;
            for entry in page.entries.iter().filter(|entry| !entry.key.ends_with('/')) {
                match self.export_one(&backend, bucket, &entry.key, overwrite) {
                    Ok(()) => done += 1,
                    // There already, or gone here meanwhile.
                    Err(Error::Exists { .. } | Error::NoObject { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(done),
            }
        }
    }

    fn export_one(
        &self,
        backend: &Backend,
        bucket: &str,
        key: &str,
        overwrite: bool,
    ) -> Result<()> {
        let object = self.object(bucket, key)?;
        backend.store(bucket, key, &object, overwrite)
    }

    fn backend_of(&self, bucket: &str) -> Result<Backend> {
        self.client().backend(bucket).ok_or_else(|| {
            Error::Invalid(format!("bucket `{bucket}` has no storage outside: register it first"))
        })
    }

    /// Whether a bucket of this site has a back end as its lowest tier.
    pub(crate) fn is_tiered(&self, bucket: &str) -> Result<bool> {
        match self.client().is_tiered(bucket) {
            // Another site's is that site's to read.
            Err(Error::NoBucket { .. }) => Ok(false),
            tiered => tiered,
        }
    }

    /// Looks for an object outside that is not here; the error is that of looking here if there is
    /// nowhere else to look.
    pub(crate) fn fetch_missing(&self, bucket: &str, key: &str, missing: Error) -> Result<()> {
        let client = self.client();
        match client.backend(bucket) {
            Some(backend) => self.fetch(&backend, bucket, key).map(|_| ()),
            None if self.is_tiered(bucket)? => self.adopt(bucket, key),
            None => Err(missing),
        }
    }

    /// Reads an object from outside; false if one of the name came to be here meanwhile.
    fn fetch(&self, backend: &Backend, bucket: &str, key: &str) -> Result<bool> {
        let begin = |found: &Outside| {
            let etag = found.etag.clone().map(|etag| (ETAG, etag));
            let attributes: Attributes = etag.into_iter().collect();
            let put = Put::default().size_hint(found.size).attributes(attributes);
            self.create(bucket, key, put)
        };
        let take = |writer: &mut Writer, bytes: &[u8]| writer.write_at(writer.len(), bytes);
        match backend.fetch(bucket, key, begin, take)?.seal() {
            Ok(_) => Ok(true),
            Err(Error::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

//! Buckets.

use crate::{
    Attributes, Bucket, Error, Geds, Result, check_bucket,
    client::unexpected,
    remote::Ask,
    wire::{Reply, Request},
};

impl Geds {
    /// Makes a bucket.
    ///
    /// # Errors
    /// [`Error::BucketExists`], [`Error::Name`].
    pub fn create_bucket(&self, bucket: &str) -> Result<Bucket> {
        check_bucket(bucket)?;
        match self.ask(&Request::CreateBucket { bucket: bucket.to_owned() })? {
            Reply::Bucket { bucket, .. } => Ok(bucket),
            _ => Err(unexpected()),
        }
    }

    /// All buckets by name: those of this site, and of the others that answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        let mut all = self.buckets_here()?;
        all.extend(self.buckets_far()?);
        // This site's own stays where another one believes to be the home as well.
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.dedup_by(|later, first| later.name == first.name);
        Ok(all)
    }

    /// Those whose home this site is.
    pub(crate) fn buckets_here(&self) -> Result<Vec<Bucket>> {
        match self.ask(&Request::Buckets)? {
            Reply::Buckets(buckets) => Ok(buckets),
            _ => Err(unexpected()),
        }
    }

    /// What is known about a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn bucket(&self, bucket: &str) -> Result<Bucket> {
        match self.ask(&Request::Bucket { bucket: bucket.to_owned() }) {
            Ok(Reply::Bucket { bucket, .. }) => Ok(bucket),
            Ok(_) => Err(unexpected()),
            Err(failed) => self.bucket_far(bucket, failed),
        }
    }

    /// Whether there is a bucket of the name, here or at another site. For those of this site it asks nobody: the index
    /// that all processes share knows.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn has_bucket(&self, bucket: &str) -> Result<bool> {
        match self.number_of(&self.client(), bucket) {
            Ok(_) => Ok(true),
            Err(Error::NoBucket { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is kept with a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::AttributesSize`].
    pub fn set_bucket_attributes(&self, bucket: &str, attributes: Attributes) -> Result<()> {
        attributes.encode()?;
        let bucket = bucket.to_owned();
        let request =
            Request::BucketAttributes { bucket: bucket.clone(), attributes: attributes.clone() };
        match self.ask(&request) {
            Ok(_) => Ok(()),
            Err(failed) => {
                self.bucket_order_far(failed, || Ask::BucketAttributes { bucket, attributes })
            }
        }
    }

    /// Removes a bucket that has no objects.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::BucketNotEmpty`].
    pub fn delete_bucket(&self, bucket: &str) -> Result<()> {
        let bucket = bucket.to_owned();
        match self.ask(&Request::DeleteBucket { bucket: bucket.clone() }) {
            Ok(_) => Ok(()),
            Err(failed) => self.bucket_order_far(failed, || Ask::DeleteBucket { bucket }),
        }
    }
}

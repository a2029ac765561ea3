//! Names of the same bytes: copies, renames and compositions move none.

use crate::{
    Error, Geds, Listing, Put, Result, Stat, check_key,
    client::{Found, new_header, unexpected},
    geds::elsewhere,
    node::names::{stat_of, tier_of},
    put::Record,
    shared::record::{CHECKED, Header, NOTED},
    wire::{Reply, Request},
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A part of an object that is composed of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The bucket of the object that it comes from.
    pub bucket: String,
    /// The key of the object that it comes from.
    pub key: String,
    /// Which of its bytes; all if none are named.
    pub range: Option<Range<u64>>,
    /// The version that it must be; whichever there is if none is named.
    pub if_version: Option<u64>,
}

impl Part {
    /// All of an object.
    pub fn all(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into(), range: None, if_version: None }
    }
}

impl Geds {
    /// Makes another object of the same bytes, which are shared.
    ///
    /// # Errors
    /// As [`stat`](Self::stat) for the source and [`put`](Self::put) for the target.
    pub fn copy(&self, from: (&str, &str), to: (&str, &str), put: Put) -> Result<Stat> {
        match self.copy_as(from, to, "", put.clone()) {
            Ok((stat, _)) => Ok(stat),
            Err(failed) => self.copy_far(from, to, &put, false, failed),
        }
    }

    /// Gives an object another key in its bucket. Its bytes stay where they are.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn rename(&self, bucket: &str, from: &str, to: &str, put: Put) -> Result<Stat> {
        if from == to {
            return self.stat(bucket, from);
        }
        let (stat, version) = match self.copy_as((bucket, from), (bucket, to), from, put.clone()) {
            Ok(copied) => copied,
            Err(Error::Elsewhere { .. }) => {
                // Its bytes come here, and are copied then.
                self.object(bucket, from)?;
                self.copy_as((bucket, from), (bucket, to), from, put)?
            }
            Err(failed) => {
                return self.copy_far((bucket, from), (bucket, to), &put, true, failed);
            }
        };
        match self.delete(bucket, from, Some(version)) {
            // Written again meanwhile: that is another object.
            Ok(_) | Err(Error::Changed { .. }) => Ok(stat),
            Err(error) => Err(error),
        }
    }

    /// Copies all objects whose keys begin with a prefix, which is replaced, and says how many.
    /// Each by itself: an error leaves those before it copied.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn copy_prefix(&self, from: (&str, &str), to: (&str, &str), put: &Put) -> Result<u64> {
        self.each(from.0, from.1, |key| {
            let target = format!("{}{}", to.1, &key[from.1.len()..]);
            self.copy((from.0, key), (to.0, &target), put.clone()).map(|_| ())
        })
    }

    /// Renames all objects whose keys begin with a prefix, which is replaced, and says how many.
    /// Each by itself: an error leaves those before it renamed.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn rename_prefix(&self, bucket: &str, from: &str, to: &str, put: &Put) -> Result<u64> {
        self.each(bucket, from, |key| {
            let target = format!("{to}{}", &key[from.len()..]);
            self.rename(bucket, key, &target, put.clone()).map(|_| ())
        })
    }

    /// Makes one object of parts of others, in this order, without copying bytes.
    ///
    /// # Errors
    /// As [`stat`](Self::stat) for the parts and [`put`](Self::put) for the object;
    /// [`Error::Range`]; [`Error::Changed`] also for a part that is not the version it must be.
    pub fn compose(&self, bucket: &str, key: &str, parts: &[Part], put: Put) -> Result<Stat> {
        check_key(key)?;
        let durable = put.durable;
        let (bucket_, key_) = (bucket.to_owned(), key.to_owned());
        let request = Request::Compose {
            bucket: bucket_,
            key: key_,
            parts: parts.to_vec(),
            put: put.clone(),
        };
        match self.ask(&request) {
            Ok(Reply::Stat(_)) if durable => self.persist(bucket, key),
            Ok(Reply::Stat(stat)) => Ok(stat),
            Ok(_) => Err(unexpected()),
            // Bytes of other sites cannot be shared.
            Err(Error::NoBucket { .. } | Error::Elsewhere { .. }) => {
                self.assemble(bucket, key, parts, put)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes all objects whose keys begin with a prefix, and says how many there were.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn delete_prefix(&self, bucket: &str, prefix: &str) -> Result<u64> {
        self.each(bucket, prefix, |key| self.delete(bucket, key, None).map(|_| ()))
    }

    /// Makes another object of the same bytes; gives what was made, and the source's version.
    fn copy_as(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        former: &str,
        put: Put,
    ) -> Result<(Stat, u64)> {
        check_key(to.1)?;
        let client = self.client();
        let number = client.bucket(to.0)?;
        let found = client.find(from.0, from.1)?;
        if found.header.away() {
            return Err(elsewhere(from.0, from.1, &found));
        }
        let Found { header: old, attributes, pin } = found;
        let attributes = match &put.attributes {
            Some(attributes) => attributes.encode()?,
            None => attributes,
        };
        let new = new_header(&client, number, old.size, old.place);
        let header = Header { flags: old.flags & (CHECKED | NOTED), crc: old.crc, ..new };
        let header = header.classed(put.class.or(old.class()));
        let record = Record { header, key: to.1, attributes: &attributes, former };
        let header = client.publish_put(to.0, record, &put)?;
        // The node has the new record to see before it sees that the bytes are not pinned.
        drop(pin);
        let stat =
            self.sealed(to.0, to.1, stat_of(&header, &attributes, tier_of(header.place)), &put)?;
        Ok((stat, old.version))
    }

    /// All objects and their sizes, page by page.
    pub(crate) fn each_entry(
        &self,
        bucket: &str,
        mut listing: Listing,
        mut act: impl FnMut(&str, u64) -> Result<()>,
    ) -> Result<()> {
        loop {
            let page = self.list(bucket, &listing)?;
            for entry in &page.entries {
                act(&entry.key, entry.stat.size)?;
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Acts on all keys that begin so at this moment: what `act` makes is not acted upon.
    fn each(&self, bucket: &str, prefix: &str, act: impl Fn(&str) -> Result<()>) -> Result<u64> {
        let mut keys = Vec::new();
        self.each_entry(bucket, Listing::prefix(prefix), |key, _| {
            keys.push(key.to_owned());
            Ok(())
        })?;
        let mut done = 0;
        for key in keys {
            match act(&key) {
                Ok(()) => done += 1,
                // Somebody else was faster.
                Err(Error::NoObject { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

//! What lies below a prefix, kept as it was.
//!
//! A checkpoint's objects share their bytes with those they were made from, in a bucket of their own,
//! [`CHECKPOINTS`]. They lie on disk; the object that says what the checkpoint is, is written last, so that
//! one that was not finished is none.

use crate::{Error, Geds, Listing, Put, Result, put::now};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The bucket of all checkpoints: `BUCKET/NAME` says what one is, `BUCKET/NAME/ATTEMPT/KEY` are its objects.
pub const CHECKPOINTS: &str = "checkpoints.cloudskin.internal";

/// Of what is written about a checkpoint.
const VERSION: u16 = 1;

const NAME_MAX_BYTES: usize = 64;

/// More objects are written to disk with all others of the tenant, at once.
const ONE_BY_ONE: usize = 64;

/// What a prefix was at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its name, of letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The bucket that it was made of.
    pub bucket: String,
    /// What the keys of its objects begin with.
    pub prefix: String,
    /// In milliseconds since the Unix epoch.
    pub created: u64,
    /// How many objects it has.
    pub objects: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Geds {
    /// Keeps all objects whose keys begin with a prefix as they are now, on disk, under a name that is new in the
    /// bucket. No byte is copied in memory. Each object is as it was at some moment of the call.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::CheckpointExists`]; [`Error::Invalid`] for a name that cannot be one;
    /// [`Error::Name`] for keys that are too long with the names of bucket and checkpoint before them; as
    /// [`persist`](Self::persist).
    pub fn checkpoint(&self, bucket: &str, prefix: &str, name: &str) -> Result<Checkpoint> {
        check_name(name)?;
        self.bucket(bucket)?;
        match self.create_bucket(CHECKPOINTS) {
            Ok(_) | Err(Error::BucketExists { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.stat(CHECKPOINTS, &about(bucket, name)) {
            Err(Error::NoObject { .. }) => {}
            Ok(_) => return Err(exists(bucket, name)),
            Err(error) => return Err(error),
        }
        // Two that are made at once do not mix.
        let folder = format!("{}/{}/", about(bucket, name), &types::random_id()[..8]);
        let made = self.fill(bucket, prefix, name, &folder);
        if made.is_err() {
            // Whoever asked has an error to hear of; what is left here goes with `delete_checkpoint`.
            let _ = self.delete_prefix(CHECKPOINTS, &folder);
        }
        made
    }

    fn fill(&self, bucket: &str, prefix: &str, name: &str, folder: &str) -> Result<Checkpoint> {
        self.copy_prefix((bucket, prefix), (CHECKPOINTS, folder), &Put::default())?;
        let mut sizes = Vec::new();
        self.each_entry(CHECKPOINTS, Listing::prefix(folder), |key, size| {
            sizes.push((key.to_owned(), size));
            Ok(())
        })?;
        if sizes.len() <= ONE_BY_ONE {
            sizes.iter().try_for_each(|(key, _)| self.persist(CHECKPOINTS, key).map(|_| ()))?;
        } else {
            self.persist_all()?;
        }
        let checkpoint = Checkpoint {
            name: name.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            created: now(),
            objects: sizes.len() as u64,
            bytes: sizes.iter().map(|(_, size)| size).sum(),
        };
        let written = postcard::to_stdvec(&(VERSION, folder, &checkpoint))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        match self.put(CHECKPOINTS, &about(bucket, name), &written, Put::default().durable()) {
            Ok(_) => Ok(checkpoint),
            Err(Error::Exists { .. }) => Err(exists(bucket, name)),
            Err(error) => Err(error),
        }
    }

    /// The checkpoints of a bucket, the oldest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one of them is not what was written.
    pub fn checkpoints(&self, bucket: &str) -> Result<Vec<Checkpoint>> {
        let mut all = Vec::new();
        let listing = Listing::prefix(format!("{bucket}/")).delimiter("/");
        let found = self.each_entry(CHECKPOINTS, listing, |key, _| {
            all.push(self.checkpoint_named(bucket, &key[bucket.len() + 1..])?.1);
            Ok(())
        });
        match found {
            Ok(()) | Err(Error::NoBucket { .. }) => {}
            Err(error) => return Err(error),
        }
        all.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(all)
    }

    /// Makes a prefix what it was: objects of the checkpoint come back, in place of those that have their names, and
    /// others below the prefix are deleted. What a call that failed has left is mended by the next one.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], [`Error::NoBucket`].
    pub fn restore(&self, bucket: &str, name: &str) -> Result<Checkpoint> {
        let (folder, checkpoint) = self.checkpoint_named(bucket, name)?;
        let prefix = checkpoint.prefix.as_str();
        let mut kept = BTreeSet::new();
        self.each_entry(CHECKPOINTS, Listing::prefix(&folder), |key, _| {
            kept.insert(format!("{prefix}{}", &key[folder.len()..]));
            Ok(())
        })?;
        let check = |found: u64| match checkpoint.objects {
            wanted if wanted == found => Ok(()),
            wanted => Err(damaged(name, &format!("it had {wanted} objects, {found} are there"))),
        };
        check(kept.len() as u64)?;
        // Somebody may delete the checkpoint meanwhile: then nothing else is deleted.
        check(self.copy_prefix((CHECKPOINTS, &folder), (bucket, prefix), &Put::overwrite())?)?;
        self.each_entry(bucket, Listing::prefix(prefix), |key, _| {
            if !kept.contains(key) {
                self.delete(bucket, key, None)?;
            }
            Ok(())
        })?;
        Ok(checkpoint)
    }

    /// Deletes a checkpoint, whether it was finished or not.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`].
    pub fn delete_checkpoint(&self, bucket: &str, name: &str) -> Result<()> {
        check_name(name)?;
        let missing = |error: Error| match error {
            Error::NoBucket { .. } => none(bucket, name),
            error => error,
        };
        let known = self.delete(CHECKPOINTS, &about(bucket, name), None).map_err(missing)?;
        let objects = self.delete_prefix(CHECKPOINTS, &format!("{}/", about(bucket, name)))?;
        if known || objects > 0 { Ok(()) } else { Err(none(bucket, name)) }
    }

    /// Where a checkpoint's objects are, and what it is.
    fn checkpoint_named(&self, bucket: &str, name: &str) -> Result<(String, Checkpoint)> {
        check_name(name)?;
        let written = match self.object(CHECKPOINTS, &about(bucket, name)) {
            Err(Error::NoBucket { .. } | Error::NoObject { .. }) => return Err(none(bucket, name)),
            object => object?.bytes()?,
        };
        match postcard::from_bytes(&written) {
            Ok((VERSION, folder, checkpoint)) => Ok((folder, checkpoint)),
            Ok((version, ..)) => Err(damaged(name, &format!("it has version {version}"))),
            Err(error) => Err(damaged(name, &error.to_string())),
        }
    }
}

fn about(bucket: &str, name: &str) -> String {
    format!("{bucket}/{name}")
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "`{name}` is no checkpoint's name: use 1 to {NAME_MAX_BYTES} letters, digits, `.`, `_` and `-`"
    )))
}

fn exists(bucket: &str, name: &str) -> Error {
    Error::CheckpointExists { bucket: bucket.to_owned(), name: name.to_owned() }
}

fn none(bucket: &str, name: &str) -> Error {
    Error::NoCheckpoint { bucket: bucket.to_owned(), name: name.to_owned() }
}

fn damaged(name: &str, why: &str) -> Error {
    Error::Corrupt { what: format!("checkpoint `{name}`"), why: why.to_owned() }
}
